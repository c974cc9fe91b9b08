/** Makes collections, views and indexes of every kind. */
import { type CreateCollectionOptions, type Db, type Document, Double, Long, type MongoClient } from 'mongodb';

/** A document with a number for its `_id`, and any other fields. */
interface Numbered extends Document {
  readonly _id: number;
}

const FAR = new Date('2099-01-01T00:00:00Z');
const DAY_SECONDS = 86_400;
const GERMAN = { locale: 'de', strength: 2, caseLevel: true, caseFirst: 'upper' } as const;
const ENGLISH = { locale: 'en', strength: 2 } as const;

/** Documents that every index of {@link seedIndexes} can hold. */
function indexable(count: number): Document[] {
  return Array.from({ length: count }, (_, index) => ({
    _id: index,
    a: index % 7,
    b: `text ${index % 13} of some words`,
    tags: ['red', 'green', `t${index % 5}`],
    at: new Date(FAR.getTime() + index * 1000),
    place: { type: 'Point', coordinates: [(index % 360) - 180, (index % 180) - 90] },
    flat: [index % 170, index % 80],
    sub: { x: index, '0': index * 2, deep: { y: `y${index % 3}` } },
    email: `user${index}@example.com`,
    maybe: index % 2 === 0 ? index : null,
    ...(index % 3 === 0 ? { rare: index } : {}),
  }));
}

/** Fills database `indexes`: one collection with every kind of index and option. All documents live for decades. */
export async function seedIndexes(client: MongoClient): Promise<void> {
  const db = client.db('indexes');
  await db.collection('every kind').insertMany(indexable(300));
  const key = (...fields: [string, unknown][]) => new Map(fields);
  await createIndexes(db, 'every kind', [
    { key: key(['a', 1], ['0', -1], ['sub.deep.y', 1]), name: 'compound with a numeric name' },
    { key: key(['sub.x', new Double(-0.5)]), name: 'descending by half' },
    { key: key(['email', 1]), name: 'unique', unique: true },
    { key: key(['email', 1], ['a', 1]), name: 'unique hidden', unique: true, hidden: true },
    { key: key(['rare', 1]), name: 'unique sparse', unique: true, sparse: true },
    { key: key(['maybe', 1]), name: 'unique partial', unique: true, partialFilterExpression: { maybe: { $gt: 0 } } },
    { key: key(['at', 1]), name: 'ttl', expireAfterSeconds: 30 * DAY_SECONDS },
    { key: key(['at', -1]), name: 'ttl partial', expireAfterSeconds: 0, partialFilterExpression: { a: { $lte: 3 } } },
    { key: key(['at', 1], ['a', 1]), name: 'hidden', hidden: true },
    { key: key(['tags', 1]), name: 'multikey', sparse: true },
    { key: key(['b', 1]), name: 'collated', collation: GERMAN },
    { key: key(['b', -1]), name: 'collated unique partial', collation: ENGLISH, partialFilterExpression: { a: 1 } },
    { key: key(['place', '2dsphere'], ['a', 1]), name: 'sphere' },
    { key: key(['flat', '2d']), name: 'plane', bits: 20, min: -200, max: 200.5 },
    { key: key(['sub.deep.y', 'hashed']), name: 'hashed' },
    { key: key(['a', 1], ['sub.x', 'hashed']), name: 'compound hashed' },
    { key: key(['sub.$**', 1]), name: 'wildcard below' },
    {
      key: key(['a', 1], ['b', 'text'], ['sub.deep.y', 'text']),
      name: 'text',
      weights: key(['sub.deep.y', 3], ['b', 10]),
      default_language: 'german',
      language_override: 'lang',
    },
    { key: key(['a', -1]), name: 'name with ünicode.and$signs' },
  ]);
  await db.collection('wildcards').insertMany(indexable(20));
  const wildcardProjection = key(['sub', 0], ['b', 0], ['0', 0]);
  await createIndexes(db, 'wildcards', [{ key: { '$**': 1 }, name: 'all', wildcardProjection }]);
  await db.createCollection('empty with indexes');
  await createIndexes(db, 'empty with indexes', [{ key: key(['x', 1]), name: 'x', unique: true, hidden: true }]);
}

async function createIndexes(db: Db, collection: string, indexes: Document[]): Promise<void> {
  await db.command({ createIndexes: collection, indexes, writeConcern: { w: 'majority' } });
}

