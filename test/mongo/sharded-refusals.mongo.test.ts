/** What ends a migration with a sharded side, by name: new shard keys, values that no shard takes, `_id`s that meet. */
import type { Document } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  emptySide,
  openBetween,
  outcomeOf,
  plainSide,
  shardedSide,
  shardInTwo,
  shardingEntry,
  startOf,
} from '../support/sharded-migration.js';
import { sharedSet, sharedShardedCluster } from '../support/shared-servers.js';
import { within } from '../support/within.js';

const TEST_MS = 90_000;

const [from, to, plain] = await Promise.all([
  sharedShardedCluster(test, { name: 'from' }).then(shardedSide),
  sharedShardedCluster(test, { name: 'to' }).then(shardedSide),
  sharedSet(test).then(plainSide),
]);

async function seed(db: string): Promise<void> {
  await shardInTwo(from, `${db}.a`, { key: { a: 1 }, middle: { a: 50 } });
  await from.client
    .db(db)
    .collection('a')
    .insertMany(Array.from({ length: 100 }, (_, a) => ({ a, b: -a })));
}

/** Changes of a shard key that no event tells of before 7.0. */
const CHANGES: readonly (readonly [name: string, change: (ns: string) => Promise<unknown>])[] = [
  ['refineCollectionShardKey', (ns) => from.cluster.admin({ refineCollectionShardKey: ns, key: { a: 1, b: 1 } })],
  ['reshardCollection', (ns) => from.cluster.admin({ reshardCollection: ns, key: { b: 1 } })],
];

for (const [name, change] of CHANGES) {
  test(`${name} ends a migration within seconds by the name ShardingChanged (through the router double)`, async () => {
    const run = async () => {
      const db = name;
      await seed(db);
      await from.client.db(db).collection('a').createIndex({ a: 1, b: 1 });
      await using harness = await openBetween(from, plain, db);
      await harness.migration.start(startOf(db));
      await harness.caughtUp();
      await change(`${db}.a`);
      const error = await within(10_000, harness.failure(), 'the failure');
      assert.is(error.code, 'ShardingChanged', error.message);
      assert.match(error.message, new RegExp(`${db}\\.a`));
      assert.match(harness.snapshot.failure?.description ?? '', /Start a new migration/);
    };
    await within(TEST_MS, run(), 'the migration');
  });
}

test('a reshard while the migration was paused is found when it goes on, with writes and without (through the router double)', async () => {
  const run = async () => {
    for (const writes of [true, false]) {
      const db = `paused${writes}`;
      await seed(db);
      await using harness = await openBetween(from, plain, db);
      await harness.migration.start(startOf(db));
      await harness.caughtUp();
      await harness.migration.pause();
      await harness.until(({ state }) => state === 'PAUSED', 'PAUSED');
      await from.cluster.admin({ reshardCollection: `${db}.a`, key: { b: 1 } });
      if (writes) await from.client.db(db).collection('a').insertOne({ a: 1000, b: 7 });
      await harness.migration.resume();
      const error = await within(15_000, harness.failure(), 'the failure');
      assert.is(error.code, 'ShardingChanged', error.message);
    }
  };
  await within(TEST_MS, run(), 'the migrations');
});

test('a collection that is dropped, created and sharded again by another key is no reshard (through the router double)', async () => {
  const run = async () => {
    const db = 'again';
    await seed(db);
    await using harness = await openBetween(from, to, db);
    await harness.migration.start(startOf(db));
    await harness.caughtUp();
    await from.client.db(db).dropCollection('a');
    await from.cluster.admin({ shardCollection: `${db}.a`, key: { b: 1 } });
    await from.client
      .db(db)
      .collection('a')
      .insertMany([
        { a: 1, b: 2 },
        { a: 2, b: 1 },
      ]);
    await harness.commit();
    assert.equal(await outcomeOf({ source: from, destination: to, db }, harness), []);
  };
  await within(TEST_MS, run(), 'the migration');
});

test('an array in a field of the shard key ends the migration by name, in the copy and afterwards (through the router double)', async () => {
  const run = async () => {
    for (const when of ['before', 'after']) {
      const db = `arrays${when}`;
      await emptySide(plain);
      const a = plain.client.db(db).collection('a');
      await a.insertMany([{ a: 1 }, { a: 2 }]);
      if (when === 'before') await a.insertOne({ a: [1, 2] });
      await using harness = await openBetween(plain, to, db);
      const shardingEntries = [shardingEntry(db, 'a', { a: 1 })];
      await harness.migration.start(startOf(db, { sharding: { createSupportingIndexes: true, shardingEntries } }));
      if (when === 'after') {
        await harness.caughtUp();
        await a.updateOne({ a: 1 }, { $set: { a: [1, 2] } });
      }
      const error = await harness.failure();
      assert.is(error.code, 'ShardKeyValueRefused', error.message);
      assert.match(error.message, new RegExp(`${db}\\.a has a value in a field of the shard key`));
    }
  };
  await within(TEST_MS, run(), 'the migrations');
});

test('two documents of one _id are kept apart where they can be, and are named where they cannot (through the router double)', async () => {
  const run = async () => {
    const db = 'sameIds';
    await seed(db);
    const a = from.client.db(db).collection<Document>('a');
    const doc = (_id: number, value: number): Document => ({ _id: _id as never, a: value });
    await a.insertMany([doc(1, 1), doc(1, 99), doc(2, 98)]);
    {
      await using harness = await openBetween(from, to, db);
      await harness.migration.start(startOf(db));
      await harness.caughtUp();
      // Changes of two documents of one `_id`, close together: never one of them instead of the other.
      const ids = Array.from({ length: 20 }, (_, n) => n + 10);
      await a.insertMany(ids.map((_id) => doc(_id, _id)));
      await a.insertMany(ids.map((_id) => doc(_id, _id + 60)));
      await Promise.all([
        a.updateMany({ _id: { $in: ids as never[] }, a: { $gt: 60 } }, { $set: { n: 2 } }),
        a.deleteMany({ _id: { $in: ids as never[] }, a: { $lt: 50 } }),
      ]);
      await a.insertOne(doc(2, 2));
      await a.updateOne({ _id: 1 as never, a: 99 }, { $set: { n: 1 } });
      await a.deleteOne({ _id: 1 as never, a: 1 });
      await a.insertOne(doc(1, 0));
      await harness.commit();
      assert.equal(await outcomeOf({ source: from, destination: to, db }, harness), []);
      assert.is(
        await to.client
          .db(db)
          .collection<Document>('a')
          .countDocuments({ _id: 1 as never }),
        2,
      );
    }
    await using harness = await openBetween(from, plain, db);
    // The check has named them; here they come after it.
    await a.deleteMany({ _id: { $in: [1, 2] as never[] } });
    await harness.migration.start(startOf(db));
    await harness.caughtUp();
    await a.insertMany([doc(1, 1), doc(1, 99)]);
    const error = await harness.failure();
    assert.match(error.message, /^DuplicateIds: the source has several documents with one _id in sameIds\.a/);
  };
  await within(TEST_MS, run(), 'the migrations');
});

test.run();
