import type { Db, MongoClient } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { compareClusters } from '../support/compare-clusters.js';
import { DEFAULT_START, MigrationHarness } from '../support/migration-harness.js';
import { startPair } from '../support/replica-set.js';
import { within } from '../support/within.js';

/** A kind of change: `before` is there when the migration starts, `during` happens while it runs. */
interface Kind {
  readonly name: string;
  readonly before?: (db: Db, client: MongoClient) => Promise<unknown>;
  readonly during: (db: Db, client: MongoClient) => Promise<unknown>;
}

const KINDS: readonly Kind[] = [
  { name: 'insert', during: (db) => db.collection<{ _id: number }>('c').insertMany([{ _id: 1 }, { _id: 2 }]) },
  {
    name: 'update of dotted, numeric and array paths',
    before: (db) =>
      db.collection<{ _id: number }>('c').insertOne({ _id: 1, z: 1, list: [1, 2, 3, 4], sub: { a: 1 } } as never),
    during: async (db) => {
      const c = db.collection<{ _id: number }>('c');
      await c.updateOne({ _id: 1 }, { $set: { 'sub.b.c': 1, 'list.1': 'two', y: 1, x: 2 } });
      await c.updateOne({ _id: 1 }, { $push: { list: { $each: [5, 6], $slice: -4 } } } as never);
      await c.updateOne({ _id: 1 }, [{ $replaceWith: { _id: '$_id', x: '$x', list: '$list', sub: '$sub', y: '$y' } }]);
      await c.updateOne({ _id: 1 }, { $unset: { 'sub.a': 1 } });
    },
  },
  {
    name: 'replace',
    before: (db) => db.collection<{ _id: number }>('c').insertOne({ _id: 1 }),
    during: (db) => db.collection<{ _id: number }>('c').replaceOne({ _id: 1 }, { b: 1, a: 2 } as never),
  },
  {
    name: 'delete',
    before: (db) => db.collection<{ _id: number }>('c').insertMany([{ _id: 1 }, { _id: 2 }]),
    during: (db) => db.collection<{ _id: number }>('c').deleteOne({ _id: 1 }),
  },
  {
    name: 'transaction over two collections',
    before: async (db) => {
      await db.createCollection('a');
      await db.createCollection('b');
    },
    during: (db, client) =>
      client.withSession((session) =>
        session.withTransaction(async () => {
          await db.collection('a').insertOne({ n: 1 }, { session });
          await db.collection('b').insertOne({ n: 1 }, { session });
          await db.collection('a').updateOne({ n: 1 }, { $set: { n: 2 } }, { session });
        }),
      ),
  },
  {
    name: 'create with options',
    during: async (db) => {
      await db.createCollection('validated', { validator: { a: { $gte: 0 } } });
      await db.createCollection('collated', { collation: { locale: 'de', strength: 2 } });
      await db.createCollection('clustered', {
        clusteredIndex: { key: { _id: 1 }, unique: true },
        expireAfterSeconds: 86_400,
      });
      await db.createCollection('images', { changeStreamPreAndPostImages: { enabled: true } });
      await db.collection<{ _id: string }>('collated').insertMany([{ _id: 'a' }, { _id: 'b' }]);
      await db.collection<{ _id: string }>('collated').deleteOne({ _id: 'A' });
      await db.collection<{ _id: string }>('collated').insertOne({ _id: 'A' });
    },
  },
  {
    name: 'create capped, with overflow',
    during: async (db) => {
      await db.createCollection('capped', { capped: true, size: 4096, max: 5 });
      for (let n = 0; n < 20; n++)
        await db.collection<{ _id: number }>('capped').insertOne({ _id: n % 7 === 3 ? n + 100 : n });
    },
  },
  {
    name: 'views: create, modify, drop',
    before: (db) => db.createCollection('old', { viewOn: 'c', pipeline: [] }),
    during: async (db) => {
      await db.createCollection('view', { viewOn: 'c', pipeline: [{ $match: { a: 1 } }] });
      await db.createCollection('onView', { viewOn: 'view', pipeline: [{ $project: { b: 1, a: 1 } }] });
      await db.command({ collMod: 'view', viewOn: 'c', pipeline: [{ $match: { a: 2 } }] });
      await db.collection('old').drop();
    },
  },
  {
    name: 'createIndexes of every kind',
    before: (db) => db.collection('c').insertOne({ a: 1, loc: [1, 2], text: 'x', when: new Date() }),
    during: async (db) => {
      const c = db.collection('c');
      await c.createIndex({ a: 1, b: -1 }, { unique: true, sparse: true });
      await c.createIndex({ text: 'text' }, { weights: { text: 5 }, default_language: 'german' });
      await c.createIndex({ loc: '2d' }, { min: -200, max: 200, bits: 20 });
      await c.createIndex({ geo: '2dsphere' });
      await c.createIndex({ h: 'hashed' });
      await c.createIndex({ '$**': 1 }, { wildcardProjection: { a: 1 } });
      await c.createIndex({ when: 1 }, { expireAfterSeconds: 86_400 });
      await c.createIndex({ p: 1 }, { partialFilterExpression: { p: { $gt: 5 } }, hidden: true });
      await c.createIndex({ 2: 1, 1: -1 }, { collation: { locale: 'fr' } });
    },
  },
  {
    name: 'dropIndexes, and the same name with another key',
    before: async (db) => {
      await db.collection('c').createIndex({ a: 1 }, { name: 'one' });
      await db.collection('c').createIndex({ b: 1 }, { name: 'two' });
    },
    during: async (db) => {
      await db.collection('c').dropIndex('one');
      await db.collection('c').createIndex({ z: 1 }, { name: 'one' });
      await db.collection('d').createIndex({ q: 1 });
      await db.collection('d').dropIndexes();
    },
  },
  {
    name: 'collMod of everything',
    before: async (db) => {
      await db.collection('c').createIndex({ when: 1 }, { expireAfterSeconds: 86_400 });
      await db.collection('c').createIndex({ a: 1 });
      await db.collection('c').createIndex({ u: 1 });
      await db.createCollection('clustered', {
        clusteredIndex: { key: { _id: 1 }, unique: true },
        expireAfterSeconds: 86_400,
      });
      await db.createCollection('capped', { capped: true, size: 4096 });
      await db.createCollection('unbounded', { capped: true, size: 4096, max: 3 });
    },
    during: async (db) => {
      await db.command({ collMod: 'c', index: { keyPattern: { when: 1 }, expireAfterSeconds: 172_800 } });
      await db.command({ collMod: 'c', index: { name: 'a_1', hidden: true } });
      await db.command({ collMod: 'c', index: { name: 'u_1', prepareUnique: true } });
      await db.command({ collMod: 'c', index: { name: 'u_1', unique: true } });
      await db.command({ collMod: 'c', validator: { a: { $gt: 0 } }, validationLevel: 'moderate' });
      await db.command({ collMod: 'c', changeStreamPreAndPostImages: { enabled: true } });
      await db.command({ collMod: 'clustered', expireAfterSeconds: 'off' });
      await db.command({ collMod: 'capped', cappedSize: 8192, cappedMax: 9 });
      await db.command({ collMod: 'unbounded', cappedMax: 0 });
      await db.command({ collMod: 'c' });
    },
  },
  {
    name: 'rename, also over an existing collection',
    before: async (db) => {
      await db.collection('a').insertOne({ was: 'a' });
      await db.collection('b').insertOne({ was: 'b' });
      await db.collection('target').insertOne({ was: 'target' });
      await db.collection('b').createIndex({ x: 1 }, { unique: true });
    },
    during: async (db) => {
      await db.collection('a').rename('c');
      await db.collection('b').rename('target', { dropTarget: true });
      await db.collection('target').insertOne({ x: 1 });
      await db.collection('a').insertOne({ was: 'new a' });
    },
  },
  {
    name: 'rename of a capped collection',
    before: async (db) => {
      await db.createCollection('capped', { capped: true, size: 65_536 });
      await db.collection('capped').insertMany([{ n: 1 }, { n: 2 }, { n: 3 }]);
    },
    during: async (db) => {
      await db.collection('capped').rename('renamed');
      await db.collection('renamed').insertOne({ n: 4 });
    },
  },
  {
    name: 'rename across databases',
    before: (db) => db.collection('a').insertMany([{ n: 1 }, { n: 2 }]),
    during: (db, client) =>
      client.db('admin').command({ renameCollection: `${db.databaseName}.a`, to: `${db.databaseName}_2.b` }),
  },
  {
    name: 'create, drop, create of one name',
    during: async (db) => {
      for (let n = 0; n < 4; n++) {
        await db.collection('c').insertOne({ n });
        await db.collection('c').createIndex({ [`f${n}`]: 1 });
        if (n < 3) await db.collection('c').drop();
      }
    },
  },
  {
    name: 'dropDatabase, and the same name again',
    before: async (db) => {
      await db.collection('a').insertOne({ n: 1 });
      await db.createCollection('v', { viewOn: 'a', pipeline: [] });
    },
    during: async (db) => {
      await db.dropDatabase();
      await db.collection('b').insertOne({ n: 2 });
    },
  },
  {
    name: '$out and $merge',
    before: async (db) => {
      await db.collection('a').insertMany([{ n: 1 }, { n: 2 }]);
      await db.collection('out').insertOne({ old: true });
      await db.collection('out').createIndex({ n: 1 });
    },
    during: async (db) => {
      await db
        .collection('a')
        .aggregate([{ $out: 'out' }])
        .toArray();
      await db
        .collection('a')
        .aggregate([{ $out: 'fresh' }])
        .toArray();
      await db
        .collection('a')
        .aggregate([{ $set: { m: 1 } }, { $merge: 'out' }])
        .toArray();
    },
  },
  {
    name: 'convertToCapped and cloneCollectionAsCapped',
    before: (db) => db.collection('a').insertMany(Array.from({ length: 50 }, (_, n) => ({ n }))),
    during: async (db) => {
      await db.command({ cloneCollectionAsCapped: 'a', toCollection: 'clone', size: 65_536 });
      await db.command({ convertToCapped: 'a', size: 65_536 });
      await db.collection('a').insertOne({ after: true });
      await db.collection('clone').insertOne({ after: true });
    },
  },
  {
    name: 'convertToCapped of a clustered collection',
    before: async (db) => {
      for (const name of ['before', 'during']) {
        await db.createCollection(name, { clusteredIndex: { key: { _id: 1 }, unique: true } });
        await db.collection<{ _id: number }>(name).insertMany([{ _id: 3 }, { _id: 1 }]);
      }
      await db.command({ convertToCapped: 'before', size: 65_536 });
    },
    during: async (db) => {
      await db.command({ convertToCapped: 'during', size: 65_536 });
      await db.collection<{ _id: number }>('during').insertOne({ _id: 2 });
      await db.collection<{ _id: number }>('before').insertOne({ _id: 2 });
    },
  },
  {
    name: 'unique values swapped between documents',
    before: async (db) => {
      await db.collection<{ _id: number }>('c').insertMany([{ _id: 1, u: 'a' } as never, { _id: 2, u: 'b' } as never]);
      await db.collection('c').createIndex({ u: 1 }, { unique: true });
    },
    during: async (db) => {
      const c = db.collection<{ _id: number; u: string }>('c');
      for (let n = 0; n < 20; n++) {
        await c.updateOne({ _id: 1 }, { $set: { u: 'spare' } });
        await c.updateOne({ _id: 2 }, { $set: { u: n % 2 === 0 ? 'a' : 'b' } });
        await c.updateOne({ _id: 1 }, { $set: { u: n % 2 === 0 ? 'b' : 'a' } });
      }
    },
  },
  {
    name: 'an _id that changes its numeric type',
    before: (db) => db.command({ insert: 'c', documents: [{ _id: 1, n: 'int' }] }),
    during: async (db) => {
      const { Long, Double } = await import('mongodb');
      await db.command({ delete: 'c', deletes: [{ q: { _id: 1 }, limit: 1 }] });
      await db.command({ insert: 'c', documents: [{ _id: Long.fromNumber(1), n: 'long' }] });
      await db.command({ delete: 'c', deletes: [{ q: { _id: 1 }, limit: 1 }] });
      await db.command({ insert: 'c', documents: [{ _id: new Double(1), n: 'double' }] });
    },
  },
  {
    name: 'documents of 16 MB',
    before: (db) =>
      db.collection<{ _id: number }>('c').insertOne({ _id: 1, pad: 'x'.repeat(16_777_216 - 30) } as never),
    during: async (db) => {
      await db.collection<{ _id: number }>('c').updateOne({ _id: 1 }, { $set: { pad: 'y'.repeat(16_777_216 - 40) } });
      await db.collection<{ _id: number }>('c').insertOne({ _id: 2, pad: 'z'.repeat(16_777_216 - 30) } as never);
      await db.collection<{ _id: number }>('c').insertOne({ _id: 3 } as never);
    },
  },
];

