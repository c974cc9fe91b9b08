/** Proves that the comparison finds planted differences. */
import { type Db, Double, Int32, Long } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { assertEqualClusters, ClustersDifferError, compareClusters } from './compare-clusters.js';
import { seedEverything } from './seed-data.js';
import { part, rawDocument, rawInsert } from './seed-data-raw.js';
import { sharedPair } from './shared-servers.js';
import { within } from './within.js';

const TEST_MS = 120_000;

const { source, destination } = await sharedPair(test, { keepData: true });
/** Without documents of 16 MB, which each comparison would read again; fidelity.mongo.test.ts compares those. */
async function seed(client: typeof source): Promise<void> {
  await seedEverything(client, { large: false });
  const ids: (number | string)[] = [1, 'two', 3.5, 4];
  const large = client.db('large').collection<{ _id: number | string }>('documents');
  await large.insertMany(ids.map((_id) => ({ _id })));
}

await within(TEST_MS, Promise.all([seed(source), seed(destination)]), 'seeding');

test('two clusters seeded alike are equal, although their collections have other UUIDs', async () => {
  await within(TEST_MS, assertEqualClusters(source, destination), 'comparing');
});

interface Planted {
  readonly what: string;
  /** Changes the destination. */
  readonly plant: (db: (name: string) => Db) => Promise<unknown>;
  /** Takes the change back. */
  readonly undo: (db: (name: string) => Db) => Promise<unknown>;
  /** What one of the lines must hold. */
  readonly line: RegExp;
}

const mod = (db: Db, collection: string, what: object) => db.command({ collMod: collection, ...what });

