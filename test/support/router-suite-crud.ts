/** Acceptance tests of the router: reads and writes of sharded collections. */
import type { Collection } from 'mongodb';
import type { Test } from 'uvu';
import * as assert from 'uvu/assert';
import { codeOf, fill, freshDatabase, type RouterBed, type Row, range, ranged, through } from './router-suite.js';

/** Registers them. */
export function crudTests(test: Test, bed: RouterBed): void {
  readTests(test, bed);
  aggregateTests(test, bed);
  updateTests(test, bed);
  keyMoveTests(test, bed);
  uniqueTests(test, bed);
}

async function rows(bed: RouterBed, name: string): Promise<Collection<Row>> {
  const collection = await ranged(bed, await freshDatabase(bed, name));
  await fill(collection);
  return collection;
}

function readTests(test: Test, bed: RouterBed): void {
  test(through(bed, 'finds merge, sort, skip and limit over shards'), async () => {
    const r = await rows(bed, 'reads');
    const ids = async (cursor: { toArray(): Promise<Row[]> }) => (await cursor.toArray()).map(({ _id }) => _id);
    assert.equal(
      (await ids(r.find({}, { batchSize: 17 }))).sort((a, b) => Number(a) - Number(b)),
      range(0, 300),
    );
    const byP = range(0, 7).flatMap((p) =>
      range(0, 300)
        .filter((i) => i % 7 === p)
        .reverse(),
    );
    assert.equal(await ids(r.find().sort({ p: 1, _id: -1 }).batchSize(10)), byP);
    const window = r
      .find({}, { projection: { a: 1 } })
      .sort({ _id: -1 })
      .skip(95)
      .limit(10);
    assert.equal(
      await window.toArray(),
      range(195, 205)
        .reverse()
        .map((i) => ({ _id: i, a: i })),
    );
    assert.equal(await ids(r.find({ a: { $gte: 98, $lt: 103 } }).sort({ a: 1 })), range(98, 103));
    assert.equal(
      await ids(r.find().min({ _id: 90 }).max({ _id: 110 }).hint({ _id: 1 }).sort({ _id: 1 })),
      range(90, 110),
    );
    assert.is((await r.find().limit(150).toArray()).length, 150);
    assert.is((await r.findOne({ a: 250 }))?._id, 250);
    assert.equal((await r.distinct('p')).sort(), range(0, 7));
    assert.is(await r.countDocuments(), 300);
    assert.is(await r.estimatedDocumentCount(), 300);
    assert.equal(await ids(r.find({ $or: [{ a: 5 }, { a: 205 }] }).sort({ a: 1 })), [5, 205]);
    assert.equal(await ids(r.find({ a: { $in: [5, 205] } }).sort({ a: 1 })), [5, 205]);
  });

  test(through(bed, 'a cursor ends where it is closed'), async () => {
    const r = await rows(bed, 'closed');
    const cursor = r.find({}, { batchSize: 5 });
    await cursor.next();
    const { id } = cursor;
    await cursor.close();
    assert.is(await codeOf(r.db.command({ getMore: id, collection: 'r' })), 43);
  });

  test(
    through(bed, 'an unsharded collection reads and counts as a whole, and a view as what it stands for'),
    async () => {
      const r = await rows(bed, 'plain');
      const plain = r.db.collection<Row>('plain');
      await plain.insertMany(range(0, 500).map((_id) => ({ _id })));
      assert.is(await plain.countDocuments(), 500);
      assert.is((await plain.find({}, { batchSize: 50 }).toArray()).length, 500);
      await r.db.command({ create: 'v', viewOn: 'r', pipeline: [{ $match: { p: 2 } }] });
      assert.is(await r.db.collection('v').countDocuments(), 43);
      assert.is(await r.db.collection('v').estimatedDocumentCount(), 43);
      assert.is(
        (
          await r.db
            .collection<Row>('v')
            .find({ _id: { $lt: 100 } })
            .toArray()
        ).length,
        14,
      );
      assert.equal(await r.db.collection('v').distinct('p'), [2]);
    },
  );
}

