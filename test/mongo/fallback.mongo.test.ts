import type { Document } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { assertEqualClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS, refuseCommands, releaseCommands } from '../support/fail-points.js';
import { MigrationHarness } from '../support/migration-harness.js';
import { sharedPair } from '../support/shared-servers.js';
import { METADATA_DB, storedMigration } from '../support/stored-migration.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 60_000;
const UNKNOWN_FIELD = 40_415;

const { pair, source, destination } = await sharedPair(test, { setParameters: FAIL_POINTS });

interface Item {
  readonly _id: number;
  readonly [name: string]: unknown;
}

test.before.each(async () => {
  const items = source.db('shop').collection<Item>('items');
  await items.insertMany(Array.from({ length: 200 }, (_, n) => ({ _id: n, z: n, list: [1, 2, 3, 4], sub: { b: 1 } })));
  await items.createIndex({ u: 1 }, { unique: true, sparse: true });
  await source.db('shop').createCollection('recent', { capped: true, size: 65_536 });
  const recent = source.db('shop').collection<Item>('recent');
  await recent.insertMany(Array.from({ length: 20 }, (_, n) => ({ _id: n, n: 0 })));
});

test.after.each(async () => {
  await source.db('shop').command({ profile: 0 });
});

/** Updates whose result depends on order, place and type: what a delta by field names could not carry. */
const UPDATES: readonly (Document | Document[])[] = [
  { $set: { m: 1, a: 2, z: 'last' } },
  { $set: { 'sub.c.d': 1, 'list.1': 'two', 'sub.10': 1, 'sub.9': 2 } },
  { $unset: { 'sub.b': 1, z: 1 } },
  { $set: { z: { $numberLong: 'text' } } },
  { $push: { list: { $each: [5, 6], $slice: -4 } } },
  { $rename: { m: 'n' } },
  [{ $replaceWith: { $setField: { field: 'dotted.name', input: '$$ROOT', value: 1 } } }],
  [{ $replaceWith: { $setField: { field: { $literal: '$dollar' }, input: '$$ROOT', value: 1 } } }],
  [{ $replaceWith: { $mergeObjects: [{ _id: '$_id', list: '$list', sub: '$sub' }, '$$ROOT'] } }],
  [{ $set: { '7': 'numeric', '11': 1 } }],
];

/** Every update on a document of its own, all of them on one, and documents that come and go between updates. */
async function updateMuch(): Promise<void> {
  const items = source.db('shop').collection<Item>('items');
  for (const [index, update] of UPDATES.entries()) {
    await items.updateOne({ _id: index }, update as Document);
    await items.updateMany({ _id: { $gte: 100 } }, update as Document);
  }
  await items.updateOne({ _id: 20 }, { $set: { a: 1 } });
  await items.deleteOne({ _id: 20 });
  await items.updateOne({ _id: 21 }, { $set: { a: 1 } });
  await items.deleteOne({ _id: 21 });
  await items.insertOne({ _id: 21, again: true });
  // Read again, either document may show its later value first.
  for (const u of ['a', 'b', 'a']) {
    await items.updateOne({ _id: 30 }, { $unset: { u: 1 } });
    await items.updateOne({ _id: 31 }, { $set: { u: u === 'a' ? 'b' : 'a' } });
    await items.updateOne({ _id: 30 }, { $set: { u } });
    await items.updateOne({ _id: 31 }, { $unset: { u: 1 } });
  }
  const recent = source.db('shop').collection<{ _id: number; n: number }>('recent');
  await recent.updateMany({ _id: { $lt: 15 } }, { $inc: { n: 1 } });
}

/** How often the engine has read documents of the collection by their `_id`s since the profile was begun. */
async function readsById(): Promise<number> {
  const filter = { ns: 'shop.items', appName: 'mongoferry', op: 'query', 'command.filter._id': { $exists: true } };
  return await source.db('shop').collection('system.profile').countDocuments(filter);
}

async function profile(): Promise<void> {
  await source.db('shop').command({ profile: 2 });
}