/** Each is the only difference while it is there: exactly one line must tell it. */
const PLANTED: Planted[] = [
  {
    what: 'a document too few',
    plant: (db) => db('values').collection<{ _id: number }>('types').deleteOne({ _id: 3 }),
    undo: async (db) => {
      const [doc] = await source
        .db('values')
        .collection<{ _id: number }>('types')
        .find({ _id: 3 }, { raw: true })
        .toArray();
      await rawInsert(destination, db('values').databaseName, 'types', [doc as unknown as Buffer]);
    },
    line: /^values\.types: 1 document missing: 3$/,
  },
  {
    what: 'documents too many, at both ends',
    plant: (db) =>
      db('large')
        .collection<{ _id: number }>('documents')
        .insertMany([{ _id: -9 }, { _id: 1e9 }]),
    undo: (db) =>
      db('large')
        .collection<{ _id: number }>('documents')
        .deleteMany({ _id: { $in: [-9, 1e9] } }),
    line: /^large\.documents: 2 documents extra: -9, 1000000000$/,
  },
  {
    what: 'a number of another type',
    plant: (db) =>
      db('kinds')
        .collection<{ _id: number }>('clustered')
        .updateOne({ _id: -1000 }, { $set: { index: new Double(0) } }),
    undo: (db) =>
      db('kinds')
        .collection<{ _id: number }>('clustered')
        .updateOne({ _id: -1000 }, { $set: { index: new Int32(0) } }),
    line: /^kinds\.clustered: 1 document different: -1000$/,
  },
  {
    what: 'an _id of another numeric type',
    plant: async (db) => {
      await db('kinds').collection<{ _id: number }>('pre-images').deleteOne({ _id: -1000 });
      await db('kinds')
        .collection<{ _id: Long }>('pre-images')
        .insertOne({ _id: Long.fromInt(-1000), index: 0 } as never);
    },
    undo: async (db) => {
      await db('kinds').collection<{ _id: number }>('pre-images').deleteOne({ _id: -1000 });
      await db('kinds').collection<{ _id: number; index: number }>('pre-images').insertOne({ _id: -1000, index: 0 });
    },
    line: /^kinds\.pre-images: 1 document different only in number types of _id: -1000$/,
  },
  {
    what: 'another order of fields, deep inside',
    plant: (db) =>
      db('indexes')
        .collection<{ _id: number }>('wildcards')
        .updateOne({ _id: 0 }, [
          {
            $set: {
              sub: {
                $literal: new Map<string, unknown>([
                  ['x', 0],
                  ['0', 0],
                  ['deep', { y: 'y0' }],
                ]),
              },
            },
          },
        ]),
    undo: (db) =>
      db('indexes')
        .collection<{ _id: number }>('wildcards')
        .updateOne({ _id: 0 }, [
          {
            $set: {
              sub: {
                $literal: new Map<string, unknown>([
                  ['0', 0],
                  ['x', 0],
                  ['deep', { y: 'y0' }],
                ]),
              },
            },
          },
        ]),
    line: /^indexes\.wildcards: 1 document different only in field order: 0$/,
  },
  {
    what: 'a capped collection in another order',
    plant: async (db) => {
      const capped = db('kinds').collection('capped with a size of one');
      const docs = await capped.find().toArray();
      await capped.deleteMany({});
      await capped.insertMany(docs.reverse());
    },
    undo: async (db) => {
      const capped = db('kinds').collection('capped with a size of one');
      const docs = await capped.find().toArray();
      await capped.deleteMany({});
      await capped.insertMany(docs.reverse());
    },
    line: /^kinds\.capped with a size of one: \d+ documents? out of order: /,
  },
  {
    what: 'a collection too many',
    plant: (db) => db('other').createCollection('more'),
    undo: (db) => db('other').dropDatabase(),
    line: /^other\.more: only on the destination$/,
  },
  {
    what: 'a view over another pipeline',
    plant: (db) => mod(db('collated'), 'z view', { viewOn: 'german', pipeline: [{ $match: { index: { $gt: 4 } } }] }),
    undo: (db) => mod(db('collated'), 'z view', { viewOn: 'german', pipeline: [{ $match: { index: { $gt: 3 } } }] }),
    line: /^collated\.z view: option pipeline: /,
  },
  {
    what: 'another size of a capped collection',
    plant: (db) => mod(db('kinds'), 'capped', { cappedSize: 200_192 }),
    undo: (db) => mod(db('kinds'), 'capped', { cappedSize: 100_096 }),
    line: /^kinds\.capped: option size: .*100096 on the source, .*200192 on the destination$/,
  },
  {
    what: 'another time to live of a clustered collection',
    plant: (db) => mod(db('kinds'), 'clustered ttl', { expireAfterSeconds: 86_401 }),
    undo: (db) => mod(db('kinds'), 'clustered ttl', { expireAfterSeconds: 86_400 }),
    line: /^kinds\.clustered ttl: option expireAfterSeconds: /,
  },
  {
    what: 'validation at another level',
    plant: (db) => mod(db('kinds'), 'strict', { validationLevel: 'off' }),
    undo: (db) => mod(db('kinds'), 'strict', { validationLevel: 'strict' }),
    line: /^kinds\.strict: option validationLevel: /,
  },
  {
    what: 'a validator in another order of fields',
    plant: (db) => mod(db('kinds'), 'strict', { validator: { 0: { $not: { $gt: 5 } }, b: { $exists: true } } }),
    undo: (db) =>
      mod(db('kinds'), 'strict', {
        validator: new Map<string, unknown>([
          ['b', { $exists: true }],
          ['0', { $not: { $gt: 5 } }],
        ]),
      }),
    line: /^kinds\.strict: option validator: \{b: .*, 0: .*\} on the source, \{0: .*, b: .*\} on the destination$/,
  },
  {
    what: 'no pre-images',
    plant: (db) => mod(db('kinds'), 'pre-images', { changeStreamPreAndPostImages: { enabled: false } }),
    undo: (db) => mod(db('kinds'), 'pre-images', { changeStreamPreAndPostImages: { enabled: true } }),
    line: /^kinds\.pre-images: option changeStreamPreAndPostImages: /,
  },
  {
    what: 'an index that is not there',
    plant: (db) => db('collated').collection('german').dropIndex('simple'),
    undo: (db) =>
      db('collated')
        .collection('german')
        .createIndex({ index: 1, word: 1 }, { name: 'simple', collation: { locale: 'simple' } }),
    line: /^collated\.german: index simple missing on the destination: /,
  },
  {
    what: 'an index that is not unique',
    plant: (db) => mod(db('indexes'), 'every kind', { index: { name: 'unique', forceNonUnique: true } }),
    undo: async (db) => {
      await mod(db('indexes'), 'every kind', { index: { name: 'unique', prepareUnique: true } });
      await mod(db('indexes'), 'every kind', { index: { name: 'unique', unique: true } });
    },
    line: /^indexes\.every kind: index unique: unique: true on the source, none on the destination$/,
  },
  {
    what: 'an index left in preparation',
    plant: (db) => mod(db('indexes'), 'every kind', { index: { name: 'collated', prepareUnique: true } }),
    undo: (db) => mod(db('indexes'), 'every kind', { index: { name: 'collated', prepareUnique: false } }),
    line: /^indexes\.every kind: index collated: prepareUnique: none on the source, true on the destination$/,
  },
  {
    what: 'a hidden index that shows',
    plant: (db) => mod(db('indexes'), 'every kind', { index: { name: 'hidden', hidden: false } }),
    undo: (db) => mod(db('indexes'), 'every kind', { index: { name: 'hidden', hidden: true } }),
    line: /^indexes\.every kind: index hidden: hidden: true on the source, none on the destination$/,
  },
  {
    what: 'another time to live of an index',
    plant: (db) => mod(db('indexes'), 'every kind', { index: { name: 'ttl', expireAfterSeconds: 2_147_483_647 } }),
    undo: (db) => mod(db('indexes'), 'every kind', { index: { name: 'ttl', expireAfterSeconds: 2_592_000 } }),
    line: /^indexes\.every kind: index ttl: expireAfterSeconds: 2592000 on the source, 2147483647 on the destination$/,
  },
  {
    what: 'an index with its fields in another order',
    plant: async (db) => {
      await db('kinds').collection('empty').createIndex({ a: 1 }, { name: 'i' });
      await source
        .db('kinds')
        .collection('empty')
        .createIndex(
          new Map<string, 1>([
            ['b', 1],
            ['0', 1],
          ]),
          { name: 'i' },
        );
      await db('kinds').collection('empty').dropIndex('i');
      await db('kinds')
        .collection('empty')
        .createIndex(
          new Map<string, 1>([
            ['0', 1],
            ['b', 1],
          ]),
          { name: 'i' },
        );
    },
    undo: async (db) => {
      await source.db('kinds').collection('empty').dropIndex('i');
      await db('kinds').collection('empty').dropIndex('i');
    },
    line: /^kinds\.empty: index i: key: \{b: 1, 0: 1\} on the source, \{0: 1, b: 1\} on the destination$/,
  },
];

