import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { assertEqualClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS, refuseCommands, releaseCommands } from '../support/fail-points.js';
import { DEFAULT_START, MigrationHarness } from '../support/migration-harness.js';
import { sharedPair } from '../support/shared-servers.js';
import { isBlocked, storedMigration } from '../support/stored-migration.js';
import { within } from '../support/within.js';

const TEST_MS = 90_000;
const OPLOG_LOST = 286;
const CANNOT_CREATE_INDEX = 67;

const { pair, source, destination } = await sharedPair(test, {
  setParameters: FAIL_POINTS,
  destination: { members: 3 },
});

test.before.each(async () => {
  const items = source.db('shop').collection<{ _id: number; n: number }>('items');
  await items.insertMany(Array.from({ length: 1000 }, (_, n) => ({ _id: n, n })));
  await items.createIndex({ n: 1 });
});

/** The failure is stored, the destination stays blocked, and a restart does not try again. */
async function assertFailedForGood(harness: MigrationHarness, name: string, text: RegExp): Promise<void> {
  const error = await harness.failure();
  assert.is(error.code, name, error.message);
  assert.match(error.message, text);
  assert.is(harness.snapshot.canWrite, false);
  assert.is(await isBlocked(destination), true);
  assert.is((await storedMigration(destination))?.['failure']?.error, name);
  await releaseCommands(source);
  await releaseCommands(destination);
  await using again = await MigrationHarness.open(pair);
  assert.match((await again.failure()).message, /has failed before/);
}

test('a position that has left the source\'s oplog fails the migration: it never goes on from "now"', async () => {
  const work = async () => {
    await using harness = await MigrationHarness.open(pair, { disableVerification: true });
    await harness.sync();
    await refuseCommands(source, { commands: ['getMore', 'aggregate'], namespace: 'admin.$cmd.aggregate' }, OPLOG_LOST);
    await source.db('shop').collection<{ _id: number }>('items').insertOne({ _id: -1 });
    await assertFailedForGood(harness, 'OplogRolledOver', /oplog of cluster0/);
  };
  await within(TEST_MS, work(), 'the migration');
});

test('indexes that cannot be built fail the migration after ten attempts, and name the collection', async () => {
  const work = async () => {
    await using harness = await MigrationHarness.open(pair);
    await refuseCommands(destination, { commands: ['createIndexes'], namespace: 'shop.items' }, CANNOT_CREATE_INDEX);
    await harness.migration.start(DEFAULT_START);
    await assertFailedForGood(harness, 'IndexBuildFailed', /the indexes of shop\.items cannot be built on cluster1/);
  };
  await within(TEST_MS, work(), 'the migration');
});

test('a secondary of the destination that is down holds up no index build and no commit', async () => {
  const work = async () => {
    const primary = await pair.destination.waitForPrimary();
    const down = pair.destination.members.findIndex(({ index }) => index !== primary.index);
    await pair.destination.kill(down);
    try {
      await using harness = await MigrationHarness.open(pair);
      await harness.sync();
      await harness.commit();
    } finally {
      await pair.destination.restart(down);
    }
  };
  await within(TEST_MS, work(), 'the migration');
  await assertEqualClusters(source, destination);
});

test.run();
