/** A random workload of a simulated set's users: documents, transactions, and the catalog. */
import { Int32, MongoServerError } from 'mongodb';
import type { Random } from '../support/workload-random.js';
import { create, drop, dropDatabase, dropIndexes, renameCollection } from './catalog-commands.js';
import { collMod } from './coll-mod.js';
import { fieldValue, toField, toRaw } from './raw.js';
import type { Doc, Request } from './request.js';
import type { FakeServer } from './server.js';
import { FakeCollection } from './storage.js';
import { deltaPipeline, randomDelta, randomDocument, randomId, updateStatement, whole } from './workload-documents.js';
import { write } from './write-commands.js';

/** One operation: a command on a database; several are a transaction. */
export interface WorkloadStep {
  readonly db: string;
  readonly commands: readonly Doc[];
}

/** What the users mostly do; but for `even`, on few collections, and on few documents. */
export type Mix = 'even' | 'documents' | 'catalog';

interface Act {
  readonly weight: number;
  /** It changes no catalog. */
  readonly isOfDocuments?: true;
  /** Undefined: there is nothing that it could be done to. */
  readonly make: (context: ActContext) => WorkloadStep | undefined;
}

interface ActContext {
  readonly server: FakeServer;
  readonly random: Random;
  readonly db: string;
  /** Of what is to be made. */
  readonly names: readonly string[];
  /** How many of a collection's documents are changed. */
  readonly spread: number;
  /** One that is there, and no view. */
  readonly collection: FakeCollection | undefined;
}

const DATABASES = ['shop', 'shop', 'shop', 'depot'] as const;
const NAMES = ['items', 'orders', 'moving', 'other'] as const;
const INDEXED = ['u', 'n', 'a'] as const;

function on(context: ActContext, make: (collection: FakeCollection) => Doc | undefined): WorkloadStep | undefined {
  const { collection } = context;
  const command = collection === undefined ? undefined : make(collection);
  return collection === undefined || command === undefined ? undefined : { db: collection.db, commands: [command] };
}

function insertOf({ random }: ActContext, coll: string, count: number): Doc {
  const documents = Array.from({ length: count }, () => toRaw(randomDocument(random, randomId(random))));
  return { insert: coll, documents, ordered: false };
}

function pickId({ random, spread }: ActContext, collection: FakeCollection): Buffer {
  const { natural } = collection;
  const [, stored] = natural[random.int(Math.min(spread, natural.length))] ?? [];
  return stored?.id ?? toRaw(new Map([['_id', randomId(random)]]));
}

function changeOf(context: ActContext, collection: FakeCollection): Doc | undefined {
  const { random } = context;
  const id = pickId(context, collection);
  const { name } = collection;
  const document = collection.toStored(id);
  const record = collection.recordOf(document.key);
  const stored = record === undefined ? undefined : collection.document(record);
  if (random.chance(0.25)) {
    const value = randomDocument(random, fieldValue(toField('v', randomId(random))));
    value.delete('_id');
    return { update: name, updates: [updateStatement(id, whole(value), random.chance(0.5))] };
  }
  if (stored === undefined) return undefined;
  const delta = randomDelta(random, stored.raw);
  return delta === undefined ? undefined : { update: name, updates: [updateStatement(id, deltaPipeline(delta))] };
}

function deleteOf(context: ActContext, collection: FakeCollection): Doc {
  const id = pickId(context, collection);
  const statement = updateStatement(id, toField('limit', new Int32(1)));
  return { delete: collection.name, deletes: [statement] };
}

function crudOf(context: ActContext, collection: FakeCollection): Doc | undefined {
  const draw = context.random.next();
  if (draw < 0.4) return insertOf(context, collection.name, 1);
  return draw < 0.75 ? changeOf(context, collection) : deleteOf(context, collection);
}

function optionsFor(random: Random): Doc {
  switch (random.int(8)) {
    case 0:
      return { capped: true, size: new Int32(4096), max: new Int32(6) };
    case 1:
      return { validator: new Map([['z', new Map([['$exists', true]])]]), validationAction: 'warn' };
    case 2:
      return { changeStreamPreAndPostImages: new Map([['enabled', true]]) };
    default:
      return {};
  }
}

function indexOf(random: Random): Map<string, unknown> {
  const field = random.pick(INDEXED);
  const spec = new Map<string, unknown>([
    ['key', new Map([[field, new Int32(random.chance(0.8) ? 1 : -1)]])],
    ['name', `${field}_1`],
  ]);
  if (random.chance(0.3)) spec.set('unique', true);
  if (random.chance(0.15)) spec.set('hidden', true);
  if (random.chance(0.15)) spec.set('expireAfterSeconds', new Int32(86_400));
  if (random.chance(0.1)) spec.set('sparse', true);
  return spec;
}

function collModOf(random: Random, collection: FakeCollection): Doc {
  const names = [...collection.indexes.keys()];
  const coll = collection.name;
  if (names.length > 0 && random.chance(0.6)) {
    const name = random.pick(names);
    const change = random.pick<readonly [string, unknown]>([
      ['hidden', random.chance(0.5)],
      ['prepareUnique', true],
      ['unique', true],
      ['expireAfterSeconds', new Int32(1000 + random.int(1000))],
    ]);
    return { collMod: coll, index: new Map<string, unknown>([['name', name], change]) };
  }
  if (collection.isCapped) return { collMod: coll, cappedMax: new Int32(random.int(9)) };
  return random.pick<Doc>([
    { collMod: coll, validator: new Map(), validationLevel: 'moderate' },
    { collMod: coll, validator: new Map([['y', new Map([['$exists', false]])]]), validationAction: 'warn' },
    { collMod: coll, changeStreamPreAndPostImages: new Map([['enabled', random.chance(0.5)]]) },
  ]);
}