for (const { what, plant, undo, line } of PLANTED) {
  test(`finds ${what}, and nothing else`, async () => {
    const db = (name: string) => destination.db(name);
    await plant(db);
    try {
      const lines = await within(TEST_MS, compareClusters(source, destination), 'comparing');
      assert.is(lines.length, 1, lines.join('\n'));
      assert.match(String(lines[0]), line);
    } finally {
      await undo(db);
    }
    await within(TEST_MS, assertEqualClusters(source, destination), 'comparing');
  });
}

test('meets again after a long hole, names ten documents and counts all', async () => {
  const docs = Array.from({ length: 5_000 }, (_, index) => rawDocument([part('_id', index)]));
  await rawInsert(source, 'hole', 'c', docs);
  await rawInsert(destination, 'hole', 'c', [...docs.slice(0, 10), ...docs.slice(4_000)]);
  const lines = await within(TEST_MS, compareClusters(source, destination), 'comparing');
  assert.equal(lines, ['hole.c: 3990 documents missing: 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, …']);
  assert.equal(await compareClusters(source, destination, { ignoreDatabases: ['hole'] }), []);
  assert.equal(await compareClusters(source, destination, { documents: false }), []);
  await Promise.all([source.db('hole').dropDatabase(), destination.db('hole').dropDatabase()]);
});

test('gives up a collection that has nothing in common, and says so', async () => {
  const docs = (from: number) => Array.from({ length: 25_000 }, (_, index) => rawDocument([part('_id', from + index)]));
  await rawInsert(source, 'apart', 'c', docs(0));
  await rawInsert(destination, 'apart', 'c', docs(1_000_000));
  const [error] = await Promise.allSettled([within(TEST_MS, assertEqualClusters(source, destination), 'comparing')]);
  assert.is(error.status, 'rejected');
  assert.instance(error.status === 'rejected' && error.reason, ClustersDifferError);
  assert.match(String(error.status === 'rejected' && error.reason), /apart\.c: .*given up/);
  await Promise.all([source.db('apart').dropDatabase(), destination.db('apart').dropDatabase()]);
});

test.run();
