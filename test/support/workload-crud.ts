/** Lists the document changes of random workloads. */
import type { AnyBulkWriteOperation, ClientSession, Collection, Document } from 'mongodb';
import { type Act, pickCollection, type Turn } from './workload-turn.js';
import { FIELDS, IDS, idOf, numeric, randomDocument, randomText, randomValue } from './workload-values.js';

// Ids are of every type, which the driver's Filter<Document> does not allow for; commands take any.
const byId = (turn: Turn): Document => ({ _id: idOf(turn.random.int(IDS)) });
const bypass = (turn: Turn) => ({ bypassDocumentValidation: turn.random.chance(0.6) });

const insert: Act = async (turn) => {
  const count = turn.random.chance(0.2) ? 2 + turn.random.int(20) : 1;
  const docs = Array.from({ length: count }, () => randomDocument(turn.random, idOf(turn.random.int(IDS))));
  await pickCollection(turn).insertMany(docs, { ordered: false, ...bypass(turn) });
};

const update: Act = async (turn) => {
  const { random } = turn;
  const field = random.pick(FIELDS);
  const change = random.pick<() => Document>([
    () => ({ $set: new Map([[field, randomValue(random)]]) }),
    () => ({
      $set: new Map([
        ['sub.z', 1],
        ['sub.a', randomValue(random)],
        ['sub.0', 2],
      ]),
    }),
    () => ({
      $set: new Map([
        ['list.1', randomValue(random, 1)],
        ['z9', 1],
        ['m1', 2],
      ]),
    }),
    () => ({ $unset: new Map([[field, '']]) }),
    () => ({ $rename: { a: 'c', sub: random.pick(['b', 'sub2']) } }),
    () => ({ $inc: { n: random.pick<unknown>([1, numeric(2, random.int(4))]), 'sub.n': 1 } }),
    () => ({ $mul: { n: numeric(3, random.int(4)) }, $max: { 'sub.m': random.int(100) }, $min: { c: random.int(50) } }),
    () => ({ $setOnInsert: { c: 'new' }, $set: { s: randomText(random) } }),
  ])();
  const many = random.chance(0.05) ? { n: { $gt: random.int(900) } } : byId(turn);
  const options = { ...bypass(turn), upsert: random.chance(0.1) };
  if ('_id' in many) await pickCollection(turn).updateOne(many, change, options);
  else await pickCollection(turn).updateMany(many, change, bypass(turn));
};

const updateArray: Act = async (turn) => {
  const { random } = turn;
  const some = () => Array.from({ length: random.int(5) }, () => randomValue(random, 1));
  const change = random.pick<() => Document>([
    () => ({ $push: { list: randomValue(random, 1) } }),
    () => ({ $push: { list: { $each: some(), $position: random.int(4), $slice: 3 + random.int(8) } } }),
    () => ({ $push: { list: { $each: some(), $sort: random.pick([1, -1]) } } }),
    () => ({ $push: { list: { $each: [], $slice: random.int(7) - 3 } } }),
    () => ({ $pull: { list: { $lt: random.int(9) } } }),
    () => ({ $pop: { list: random.pick([1, -1]) } }),
    () => ({ $addToSet: { list: { $each: some() } } }),
    () => ({ $set: { 'list.$[]': random.int(9) } }),
    () => ({ $unset: { 'list.0': '' } }),
    () => ({ $set: { [`list.${random.int(14)}`]: random.int(9) } }),
  ])();
  await pickCollection(turn).updateOne(byId(turn), change, bypass(turn));
};

const updatePipeline: Act = async (turn) => {
  const { random } = turn;
  const field = random.pick(FIELDS.filter((name) => name !== '__proto__'));
  const literal = { $literal: randomValue(random) };
  const setField = (name: string) => ({ $setField: { field: { $literal: name }, input: '$$ROOT', value: literal } });
  const subDocument = { $cond: [{ $eq: [{ $type: '$sub' }, 'object'] }, '$sub', {}] };
  const stages = random.pick<() => Document[]>([
    () => [{ $set: { [field]: literal, z: '$a' } }, { $unset: ['b'] }],
    () => [{ $replaceWith: setField('dotted.name') }],
    () => [{ $replaceWith: setField('$dollar') }],
    () => [{ $replaceWith: setField('sub.0') }],
    // The same fields in another order: nothing but the order is an event.
    () => [{ $replaceWith: { $mergeObjects: [{ _id: '$_id', s: '$s', list: '$list' }, '$$ROOT'] } }],
    () => [{ $replaceWith: { $arrayToObject: { $reverseArray: { $objectToArray: '$$ROOT' } } } }],
    () => [
      { $set: { sub: { $mergeObjects: [{ n: '$sub.n', y: 1 }, subDocument, { moved: '$c' }] } } },
      { $unset: 'c' },
    ],
    () => [{ $set: { list: { $cond: [{ $isArray: '$list' }, { $slice: ['$list', 2] }, '$list'] } } }],
  ])();
  await pickCollection(turn).updateOne(byId(turn), stages, bypass(turn));
};