async function finish(harness: MigrationHarness): Promise<void> {
  await harness.commit();
  await source.db('shop').command({ profile: 0 });
  await assertEqualClusters(source, destination);
}

test("by the server's own deltas updates need no reading again", async () => {
  const migrate = async () => {
    await using harness = await MigrationHarness.open(pair);
    // The verifier reads what changes by its _ids, too.
    await harness.sync({ verification: { enabled: false } });
    assert.is((await storedMigration(destination))?.['rawDeltas'], true);
    await profile();
    const items = source.db('shop').collection<Item>('items');
    for (const [index, update] of UPDATES.entries()) await items.updateOne({ _id: index }, update as Document);
    await harness.commit();
    assert.is(await readsById(), 0);
    await source.db('shop').command({ profile: 0 });
    await assertEqualClusters(source, destination);
  };
  await within(TEST_MS, migrate(), 'the migration');
});

test('a migration whose record says that there are no deltas reads changed documents again, and ends equal', async () => {
  const migrate = async () => {
    {
      await using harness = await MigrationHarness.open(pair);
      await harness.sync({ verification: { enabled: false } });
      await harness.migration.pause();
    }
    const record = destination.db(METADATA_DB).collection<{ _id: string }>('migration');
    const set = { $set: { rawDeltas: false } };
    await destination.db('admin').command({ setUserWriteBlockMode: 1, global: false });
    assert.is((await record.updateOne({ _id: 'migration' }, set)).modifiedCount, 1);
    await destination.db('admin').command({ setUserWriteBlockMode: 1, global: true });
    await using again = await MigrationHarness.open(pair);
    assert.is(again.snapshot.state, 'PAUSED');
    await profile();
    await updateMuch();
    await again.migration.resume();
    await again.caughtUp();
    await updateMuch();
    await finish(again);
    assert.ok((await readsById()) > 0, 'nothing was read again: the deltas were used after all');
  };
  await within(TEST_MS, migrate(), 'the migration');
});

test('a source that does not know the deltas is found out at the start, told of in warnings, and migrated', async () => {
  const migrate = async () => {
    await refuseCommands(source, { commands: ['aggregate'], times: 1 }, UNKNOWN_FIELD);
    await using harness = await MigrationHarness.open(pair);
    await harness.sync({ verification: { enabled: false } });
    await releaseCommands(source);
    assert.is((await storedMigration(destination))?.['rawDeltas'], false);
    assert.ok(harness.snapshot.warnings.some((text) => text.includes('raw update deltas')));
    await updateMuch();
    await finish(harness);
  };
  await within(TEST_MS, migrate(), 'the migration');
});

test('a source that no longer knows the deltas, after a failover to another binary, is gone on with', async () => {
  const migrate = async () => {
    await using harness = await MigrationHarness.open(pair);
    await harness.sync({ verification: { enabled: false } });
    await profile();
    await refuseCommands(source, { commands: ['getMore'], times: 1 }, UNKNOWN_FIELD);
    await harness.until(
      () => harness.logLines.some((line) => line.includes('no longer sends raw update deltas')),
      'the fall-back',
    );
    await updateMuch();
    await finish(harness);
    assert.ok((await readsById()) > 0);
  };
  await within(TEST_MS, migrate(), 'the migration');
});

test('what the destination does not know is not taken for an answer of the source', async () => {
  const migrate = async () => {
    await using harness = await MigrationHarness.open(pair);
    await harness.sync({ verification: { enabled: false } });
    await refuseCommands(destination, { commands: ['create'], times: 1 }, UNKNOWN_FIELD);
    await source.db('shop').createCollection('cheap', { viewOn: 'items', pipeline: [] });
    const isTold = () => harness.snapshot.warnings.some((each) => /continues where.*cheap/.test(each));
    await eventually(30_000, isTold, 'the refusal being told');
    await harness.commit();
    await assertEqualClusters(source, destination);
    assert.not.ok(harness.logLines.some((line) => line.includes('no longer sends raw update deltas')));
  };
  await within(TEST_MS, migrate(), 'the migration');
});

test.run();
