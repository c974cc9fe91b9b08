import type { Document } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { assertEqualClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS, holdCommands, releaseCommands } from '../support/fail-points.js';
import { FerryClient } from '../support/ferry-client.js';
import { FerryProcess } from '../support/ferry-process.js';
import { seedRestorable } from '../support/seed-shop.js';
import { sharedPair } from '../support/shared-servers.js';
import { isBlocked, METADATA_DB, storedMigration } from '../support/stored-migration.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 90_000;
const HOLD_MS = 3000;
const SHORT_HOLD_MS = 250;
const REVERSIBLE = { enableUserWriteBlocking: true, reversible: true } as const;

const { pair, source: one, destination: two } = await sharedPair(test, { setParameters: FAIL_POINTS });

test.before.each(async () => {
  await seedRestorable(one, 200);
  await one.db('shop').createCollection('cheap', { viewOn: 'items', pipeline: [] });
});

/** Where a reversal is held: `one` is to become the destination, `two` has been it. */
interface ReversePoint {
  readonly name: string;
  readonly at: 'one' | 'two';
  readonly commands: readonly string[];
  readonly holdMs: number;
  readonly isReached: (there: Document | undefined, left: Document | undefined, written: number) => boolean;
}

const POINTS: readonly ReversePoint[] = [
  {
    name: 'before anything is written to the new destination',
    at: 'one',
    commands: ['update'],
    holdMs: HOLD_MS,
    isReached: (there, left) => there === undefined && left?.['state'] === 'REVERSING',
  },
  {
    name: 'with half of the metadata moved',
    at: 'one',
    commands: ['update'],
    holdMs: SHORT_HOLD_MS,
    isReached: (there, _left, written) => there === undefined && written > 0,
  },
  {
    name: 'with both records there',
    at: 'two',
    commands: ['update'],
    holdMs: SHORT_HOLD_MS,
    isReached: (there, left) => there?.['state'] === 'REVERSING' && left?.['moved'] !== true,
  },
  {
    name: 'while the new destination is prepared',
    at: 'one',
    commands: ['collMod'],
    holdMs: HOLD_MS,
    isReached: (there, left) => there?.['state'] === 'REVERSING' && left?.['moved'] === true,
  },
  {
    name: 'once the new destination is prepared',
    at: 'two',
    commands: ['appendOplogNote'],
    holdMs: HOLD_MS,
    isReached: (there, left) => there?.['state'] === 'REVERSING' && left?.['moved'] === true,
  },
];

/** Brings a migration to COMMITTED, its reversal to that point, and kills the process there. */
async function killAt(ferry: FerryProcess, point: ReversePoint): Promise<void> {
  using client = new FerryClient(ferry.grpcTarget);
  await client.start(REVERSIBLE);
  await client.commitAndWait();
  await two.db('shop').collection('items').insertOne({ sku: 'before' });
  await holdCommands(point.at === 'one' ? one : two, { commands: point.commands }, point.holdMs);
  await client.reverse();
  const reached = async (): Promise<boolean> => {
    const [there, left, written] = await Promise.all([
      storedMigration(one),
      storedMigration(two),
      one.db(METADATA_DB).collection('collections').countDocuments(),
    ]);
    return point.isReached(there, left, written);
  };
  await eventually(20_000, reached, point.name, { everyMs: 5 });
  await ferry.kill();
  assert.ok(await reached(), `${point.name}: not killed there`);
  await Promise.all([releaseCommands(one), releaseCommands(two)]);
}

for (const point of POINTS) {
  test(`killed in REVERSING ${point.name}, a restart turns the migration around by itself`, async () => {
    const killAndRestart = async () => {
      await using ferry = await FerryProcess.between(pair);
      await killAt(ferry, point);
      await two.db('shop').collection('items').insertOne({ sku: 'while it was down' });
      await ferry.restart();
      using client = new FerryClient(ferry.grpcTarget);
      const { directionMapping } = await client.waitForCanCommit();
      assert.match(directionMapping?.source ?? '', /^cluster1/);
      assert.ok(await isBlocked(one));
      assert.not.ok(await isBlocked(two));
      await client.commitAndWait();
      assert.equal([await isBlocked(one), await isBlocked(two)], [false, true]);
      await assertEqualClusters(one, two);
      assert.is(await one.db('shop').collection('items').countDocuments(), 202);
      // And a restart still knows which of the two records counts.
      await ferry.restart();
      using again = new FerryClient(ferry.grpcTarget);
      const found = await again.waitUntilInitialized();
      assert.equal([found.state, found.canWrite], ['COMMITTED', true]);
      assert.match(found.directionMapping?.source ?? '', /^cluster1/);
    };
    await within(TEST_MS, killAndRestart(), point.name);
  });
}

test('a write to the old source between the kill and the restart ends the reversal, and leaves it committed', async () => {
  const killAndWrite = async () => {
    await using ferry = await FerryProcess.between(pair);
    await killAt(ferry, POINTS[0] as ReversePoint);
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
