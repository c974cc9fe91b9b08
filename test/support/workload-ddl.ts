/** Lists the catalog changes of random workloads. */
import type { CreateCollectionOptions, Document } from 'mongodb';
import { type Act, COLLECTIONS, pickDatabase, type Turn } from './workload-turn.js';
import { randomDocument } from './workload-values.js';

const MOVING = ['moving0', 'moving1', 'moving2'] as const;
const DAY_SECONDS = 86_400;

const VALIDATORS: readonly Document[] = [
  {},
  { a: { $exists: true } },
  { $jsonSchema: { properties: { n: { bsonType: ['int', 'long', 'double'] } } } },
];

/** Options of a new collection; the names of special ones tell their kind, so that they come back as they were. */
export function optionsOf(name: string, turn: Turn): CreateCollectionOptions & Document {
  const { random } = turn;
  if (name === 'capped') return { capped: true, size: 40_960, max: 200 };
  if (name === 'clustered') return { clusteredIndex: { key: { _id: 1 }, unique: true } };
  if (name === 'collated') return { collation: { locale: 'de', strength: 2 } };
  return random.pick<CreateCollectionOptions & Document>([
    {},
    {},
    { changeStreamPreAndPostImages: { enabled: true } },
    {
      validator: { b: { $exists: true } },
      validationLevel: 'moderate',
      validationAction: random.pick(['error', 'warn']),
    },
    { capped: true, size: 16_384 },
    { clusteredIndex: { key: { _id: 1 }, unique: true, name: 'cluster' }, expireAfterSeconds: DAY_SECONDS * 9 },
    { collation: { locale: 'en', strength: 1 } },
  ]);
}

const create: Act = async (turn) => {
  const name = turn.random.pick([...COLLECTIONS, 'capped']);
  await turn.client.db(pickDatabase(turn)).createCollection(name, optionsOf(name, turn));
};

const drop: Act = async (turn) => {
  await turn.client.db(pickDatabase(turn)).dropCollection(turn.random.pick(MOVING));
};

/** One name, three collections, one after the other, each with documents. */
const recreate: Act = async (turn) => {
  const db = turn.client.db(pickDatabase(turn));
  const name = turn.random.pick(MOVING);
  for (let round = 0; round < 3; round++) {
    await db.dropCollection(name);
    await db.createCollection(name, optionsOf(name, turn));
    const docs = Array.from({ length: turn.random.int(4) }, (_, index) => randomDocument(turn.random, index));
    if (docs.length > 0) await db.collection(name).insertMany(docs, { bypassDocumentValidation: true });
    if (turn.random.chance(0.3)) return;
  }
};

const rename: Act = async (turn) => {
  const from = turn.random.pick(MOVING);
  const to = turn.random.pick(MOVING.filter((name) => name !== from));
  await turn.client.db(pickDatabase(turn)).renameCollection(from, to, { dropTarget: turn.random.chance(0.6) });
};

const renameAcross: Act = async (turn) => {
  const { random, databases } = turn;
  const from = `${random.pick(databases)}.${random.pick(MOVING)}`;
  const to = `${random.pick(databases)}.${random.pick(MOVING)}`;
  await turn.client.db('admin').command({ renameCollection: from, to, dropTarget: random.chance(0.5) });
};

const INDEXES: readonly (Document & { readonly name: string })[] = [
  { name: 'a', key: { a: 1 } },
  {
    name: 'compound',
    key: new Map<string, unknown>([
      ['b', -1],
      ['0', 1],
    ]),
  },
  { name: 'sub', key: { 'sub.n': 1 }, hidden: true },
  { name: 'list', key: { list: 1 }, sparse: true },
  { name: 'ttl', key: { at: 1 }, expireAfterSeconds: DAY_SECONDS },
  { name: 'collated', key: { s: 1 }, collation: { locale: 'sv', strength: 1 } },
  { name: 'simple', key: { s: -1 }, collation: { locale: 'simple' } },
  { name: 'wildcard', key: { '$**': 1 } },
  { name: 'hashed', key: { c: 'hashed' } },
  { name: 'text', key: { s: 'text' }, default_language: 'none' },
  { name: 'sphere', key: { geo: '2dsphere' } },
  { name: 'partial', key: { n: 1 }, unique: true, partialFilterExpression: { n: { $gt: 750 } } },
  { name: 'unique', key: { _id: 1, c: 1 }, unique: true },
];

const createIndexes: Act = async (turn) => {
  const { random } = turn;
  const indexes = Array.from({ length: 1 + random.int(3) }, () => random.pick(INDEXES));
  const createIndexes = random.pick(COLLECTIONS);
  await turn.client.db(pickDatabase(turn)).command({ createIndexes, indexes: [...new Set(indexes)] });
};

const dropIndexes: Act = async (turn) => {
  const { random } = turn;
  const index = random.chance(0.15) ? '*' : random.pick(INDEXES).name;
  await turn.client.db(pickDatabase(turn)).command({ dropIndexes: random.pick(COLLECTIONS), index });
};