const replace: Act = async (turn) => {
  const filter = byId(turn);
  const doc = randomDocument(turn.random, filter['_id']);
  await pickCollection(turn).replaceOne(filter, doc, { upsert: turn.random.chance(0.4), ...bypass(turn) });
};

const remove: Act = async (turn) => {
  if (turn.random.chance(0.05)) await pickCollection(turn).deleteMany({ n: { $lt: turn.random.int(200) - 150 } });
  else await pickCollection(turn).deleteOne(byId(turn));
};

/** One `_id` to the server, other bytes: what was deleted comes back as another type of number. */
const retype: Act = async (turn) => {
  const { random } = turn;
  const collection = pickCollection(turn);
  const n = random.int(IDS / 10) * 10 + random.int(5);
  await collection.deleteOne({ _id: numeric(n, random.int(4)) } as Document);
  await collection.insertOne(randomDocument(random, numeric(n, random.int(4))), bypass(turn));
};

const bulk: Act = async (turn) => {
  const operations = Array.from({ length: 3 + turn.random.int(12) }, (): AnyBulkWriteOperation => {
    const filter = byId(turn);
    return turn.random.pick<() => AnyBulkWriteOperation>([
      () => ({ insertOne: { document: randomDocument(turn.random, filter['_id']) } }),
      () => ({ deleteOne: { filter } }),
      () => ({ updateOne: { filter, update: { $set: { c: turn.random.int(100), s: randomText(turn.random) } } } }),
      () => ({
        replaceOne: { filter, replacement: randomDocument(turn.random, filter['_id']) as never, upsert: true },
      }),
    ])();
  });
  await pickCollection(turn).bulkWrite(operations, { ordered: turn.random.chance(0.5), ...bypass(turn) });
};

const UNIQUE_IDS = 60;

/** Two documents exchange the values of a unique index, by way of a third value: in a transaction, or step by step. */
const swapUnique: Act = async (turn) => {
  const unique = turn.client.db(turn.databases[0]).collection<{ _id: number; u: number }>('unique');
  const [one, other] = [turn.random.int(UNIQUE_IDS), turn.random.int(UNIQUE_IDS)];
  const aside = -1 - turn.random.int(1e9);
  const steps = async (session?: ClientSession) => {
    const options = session === undefined ? {} : { session };
    const [first, second] = [
      await unique.findOne({ _id: one }, options),
      await unique.findOne({ _id: other }, options),
    ];
    if (first === null || second === null || one === other) {
      await unique.updateOne({ _id: one }, { $set: { u: one } }, { upsert: true, ...options });
      return;
    }
    await unique.updateOne({ _id: one }, { $set: { u: aside } }, options);
    await unique.updateOne({ _id: other }, { $set: { u: first.u } }, options);
    await unique.updateOne({ _id: one }, { $set: { u: second.u } }, options);
  };
  if (turn.random.chance(0.5)) await inTransaction(turn, steps);
  else await steps();
};

const transaction: Act = async (turn) => {
  const count = 2 + turn.random.int(6);
  await inTransaction(turn, async (session) => {
    for (let index = 0; index < count; index++) {
      const collection: Collection = pickCollection(turn);
      const filter = byId(turn);
      const doc = randomDocument(turn.random, filter['_id']);
      const change: Document = { $push: { list: index }, $set: { n: index } };
      const kind = turn.random.int(4);
      if (kind < 2) await collection.replaceOne(filter, doc, { session, upsert: true });
      else if (kind < 3) await collection.deleteOne(filter, { session });
      else await collection.updateOne(filter, change, { session });
    }
  });
};

async function inTransaction(turn: Turn, work: (session: ClientSession) => Promise<void>): Promise<void> {
  await using session = turn.client.startSession();
  session.startTransaction({ writeConcern: { w: 'majority' } });
  try {
    await work(session);
    if (turn.random.chance(0.1)) await session.abortTransaction();
    else await session.commitTransaction();
  } catch (error) {
    if (session.inTransaction()) await session.abortTransaction();
    throw error;
  }
}

/** More into a capped collection than it holds, at times changing what is in it. */
const capped: Act = async (turn) => {
  const { random } = turn;
  const collection = turn.client.db(random.pick(turn.databases)).collection('capped');
  const docs = Array.from({ length: 1 + random.int(15) }, () => ({
    at: random.int(1e9),
    pad: 'x'.repeat(random.int(300)),
  }));
  await collection.insertMany(docs.map((doc) => ({ _id: random.int(1e9), ...doc }) as Document));
  if (random.chance(0.2))
    await collection.updateOne({ at: { $gt: random.int(1e9) } }, { $set: { at: random.int(1e9) } });
};

/** Document operations and how often each is chosen. */
export const CRUD = {
  insert: { weight: 20, act: insert },
  update: { weight: 25, act: update },
  updateArray: { weight: 12, act: updateArray },
  updatePipeline: { weight: 12, act: updatePipeline },
  replace: { weight: 8, act: replace },
  delete: { weight: 8, act: remove },
  retype: { weight: 4, act: retype },
  bulk: { weight: 5, act: bulk },
  swapUnique: { weight: 4, act: swapUnique },
  transaction: { weight: 3, act: transaction },
  capped: { weight: 3, act: capped },
} as const;