/** Fills database `kinds`: capped, clustered, collated, validated, with pre-images, empty. */
export async function seedKinds(client: MongoClient): Promise<void> {
  const db = client.db('kinds');
  const create = (name: string, options: CreateCollectionOptions & Document = {}) => db.createCollection(name, options);
  await create('empty');
  await create('capped', { capped: true, size: 100_000 });
  await create('capped with max', { capped: true, size: 8192, max: 25 });
  await create('capped with a size of one', { capped: true, size: 1 });
  await create('clustered', { clusteredIndex: { key: { _id: 1 }, unique: true, name: 'by id' } });
  await create('clustered ttl', {
    clusteredIndex: { key: { _id: 1 }, unique: true },
    expireAfterSeconds: DAY_SECONDS,
  });
  await create('pre-images', { changeStreamPreAndPostImages: { enabled: true } });
  const validator = new Map<string, unknown>([
    ['b', { $exists: true }],
    ['0', { $not: { $gt: 5 } }],
  ]);
  await create('strict', { validator: validator as Document, validationLevel: 'strict', validationAction: 'error' });
  const schema = { $jsonSchema: { required: ['x'], properties: { x: { bsonType: 'int' } } } };
  await create('moderate', { validator: schema, validationLevel: 'moderate', validationAction: 'warn' });
  await create('engine options', { storageEngine: { wiredTiger: { configString: 'block_compressor=zlib' } } });
  await fillKinds(db);
}

async function fillKinds(db: Db): Promise<void> {
  const some = (count: number) => Array.from({ length: count }, (_, index) => ({ _id: index * 7919 - 1000, index }));
  for (const name of ['clustered', 'pre-images', 'engine options'])
    await db.collection<{ _id: number }>(name).insertMany(some(50));
  // Out of the order of _id, and more than fits: what is oldest goes.
  for (const name of ['capped', 'capped with max', 'capped with a size of one']) {
    await db
      .collection<{ _id: number }>(name)
      .insertMany(some(60).map((doc) => ({ ...doc, _id: (doc._id * 31) % 4099 })));
  }
  const dates = some(20).map(({ index }) => ({ _id: new Date(FAR.getTime() - index * 1000), index }));
  await db.collection<{ _id: Date }>('clustered ttl').insertMany(dates);
  const bypass = { bypassDocumentValidation: true };
  await db.collection<Numbered>('strict').insertMany(
    [
      { _id: 1, b: 1 },
      { _id: 2, note: 'older than the rule' },
    ],
    bypass,
  );
  await db.collection<Numbered>('moderate').insertMany([{ _id: 1, x: 1 }, { _id: 2, x: Long.ONE }, { _id: 3 }], bypass);
}

/** Fills database `collated`: collections with a collation, their indexes, and views on views. */
export async function seedCollated(client: MongoClient): Promise<void> {
  const db = client.db('collated');
  const words = ['b', 'A', 'ä', 'C', 'Zebra', 'apfel', 'Öl', 'ß', '10', '9', 'résumé', 'x y', 'x-z'];
  for (const [name, collation] of Object.entries({ german: GERMAN, english: ENGLISH })) {
    await db.createCollection(name, { collation });
    await db.collection<{ _id: string }>(name).insertMany(words.map((word, index) => ({ _id: word, index, word })));
    await createIndexes(db, name, [
      { key: { word: 1 }, name: 'inherited', unique: true },
      { key: { index: 1, word: 1 }, name: 'simple', collation: { locale: 'simple' } },
      { key: { word: -1 }, name: 'french', collation: { locale: 'fr', backwards: true } },
    ]);
  }
  await db.createCollection('numeric', { collation: { locale: 'en', numericOrdering: true } });
  await db.collection<{ _id: string }>('numeric').insertMany(['a10', 'a9', 'a100'].map((id) => ({ _id: id })));
  const view = (name: string, viewOn: string, pipeline: Document[], options: Document = {}) =>
    db.createCollection(name, { viewOn, pipeline, ...options });
  const reversed = new Map<string, unknown>([
    ['word', 1],
    ['10', '$index'],
    ['2', { $literal: 1 }],
  ]);
  await view('z view', 'german', [{ $match: { index: { $gt: 3 } } }], { collation: GERMAN });
  await view('a view on a view', 'z view', [{ $project: reversed }, { $sort: { word: -1 } }], { collation: GERMAN });
  await view('view of nothing', 'does not exist', []);
  await view('view over databases', 'view of nothing', [{ $unionWith: { coll: 'view of nothing', pipeline: [] } }]);
}

/** Makes databases and collections whose names are hard to carry, and `system.js`, which is not carried. */
export async function seedNames(client: MongoClient): Promise<void> {
  const names = [
    'with.dots.and..more',
    'with spaces ',
    'ünï çödé 集合',
    'UPPER',
    'upper',
    '1',
    'it\'s; a "name"',
    '{}',
    '-',
  ];
  const db = client.db('names-of-things_1');
  for (const name of [...names, 'l'.repeat(255 - db.databaseName.length - 1)]) {
    await db.collection<{ _id: string }>(name).insertMany([{ _id: name.slice(0, 20) }, { _id: 'second' }]);
    await db.collection(name).createIndex({ 'a.b': 1 }, { name: `index of ${name.slice(0, 20)}` });
  }
  await client.db('дані').collection<Numbered>('колекція').insertOne({ _id: 1, поле: 1 });
  await db.collection<{ _id: string; value: number }>('system.js').insertOne({ _id: 'untouched', value: 1 });
}
