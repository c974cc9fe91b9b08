import type { MongoClient } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { commitHeld } from '../support/commit-points.js';
import { compareClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS } from '../support/fail-points.js';
import { MigrationHarness } from '../support/migration-harness.js';
import { sharedPair } from '../support/shared-servers.js';
import { setExpiry } from '../support/stored-migration.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 60_000;
/** The monitor of expiry has to come by within it. */
const HOLD_MS = 4000;
const SHORT_HOLD_MS = 1500;
const LONG_AGO = new Date('2001-01-01T00:00:00Z');
const FAR_AWAY = new Date('2199-01-01T00:00:00Z');
/** Collections whose document was to expire long ago, and by which rule. */
const EXPIRING = ['plain', 'dotted', 'array', 'clustered'];

const { pair, source, destination } = await sharedPair(test, {
  setParameters: { ...FAIL_POINTS, ttlMonitorSleepSecs: '1' },
});

test.before.each(async () => {
  await setExpiry(source, false);
  await setExpiry(destination, true);
  await seed();
});

async function seed(): Promise<void> {
  const db = source.db('ttl');
  await db.collection('plain').createIndex({ at: 1 }, { expireAfterSeconds: 10 });
  await db.collection('dotted').createIndex({ 'sub.at': 1 }, { expireAfterSeconds: 10 });
  await db.collection('array').createIndex({ dates: 1 }, { expireAfterSeconds: 10 });
  await db.createCollection('clustered', { clusteredIndex: { key: { _id: 1 }, unique: true }, expireAfterSeconds: 10 });
  await db.collection('plain').insertMany([{ at: LONG_AGO }, { at: FAR_AWAY }, { at: 'not a date' }]);
  await db.collection('dotted').insertMany([{ sub: { at: LONG_AGO } }, { sub: { at: FAR_AWAY } }]);
  await db.collection('array').insertMany([{ dates: [FAR_AWAY, LONG_AGO] }, { dates: [FAR_AWAY] }]);
  await db.collection<{ _id: Date }>('clustered').insertMany([{ _id: LONG_AGO }, { _id: FAR_AWAY }]);
  // So that the commit has a step to be held at before its point of no return.
  await db.collection('plain').createIndex({ u: 1 }, { unique: true, sparse: true });
}

async function countsOf(client: MongoClient): Promise<number[]> {
  return await Promise.all(EXPIRING.map((coll) => client.db('ttl').collection(coll).countDocuments()));
}

/** Waits until the monitor of expiry has begun and ended a pass since now. */
async function expiryPassed(client: MongoClient): Promise<void> {
  const passes = async (): Promise<number> => {
    const { metrics } = await client.db('admin').command({ serverStatus: 1 });
    return Number((metrics as { ttl: { passes: unknown } }).ttl.passes);
  };
  const before = await passes();
  await eventually(20_000, async () => (await passes()) >= before + 2, 'two passes of expiry');
}

test('what expires on the source after the commit time is no late write, and expires on the destination too', async () => {
  const commit = async () => {
    await using harness = await MigrationHarness.open(pair);
    await harness.sync();
    await expiryPassed(destination);
    assert.equal(await countsOf(destination), [3, 2, 2, 2], 'nothing expires on the destination before the commit');
    await commitHeld(harness, destination, HOLD_MS);
    await setExpiry(source, true);
    await eventually(HOLD_MS, async () => (await countsOf(source)).join() === '2,1,1,1', 'expiry on the source');
    assert.not.ok(harness.snapshot.canWrite, 'the expiry came within the commit');
    await harness.until(({ state }) => state === 'COMMITTED', 'COMMITTED');
    const isEqual = async () => (await compareClusters(source, destination)).length === 0;
    await eventually(20_000, isEqual, 'expiry on the destination');
    assert.equal(await countsOf(destination), [2, 1, 1, 1]);
  };
  await within(TEST_MS, commit(), 'the commit');
});

for (const [coll, filter] of [
  ['plain', { at: FAR_AWAY }],
  ['plain', { at: 'not a date' }],
  ['array', { dates: { $eq: [FAR_AWAY] } }],
  ['clustered', { _id: FAR_AWAY }],
] as const) {
  test(`a delete in ttl.${coll} of what had not expired (${Object.keys(filter).join()}) fails the commit`, async () => {
    const commit = async () => {
      await using harness = await MigrationHarness.open(pair);
      await harness.sync();
      await commitHeld(harness, destination, SHORT_HOLD_MS);
      const { deletedCount } = await source
        .db('ttl')
        .collection(coll)
        .deleteOne(filter as never);
      assert.is(deletedCount, 1);
      const error = await harness.failure();
      assert.is(error.code, 'SourceModifiedAfterCommit', error.message);
      assert.match(error.message, new RegExp(`delete of ttl\\.${coll}`));
    };
    await within(TEST_MS, commit(), 'the commit');
  });
}

test.run();