const differences = new Map<string, string[]>();

function dbName(index: number): string {
  return `kind${String(index).padStart(2, '0')}`;
}

/** One migration carries every kind in a database of its own, so that the table stays quick. */
async function migrateAll(moment: 'copy' | 'steady'): Promise<string[]> {
  await using pair = await startPair();
  const source = await pair.source.connect();
  const destination = await pair.destination.connect();
  for (const [index, kind] of KINDS.entries()) await kind.before?.(source.db(dbName(index)), source);
  if (moment === 'copy')
    await source
      .db('bulk')
      .collection('bulk')
      .insertMany(Array.from({ length: 20_000 }, (_, n) => ({ n, pad: 'x'.repeat(500) })));
  await using harness = await MigrationHarness.open(pair, moment === 'copy' ? { loadLevel: 1 } : {});
  await harness.migration.start(DEFAULT_START);
  if (moment === 'copy') {
    // Paused in the middle of the copy: what happens now is after T0, and before most ranges are read.
    await harness.until((snapshot) => (snapshot.copy?.copiedBytes ?? 0) > 0, 'the copy beginning');
    await harness.migration.pause();
  } else await harness.caughtUp();
  for (const [index, kind] of KINDS.entries()) await kind.during(source.db(dbName(index)), source);
  if (moment === 'copy') await harness.migration.resume();
  await harness.commit();
  return await compareClusters(source, destination);
}

for (const moment of ['steady', 'copy'] as const) {
  test(`every kind of change reaches the destination when it happens in the ${moment === 'copy' ? 'middle of the copy' : 'steady state'}`, async () => {
    const found = await within(180_000, migrateAll(moment), 'the migration of every kind of change');
    differences.set(moment, found);
    // The others are told by the tests of the kinds.
    assert.equal(
      found.filter((line) => !KINDS.some((_, index) => line.includes(dbName(index)))),
      [],
    );
  });
  for (const [index, kind] of KINDS.entries()) {
    test(`${kind.name} (${moment})`, () => {
      const found = differences.get(moment);
      assert.ok(found, 'the migration did not come to its end');
      assert.equal(
        found.filter((line) => line.includes(dbName(index))),
        [],
      );
    });
  }
}

test.run();
