import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { assertEqualClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS, refuseCommands, releaseCommands } from '../support/fail-points.js';
import { MigrationHarness } from '../support/migration-harness.js';
import { sharedPair } from '../support/shared-servers.js';
import { within } from '../support/within.js';

const TEST_MS = 120_000;
const NOT_PRIMARY = 10_107;

const { pair, source, destination } = await sharedPair(test, { setParameters: FAIL_POINTS });
const items = source.db('shop').collection<{ _id: number }>('items');

test.before.each(async () => {
  await items.insertMany(Array.from({ length: 100 }, (_, _id) => ({ _id })));
});

/** Waits until a warning is as `said`, and looks for two seconds whether it stays. */
async function warned(harness: MigrationHarness, said: RegExp): Promise<void> {
  const isSaid = () => harness.snapshot.warnings.some((each) => said.test(each));
  await harness.until(isSaid, String(said), 20_000);
}

test('notes that fail are told of for as long as they do, whatever reads achieve meanwhile', async () => {
  const work = async () => {
    await using harness = await MigrationHarness.open(pair);
    await harness.sync();
    await refuseCommands(source, { commands: ['appendOplogNote'] }, NOT_PRIMARY);
    const said = /writing a note to the oplog on cluster0.*\(code 10107\)/;
    await warned(harness, said);
    assert.is(harness.migration.ready, false);
    const { totalEventsApplied: before = 0 } = harness.snapshot;
    let gone = 0;
    for (let n = 1; n <= 20; n++) {
      await items.insertOne({ _id: 1000 + n });
      await harness.until(({ totalEventsApplied: now = 0 }) => now >= before + n, `event ${n}`);
      if (!harness.snapshot.warnings.some((each) => said.test(each))) gone++;
    }
    assert.is(gone, 0, 'the stream has cleared the warning of the notes');
    await releaseCommands(source);
    await harness.until(({ warnings }) => !warnings.some((each) => said.test(each)), 'the warning going', 60_000);
    await harness.commit();
    assert.ok((harness.snapshot.totalEventsApplied ?? 0) >= before + 20, 'the commit has forgotten what was applied');
  };
  await within(TEST_MS, work(), 'the migration');
  await assertEqualClusters(source, destination);
});

test('a destination that is locked (fsyncLock) has the writes named that wait, not the lease alone', async () => {
  const work = async () => {
    await using harness = await MigrationHarness.open(pair);
    await harness.sync();
    await destination.db('admin').command({ fsync: 1, lock: true });
    try {
      await items.insertOne({ _id: -1 });
      await warned(harness, /cluster1 has not answered insert of shop\.items for \d+ s/);
    } finally {
      await destination.db('admin').command({ fsyncUnlock: 1 });
    }
    await harness.commit();
    assert.not.ok(harness.snapshot.warnings.some((each) => each.includes('has not answered')));
  };
  await within(TEST_MS, work(), 'the migration');
  await assertEqualClusters(source, destination);
});

test('a destination that is only a secondary, connected to directly, is told of by its writes', async () => {
  const work = async () => {
    await using harness = await MigrationHarness.open(pair);
    await harness.sync();
    // What a secondary answers to writes, while it reads as any other member.
    await refuseCommands(destination, { commands: ['insert', 'delete'], namespace: 'shop.items' }, NOT_PRIMARY);
    await items.insertOne({ _id: -2 });
    await warned(harness, /insert into shop\.items on cluster1.*\(code 10107\)/);
    assert.is(harness.snapshot.canCommit, false);
    await releaseCommands(destination);
    await harness.commit();
  };
  await within(TEST_MS, work(), 'the migration');
  await assertEqualClusters(source, destination);
});

test.run();