const collMod: Act = async (turn) => {
  const { random } = turn;
  const change = random.pick<() => Document>([
    () => ({ index: { name: 'ttl', expireAfterSeconds: DAY_SECONDS * (1 + random.int(9)) } }),
    () => ({ index: { name: random.pick(INDEXES).name, hidden: random.chance(0.5) } }),
    () => ({ validator: random.pick(VALIDATORS), validationLevel: random.pick(['off', 'moderate', 'strict']) }),
    () => ({ validationAction: random.pick(['error', 'warn']) }),
    () => ({ changeStreamPreAndPostImages: { enabled: random.chance(0.5) } }),
    () => ({ expireAfterSeconds: random.chance(0.3) ? 'off' : DAY_SECONDS * (1 + random.int(9)) }),
    () => ({ index: { name: 'a', prepareUnique: random.chance(0.3) } }),
  ])();
  await turn.client.db(pickDatabase(turn)).command({ collMod: random.pick(COLLECTIONS), ...change });
};

const collModCapped: Act = async (turn) => {
  const { random } = turn;
  const change = random.pick<Document>([
    { cappedSize: 20_480 + random.int(20_000) },
    { cappedMax: random.int(300) },
    { cappedSize: 8192, cappedMax: 40 },
  ]);
  await turn.client.db(pickDatabase(turn)).command({ collMod: random.pick(['capped', ...MOVING]), ...change });
};

const VIEWS = ['view0', 'view1'] as const;

const view: Act = async (turn) => {
  const { random } = turn;
  const db = turn.client.db(pickDatabase(turn));
  const name = random.pick([...VIEWS, 'view on view']);
  const definition = {
    viewOn: name === 'view on view' ? 'view0' : random.pick(COLLECTIONS),
    pipeline: [
      { $match: { n: { $gt: random.int(100) } } },
      {
        $project: new Map([
          ['z', 1],
          ['3', 1],
          ['a', 1],
        ]),
      },
    ],
  };
  if (random.chance(0.4)) await db.createCollection(name, definition);
  else if (random.chance(0.5)) await db.command({ collMod: name, ...definition });
  else await db.dropCollection(name);
};

/** With views in it, of whose end no event tells; some are there again right after it. */
const dropDatabase: Act = async (turn) => {
  const { client, random } = turn;
  const db = client.db(lastDatabase(turn));
  const seen = () => db.createCollection(random.pick(VIEWS), { viewOn: 'plain', pipeline: [] });
  const views = await db.listCollections({ type: 'view' }).toArray();
  if (views.length === 0 && random.chance(0.7)) await seen();
  await db.dropDatabase();
  if (random.chance(0.5)) await seen();
};

/** A database goes, and one whose name differs in case only comes in its place, for a while or for good. */
const otherCase: Act = async (turn) => {
  const { client, random } = turn;
  const last = lastDatabase(turn);
  const names = [last.toUpperCase(), last] as const;
  const have = async (from: string, to: string) => {
    await client.db(from).dropDatabase();
    await client.db(to).createCollection('seen', { viewOn: 'plain', pipeline: [] });
    await client.db(to).collection('plain').insertOne(randomDocument(random, 0), { bypassDocumentValidation: true });
  };
  await have(names[1], names[0]);
  if (random.chance(0.8)) await have(names[0], names[1]);
};

function lastDatabase({ databases }: Turn): string {
  return databases.at(-1) ?? databases[0];
}

const out: Act = async (turn) => {
  const { random } = turn;
  const from = turn.client.db(pickDatabase(turn)).collection(random.pick(COLLECTIONS));
  const into = { db: pickDatabase(turn), coll: random.pick(['result', 'moving0']) };
  await from.aggregate([{ $match: { n: { $gt: random.int(800) } } }, { $out: into }]).toArray();
};

const merge: Act = async (turn) => {
  const { random } = turn;
  const from = turn.client.db(pickDatabase(turn)).collection(random.pick(COLLECTIONS));
  const into = { db: pickDatabase(turn), coll: random.pick(['result', 'plain']) };
  const how = { whenMatched: random.pick(['replace', 'merge', 'keepExisting']), whenNotMatched: 'insert' };
  await from.aggregate([{ $match: { n: { $gt: random.int(800) } } }, { $merge: { into, ...how } }]).toArray();
};

const convertToCapped: Act = async (turn) => {
  const command = { convertToCapped: turn.random.pick(MOVING), size: 8192 + turn.random.int(50_000) };
  await turn.client.db(pickDatabase(turn)).command(command);
};

/** Operations on the catalog and how often each is chosen. */
export const DDL = {
  create: { weight: 0.8, act: create },
  drop: { weight: 0.3, act: drop },
  recreate: { weight: 0.3, act: recreate },
  rename: { weight: 0.5, act: rename },
  renameAcross: { weight: 0.2, act: renameAcross },
  createIndexes: { weight: 0.8, act: createIndexes },
  dropIndexes: { weight: 0.5, act: dropIndexes },
  collMod: { weight: 0.8, act: collMod },
  collModCapped: { weight: 0.2, act: collModCapped },
  view: { weight: 0.6, act: view },
  dropDatabase: { weight: 0.2, act: dropDatabase },
  otherCase: { weight: 0.1, act: otherCase },
  out: { weight: 0.15, act: out },
  merge: { weight: 0.2, act: merge },
  convertToCapped: { weight: 0.1, act: convertToCapped },
} as const;