function aggregateTests(test: Test, bed: RouterBed): void {
  test(through(bed, 'aggregations group, sort, sample, look up and write over shards'), async () => {
    const r = await rows(bed, 'aggregates');
    const h = r.db.collection<Row>('h');
    await bed.client.db('admin').command({ shardCollection: 'aggregates.h', key: { _id: 'hashed' } });
    await h.insertMany(
      range(0, 1000).map((i) => ({ _id: i, p: i })),
      { ordered: false },
    );
    const groups = await r.aggregate([{ $group: { _id: '$p', n: { $sum: 1 } } }, { $sort: { _id: 1 } }]).toArray();
    assert.equal(
      groups,
      range(0, 7).map((p) => ({ _id: p, n: range(0, 300).filter((i) => i % 7 === p).length })),
    );
    const sorted = [{ $match: { p: 3 } }, { $sort: { _id: -1 } }, { $limit: 5 }];
    assert.equal(
      (await r.aggregate(sorted).toArray()).map(({ _id }) => _id),
      [297, 290, 283, 276, 269],
    );
    const ends = { _id: null, f: { $first: '$_id' }, l: { $last: '$_id' }, n: { $sum: 1 } };
    const inOrder = await r.aggregate([{ $sort: { _id: 1 } }, { $group: ends }]).toArray();
    assert.equal(inOrder, [{ _id: null, f: 0, l: 299, n: 300 }]);
    assert.is((await r.aggregate([{ $sample: { size: 20 } }]).toArray()).length, 20);
    assert.ok((await r.aggregate([{ $match: { $sampleRate: 0.999 } }]).toArray()).length > 200);
    const $lookup = { from: 'h', localField: '_id', foreignField: '_id', as: 'h' };
    const looked = await r.aggregate([{ $match: { _id: { $lt: 3 } } }, { $sort: { _id: 1 } }, { $lookup }]).toArray();
    assert.equal(
      looked.map((each) => each.h.length),
      [1, 1, 1],
    );
    await r.aggregate([{ $match: { p: 1 } }, { $out: 'out' }]).toArray();
    assert.is(await r.db.collection('out').countDocuments(), 43);
  });

  test(through(bed, 'statistics come per shard and in sum'), async () => {
    const r = await rows(bed, 'statistics');
    const names = range(0, 2).map((index) => bed.cluster.shardName(index));
    const stats = await r.aggregate([{ $collStats: { count: {}, storageStats: {} } }]).toArray();
    assert.equal(stats.map(({ shard }) => shard).sort(), names);
    assert.is(
      stats.reduce((sum, { count }) => sum + count, 0),
      300,
    );
    assert.is((await r.aggregate([{ $indexStats: {} }]).toArray()).length, 4);
    const whole = await r.db.command({ collStats: 'r' });
    assert.ok(whole.sharded && whole.count === 300);
    assert.equal(Object.keys(whole.shards).sort(), names);
    assert.ok('raw' in (await r.db.command({ dbStats: 1 })));
    assert.is((await r.db.command({ dataSize: 'statistics.r' })).numObjects, 300);
  });
}

function updateTests(test: Test, bed: RouterBed): void {
  test(through(bed, 'updates, replacements and deletes are targeted or refused as a mongos does it'), async () => {
    const r = await rows(bed, 'updates');
    assert.is((await r.updateOne({ a: 150 }, { $set: { z: 1 } })).modifiedCount, 1);
    assert.is((await r.updateMany({ p: 3 }, { $set: { z: 2 } })).modifiedCount, 43);
    assert.is((await r.updateOne({ _id: 150 }, { $set: { z: 3 } })).modifiedCount, 1);
    assert.is(await codeOf(r.updateOne({ p: 1 }, { $set: { z: 3 } })), 72);
    assert.is(await codeOf(r.updateOne({ _id: 5000 }, { $set: { z: 3 } }, { upsert: true })), 61);
    assert.ok((await r.updateOne({ a: 5000 }, { $set: { z: 3 } }, { upsert: true })).upsertedId);
    assert.is((await r.replaceOne({ a: 150 }, { a: 150, q: 1 })).modifiedCount, 1);
    assert.is((await r.replaceOne({ _id: 151 }, { a: 151, q: 1 })).modifiedCount, 1);
    // Targeted by the replacement's key, where there is no such document.
    assert.is((await r.replaceOne({ _id: 152 }, { a: 52, q: 1 })).matchedCount, 0);
    assert.is((await r.replaceOne({ _id: 153 }, { q: 1 })).matchedCount, 0);
    assert.is(await codeOf(r.deleteOne({ p: 1 })), 61);
    assert.is((await r.deleteOne({ _id: 299 })).deletedCount, 1);
    assert.is((await r.deleteMany({ p: 6 })).deletedCount, 42);
  });

  test(through(bed, 'a batch of all kinds of statements counts each of them'), async () => {
    const r = await rows(bed, 'bulk');
    const result = await r.bulkWrite([
      { insertOne: { document: { _id: 900, a: 1 } } },
      { insertOne: { document: { _id: 901, a: 250 } } },
      { updateOne: { filter: { a: 250, _id: 901 }, update: { $set: { k: 1 } } } },
      { deleteOne: { filter: { a: 1, _id: 900 } } },
      { replaceOne: { filter: { a: 777 }, replacement: { a: 777, n: 1 }, upsert: true } },
    ]);
    const { insertedCount, modifiedCount, deletedCount, upsertedCount } = result;
    assert.equal([insertedCount, modifiedCount, deletedCount, upsertedCount], [2, 1, 1, 1]);
  });

  test(through(bed, 'a missing key field counts as null, an array in the key is refused'), async () => {
    const r = await rows(bed, 'odd_keys');
    assert.is((await r.insertOne({ _id: 'no key' })).insertedId, 'no key');
    assert.is((await r.findOne({ a: null }))?._id, 'no key');
    assert.is(await codeOf(r.insertOne({ _id: 'array', a: [1, 2] })), 61);
  });

  test(through(bed, 'a retryable write sent again is not done again'), async () => {
    const r = await rows(bed, 'retries');
    // A client of its own: a number like this may be behind those that a pooled session has used.
    const client = await bed.cluster.client();
    const session = client.startSession();
    try {
      const documents = [
        { _id: 'rw1', a: 1 },
        { _id: 'rw2', a: 250 },
      ];
      const command = { insert: 'r', documents, txnNumber: 5n };
      for (const _time of [1, 2]) assert.is((await client.db('retries').command(command, { session })).n, 2);
      assert.is(await r.countDocuments({ _id: { $in: ['rw1', 'rw2'] } }), 2);
    } finally {
      await session.endSession();
      await client.close();
    }
  });
}

