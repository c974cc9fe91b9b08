import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { assertEqualClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS } from '../support/fail-points.js';
import { FerryClient } from '../support/ferry-client.js';
import { FerryProcess } from '../support/ferry-process.js';
import {
  killAndTurnAround,
  killReversalAt,
  REVERSE_POINTS,
  REVERSIBLE,
  seedReversible,
} from '../support/reverse-points.js';
import { sharedPair } from '../support/shared-servers.js';
import { isBlocked } from '../support/stored-migration.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 90_000;

const { pair, source: one, destination: two } = await sharedPair(test, { setParameters: FAIL_POINTS });
const sides = { pair, one, two };

test.before.each(() => seedReversible(one));

const { nothingWritten, halfMoved, whilePrepared } = REVERSE_POINTS;

for (const point of [nothingWritten, halfMoved, whilePrepared]) {
  test(`killed in REVERSING ${point.name}, a restart turns the migration around by itself`, async () => {
    await within(TEST_MS, killAndTurnAround(sides, point), point.name);
  });
}

test('a write to the old source between the kill and the restart ends the reversal, and leaves it committed', async () => {
  const killAndWrite = async () => {
    await using ferry = await FerryProcess.between(pair);
    await killReversalAt(ferry, sides, nothingWritten);
    await one.db('admin').command({ setUserWriteBlockMode: 1, global: false });
    await one.db('shop').collection('items').insertOne({ sku: 'stray' });
    await ferry.restart();
    using client = new FerryClient(ferry.grpcTarget);
    const { warnings } = await client.waitForState('COMMITTED');
    assert.ok(
      warnings.some((text) => /reversal was given up: insert of shop\.items/.test(text)),
      warnings.join('\n'),
    );
    assert.not.ok(await isBlocked(two));
    await two.db('shop').collection('items').insertOne({ sku: 'owner' });
  };
  await within(TEST_MS, killAndWrite(), 'the stray write');
});

test('a process that waits for the lease while another one reverses the migration does not undo it', async () => {
  const wait = async () => {
    await using first = await FerryProcess.between(pair);
    using client = new FerryClient(first.grpcTarget);
    await client.start(REVERSIBLE);
    await client.commitAndWait();
    await using standby = await FerryProcess.between(pair);
    await eventually(10_000, () => standby.linesWith('waiting for it').length === 1, 'the wait for the lease');
    await client.reverse();
    await client.waitForCanCommit();
    assert.is((await standby.exited).code, 1);
    assert.match(standby.log.at(-1)?.message ?? '', /reversed the migration meanwhile/);
    await standby.restart();
    await eventually(10_000, () => standby.linesWith('waiting for it').length === 2, 'the wait for the other lease');
    await two.db('shop').collection('items').insertOne({ sku: 'meanwhile' });
    await first.kill();
    using other = new FerryClient(standby.grpcTarget);
    await other.waitForCanCommit();
    await other.commitAndWait();
    await assertEqualClusters(one, two);
  };
  await within(TEST_MS, wait(), 'the standby');
});

test.run();