const ACTS: readonly Act[] = [
  { weight: 60, isOfDocuments: true, make: (context) => on(context, (collection) => crudOf(context, collection)) },
  {
    weight: 6,
    isOfDocuments: true,
    make: (context) => on(context, ({ name }) => insertOf(context, name, 1 + context.random.int(6))),
  },
  {
    weight: 4,
    make: (context) => ({ db: context.db, commands: [insertOf(context, context.random.pick(context.names), 2)] }),
  },
  {
    weight: 6,
    isOfDocuments: true,
    make: (context) => {
      const { collection } = context;
      if (collection === undefined || collection.isCapped) return undefined;
      const crud = Array.from({ length: 2 + context.random.int(4) }, () => crudOf(context, collection));
      return { db: collection.db, commands: crud.filter((each) => each !== undefined) };
    },
  },
  {
    weight: 4,
    make: ({ db, random, names }) => ({ db, commands: [{ create: random.pick(names), ...optionsFor(random) }] }),
  },
  { weight: 3, make: (context) => on(context, ({ name }) => ({ drop: name })) },
  {
    weight: 4,
    make: (context) =>
      on(context, ({ db, name }) => {
        const to = context.random.pick(context.names.filter((each) => each !== name));
        return { renameCollection: `${db}.${name}`, to: `${db}.${to}`, dropTarget: context.random.chance(0.6) };
      }),
  },
  {
    weight: 7,
    make: (context) => on(context, ({ name }) => ({ createIndexes: name, indexes: [indexOf(context.random)] })),
  },
  {
    weight: 3,
    make: (context) =>
      on(context, ({ name, indexes }) =>
        indexes.size === 0 ? undefined : { dropIndexes: name, index: context.random.pick([...indexes.keys()]) },
      ),
  },
  { weight: 5, make: (context) => on(context, (collection) => collModOf(context.random, collection)) },
  { weight: 0.4, make: ({ db }) => ({ db, commands: [{ dropDatabase: 1 }] }) },
  {
    weight: 2,
    make: ({ db, random }) => {
      const pipeline = [new Map([['$match', new Map([['n', new Int32(random.int(5))]])]])];
      const definition = { viewOn: random.pick(NAMES), pipeline };
      const name = random.pick(['view', 'items']);
      return {
        db,
        commands: [
          random.pick<Doc>([{ create: name, ...definition }, { collMod: name, ...definition }, { drop: 'view' }]),
        ],
      };
    },
  },
];

const MIXES: Record<
  Mix,
  { readonly acts: readonly Act[]; readonly names: readonly string[]; readonly spread: number }
> = {
  even: { acts: ACTS, names: NAMES, spread: Number.POSITIVE_INFINITY },
  documents: { acts: weighted(20), names: ['items', 'moving'], spread: 2 },
  catalog: { acts: weighted(0.3), names: ['items', 'moving', 'other'], spread: 4 },
};

/** The acts, those of documents with so many times their weight. */
function weighted(times: number): Act[] {
  return ACTS.map((act) => (act.isOfDocuments === true ? { ...act, weight: act.weight * times } : act));
}

/** The next random operation, by what the server holds now; undefined: it came to nothing. */
export function nextStep(server: FakeServer, random: Random, mix: Mix = 'even'): WorkloadStep | undefined {
  const { acts, names, spread } = MIXES[mix];
  const db = random.pick(mix === 'even' ? DATABASES : DATABASES.slice(0, 1));
  const collections = server.catalog
    .entries(db)
    .map(([, entry]) => entry)
    .filter((entry) => entry instanceof FakeCollection);
  const collection = collections.length === 0 ? undefined : random.pick(collections);
  return random.weighted(acts).make({ server, random, db, names, spread, collection });
}

const RUNS = new Map<string, (server: FakeServer, request: Request) => unknown>([
  ['insert', write],
  ['update', write],
  ['delete', write],
  ['create', create],
  ['drop', drop],
  ['dropDatabase', dropDatabase],
  ['renameCollection', renameCollection],
  ['dropIndexes', dropIndexes],
  ['collMod', collMod],
]);

/** What came of an operation: 0 for what was done, else the code of the server's refusal, one for each command. */
export type StepCodes = readonly number[];

/** Carries out an operation as users do: at once, and without asking for a majority. */
export function runStep(server: FakeServer, { db, commands }: WorkloadStep): StepCodes {
  const requests = commands.map((command) => requestOf(db, command));
  if (requests.length === 1) return requests.map((request) => codeOf(() => runOne(server, request)));
  const codes: number[] = [];
  const run = (): void => {
    for (const request of requests) {
      codes.push(codeOf(() => runOne(server, request)));
      // Whatever is refused ends a transaction, and undoes it.
      if (codes.at(-1) !== 0) throw new Aborted();
    }
  };
  try {
    server.state.transaction(run);
  } catch (error) {
    if (!(error instanceof Aborted)) throw error;
  }
  return codes;
}

class Aborted extends Error {}

function codeOf(run: () => unknown): number {
  try {
    const { writeErrors = [] } = (run() ?? {}) as { writeErrors?: readonly { readonly code: number }[] };
    return writeErrors[0]?.code ?? 0;
  } catch (error) {
    if (error instanceof MongoServerError && typeof error.code === 'number') return error.code;
    throw error;
  }
}

function runOne(server: FakeServer, request: Request): unknown {
  server.assertUnblocked(request);
  if (request.name !== 'createIndexes') return RUNS.get(request.name)?.(server, request);
  server.builds.createAtOnce(request);
  return undefined;
}

/** A command as a request of a user's. */
export function requestOf(db: string, command: Doc): Request {
  const [name = ''] = Object.keys(command);
  return { db, command, name, target: String(command[name]), session: undefined, raw: {} };
}