function keyMoveTests(test: Test, bed: RouterBed): void {
  test(through(bed, 'an update of the key moves a document to its other shard'), async () => {
    const r = await rows(bed, 'moves');
    assert.is((await r.updateOne({ a: 10 }, { $set: { a: 210 } })).modifiedCount, 1);
    assert.equal(
      (await r.find({ _id: 10 }).toArray()).map(({ a }) => a),
      [210],
    );
    assert.is((await r.updateOne({ a: 11 }, { $set: { a: 12.5 } })).modifiedCount, 1);
    assert.is(await codeOf(r.updateOne({ _id: 14 }, { $set: { a: 260 } })), 31025);
    const moved = await r.findOneAndUpdate({ a: 15 }, { $set: { a: 215 } }, { returnDocument: 'after' });
    assert.is(moved?.a, 215);
    assert.is(await codeOf(r.findOneAndUpdate({ _id: 15 }, { $set: { q: 215 } })), 61);
    assert.is((await r.findOneAndDelete({ a: 16 }))?._id, 16);
    const [first, second] = [0, 1].map((index) => bed.cluster.shardClient(index));
    const own = async (shard: typeof first) =>
      (await (await shard)?.db('moves').collection<Row>('r').countDocuments({ _id: 10 })) ?? -1;
    assert.equal([await own(first), await own(second)], [0, 1]);
  });

  test(through(bed, 'an update of the key that moves must be alone in its batch and retryable'), async () => {
    const r = await rows(bed, 'lone_moves');
    const move = { q: { a: 20 }, u: { $set: { a: 220 } } };
    const client = await bed.cluster.client();
    const updates = [move, { q: { a: 21 }, u: { $set: { z: 1 } } }];
    const { writeErrors } = await client.withSession((session) =>
      client.db('lone_moves').command({ update: 'r', updates, txnNumber: 7n }, { session }),
    );
    await client.close();
    assert.is(writeErrors[0].code, 72);
    const alone = await r.db.command({ update: 'r', updates: [move] });
    assert.is(alone.writeErrors[0].code, 20);
  });
}

function uniqueTests(test: Test, bed: RouterBed): void {
  test(through(bed, 'an _id is unique on its shard only'), async () => {
    const r = await rows(bed, 'equal_ids');
    assert.is(await codeOf(r.insertOne({ _id: 21, a: 22 })), 11000);
    assert.is((await r.insertOne({ _id: 21, a: 250 })).insertedId, 21);
    assert.is(await r.countDocuments({ _id: 21 }), 2);
    assert.is((await r.updateOne({ _id: 21 }, { $set: { both: 1 } })).modifiedCount, 2);
  });

  test(through(bed, 'a unique key refuses, and an unordered batch goes on'), async () => {
    const db = await freshDatabase(bed, 'uniques');
    const key = { a: 1, b: 1 };
    await bed.client.db('admin').command({ shardCollection: 'uniques.u', key, unique: true });
    const { MinKey } = await import('mongodb');
    await bed.cluster.split('uniques.u', { a: 5, b: new MinKey() });
    await bed.cluster.moveChunk({ ns: 'uniques.u', find: { a: 5, b: 0 }, to: 1 });
    const u = db.collection('u');
    const pairs = (...of: number[][]) => of.map(([a, b]) => ({ a, b }));
    assert.is(await codeOf(u.insertMany(pairs([1, 1], [6, 1], [6, 1]))), 11000);
    assert.is(await codeOf(u.insertMany(pairs([1, 1], [2, 2], [6, 1], [7, 7]), { ordered: false })), 11000);
    assert.is(await u.countDocuments(), 4);
  });
}
