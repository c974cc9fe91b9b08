import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { assertEqualClusters } from '../support/compare-clusters.js';
import { MigrationHarness } from '../support/migration-harness.js';
import type { ReplicaSet } from '../support/replica-set.js';
import { sharedPair } from '../support/shared-servers.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 900_000;
const DELAY_SECONDS = 16;

const { pair, source, destination } = await sharedPair(test, { destination: { members: 3 } });
const items = source.db('shop').collection<{ _id: number }>('items');

/** Has both secondaries apply everything so much later. */
async function delaySecondaries(set: ReplicaSet, seconds: number): Promise<void> {
  const { index } = await set.waitForPrimary();
  const admin = destination.db('admin');
  const { config } = await admin.command({ replSetGetConfig: 1 });
  for (const member of config.members)
    if (member._id !== index) Object.assign(member, { priority: 0, secondaryDelaySecs: seconds });
  await admin.command({ replSetReconfig: { ...config, version: config.version + 1 } });
}

test(`a destination whose majority is ${DELAY_SECONDS} seconds behind makes the migration slow, says so, and ends equal`, async () => {
  const work = async () => {
    await items.insertMany(Array.from({ length: 1000 }, (_, _id) => ({ _id })));
    await using harness = await MigrationHarness.open(pair);
    await harness.sync();
    await delaySecondaries(pair.destination, DELAY_SECONDS);
    await items.insertMany(Array.from({ length: 1000 }, (_, n) => ({ _id: 1000 + n })));
    await items.deleteOne({ _id: 0 });
    await harness.until(
      ({ warnings }) => warnings.some((each) => /A majority of cluster1.* only after \d+ s/.test(each)),
      'a warning',
      120_000,
    );
    const before = harness.snapshot.totalEventsApplied ?? 0;
    await harness.until(({ totalEventsApplied }) => (totalEventsApplied ?? 0) > before, 'progress', 240_000);
    const copies = destination.db('shop').collection<{ _id: number }>('items');
    await eventually(120_000, async () => (await copies.countDocuments({})) === 1999, 'the changes');
    await harness.until(({ canCommit }) => canCommit, 'canCommit', 240_000);
    await harness.migration.commit();
    await harness.until(({ state }) => state === 'COMMITTED', 'COMMITTED', 480_000);
    assert.is(harness.snapshot.failure, undefined);
  };
  await within(TEST_MS, work(), 'the migration');
  await assertEqualClusters(source, destination);
});

test.run();
