/** What may happen on a sharded source while it is migrated: chunks, keys, catalog, shards, and documents of every kind. */
import type { Document } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { FAIL_POINTS } from '../support/fail-points.js';
import {
  type MigrationSteps,
  migrateDatabase,
  plainSide,
  type Side,
  shardedSide,
  shardInTwo,
} from '../support/sharded-migration.js';
import { sharedSet, sharedShardedCluster } from '../support/shared-servers.js';
import { within } from '../support/within.js';

const TEST_MS = 120_000;
const DOCUMENTS = 100;

const [from, to, plain] = await Promise.all([
  sharedShardedCluster(test, { name: 'from', routers: 2 }).then(shardedSide),
  sharedShardedCluster(test, { name: 'to' }).then(shardedSide),
  sharedSet(test, { setParameters: FAIL_POINTS }).then(plainSide),
]);

const doc = (_id: number, more: Document = {}): Document => ({ _id: _id as never, a: _id, ...more });
const many = (more: Document = {}): Document[] => Array.from({ length: DOCUMENTS }, (_, _id) => doc(_id, more));
const collection = (db: string, name: string) => from.client.db(db).collection<Document>(name);
const byA = { key: { a: 1 }, middle: { a: DOCUMENTS / 2 } };

async function seed(db: string, ...names: readonly string[]): Promise<void> {
  for (const name of names) {
    await shardInTwo(from, `${db}.${name}`, byA);
    await collection(db, name).insertMany(many());
  }
}

async function migrate(db: string, destination: Side, steps: MigrationSteps): Promise<void> {
  assert.equal(await migrateDatabase({ source: from, destination, db }, steps), []);
}

test('documents are told apart by their whole keys: a collection with the key {a: 1} to a replica set (through the router double)', async () => {
  const run = async () => {
    const db = 'wholeKeys';
    await shardInTwo(from, `${db}.byA`, { key: { a: 1 }, middle: { a: 500 } });
    // As in the known failure: who takes the first field of a document key for its `_id` merges these.
    const documents = Array.from({ length: 1000 }, (_, n) => ({ _id: (n + 70_000) as never, a: n % 100, n: 0 }));
    await collection(db, 'byA').insertMany(documents);
    const change = async () => {
      await collection(db, 'byA').updateMany({ n: 0 }, { $set: { text: 'changed' } });
      for (let n = 0; n < 100; n++)
        await collection(db, 'byA').updateOne({ _id: (70_000 + n) as never }, { $inc: { n } });
      await collection(db, 'byA').deleteMany({ a: { $lt: 10 } });
    };
    await migrate(db, plain, { during: change, after: change });
  };
  await within(TEST_MS, run(), 'the migration');
});

test('chunks that move, split and merge, with the balancer on, lose nothing (through the router double)', async () => {
  const run = async () => {
    const db = 'chunks';
    const ns = `${db}.byA`;
    await seed(db, 'byA');
    const write = (n: number) =>
      collection(db, 'byA').bulkWrite([
        { updateMany: { filter: { a: { $mod: [7, n % 7] } }, update: { $inc: { n: 1 } } } },
        { insertOne: { document: { a: n, late: true } } },
        { deleteOne: { filter: { _id: n as never, a: n } } },
      ]);
    const shake = async (at: number) => {
      await from.cluster.admin({ balancerStart: 1 });
      for (const [n, to] of [
        [at, 1],
        [at + 50, 0],
      ] as const) {
        await write(n);
        await from.cluster.split(ns, { a: n });
        await from.cluster.moveChunk({ ns, find: { a: n }, to });
        await write(n + 1);
      }
      await from.cluster.split(ns, { a: at + 5 });
      await write(at + 6);
      await from.cluster.admin({ mergeChunks: ns, bounds: [{ a: at }, { a: 50 }] });
    };
    await migrate(db, plain, { during: () => shake(30), after: () => shake(10) });
    await from.cluster.admin({ balancerStop: 1 });
  };
  await within(TEST_MS, run(), 'the migration');
});

test('a shard key value that changes takes its document to another shard, and every event of it is followed (through the router double)', async () => {
  const run = async () => {
    const db = 'moves';
    await seed(db, 'byA');
    await shardInTwo(from, `${db}.dotted`, { key: { 's.t': 1 }, middle: { 's.t': 50 } });
    await collection(db, 'dotted').insertMany(many().map(({ a, ...rest }) => ({ ...rest, s: { t: a, u: 1 } })));
    const move = async (step: number) => {
      for (let _id = step; _id < DOCUMENTS; _id += 7) {
        const [found] = await collection(db, 'byA')
          .find({ _id: _id as never })
          .toArray();
        const a = DOCUMENTS - 1 - Number(found?.['a']);
        await collection(db, 'byA').updateOne({ _id: _id as never, a: found?.['a'] }, { $set: { a, step } });
        await collection(db, 'byA').updateOne({ _id: _id as never }, { $inc: { n: 1 } });
        const [other] = await collection(db, 'dotted')
          .find({ _id: _id as never })
          .toArray();
        const t = Number(other?.['s'].t);
        await collection(db, 'dotted').replaceOne({ _id: _id as never, 's.t': t }, { s: { t: DOCUMENTS - t }, step });
      }
    };
    await migrate(db, plain, { during: () => move(0), after: () => move(1) });
  };
  await within(TEST_MS, run(), 'the migrations');
});

test('documents without fields of the key, and with null in them, are each its own (through the router double)', async () => {
  const run = async () => {
    const db = 'missing';
    await shardInTwo(from, `${db}.byA`, { key: { a: 1, 's.t': 1 }, middle: { a: 50, 's.t': 0 } });
    const shapes = [
      {},
      { a: null },
      { s: {} },
      { s: { t: null } },
      { a: 60 },
      { a: 60, s: { t: 1 } },
      { a: null, s: { t: 2 } },
    ];
    await collection(db, 'byA').insertMany(shapes.map((shape, _id) => ({ _id: _id as never, ...shape })));
    const change = async () => {
      for (const [_id, shape] of shapes.entries()) {
        await collection(db, 'byA').updateOne({ _id: _id as never }, { $inc: { n: 1 } });
        await collection(db, 'byA').insertOne({ ...shape, late: true });
      }
      await collection(db, 'byA').updateOne({ _id: 0 as never, a: null, 's.t': null }, { $set: { a: null } });
      await collection(db, 'byA').updateOne({ _id: 1 as never, a: null, 's.t': null }, { $unset: { a: '' } });
      await collection(db, 'byA').deleteOne({ _id: 2 as never });
      await collection(db, 'byA').updateOne({ _id: 4 as never, a: 60, 's.t': null }, { $unset: { a: '' } });
    };
    await migrate(db, to, { during: change, after: change });
  };
  await within(TEST_MS, run(), 'the migrations');
});

test('transactions over several shards arrive whole (through the router double)', async () => {
  const run = async () => {
    const db = 'transactions';
    await seed(db, 'byA');
    const transact = () =>
      from.client.withSession((session) =>
        session.withTransaction(async () => {
          await collection(db, 'byA').insertMany(
            [
              { a: 1, t: 1 },
              { a: 90, t: 1 },
            ],
            { session },
          );
          await collection(db, 'byA').updateMany({ a: { $in: [5, 95] } }, { $inc: { t: 1 } }, { session });
          await collection(db, 'byA').deleteOne({ a: 20 }, { session });
        }),
      );
    await migrate(db, to, { during: transact, after: transact });
  };
  await within(TEST_MS, run(), 'the migration');
});

test('orphans that chunk moves have left are neither copied nor counted (through the router double)', async () => {
  const run = async () => {
    const db = 'orphans';
    await from.cluster.keepOrphans();
    try {
      await seed(db, 'byA');
      await from.cluster.split(`${db}.byA`, { a: 25 });
      await from.cluster.moveChunk({ ns: `${db}.byA`, find: { a: 0 }, to: 1 });
      await collection(db, 'byA').updateMany({ a: { $lt: 50 } }, { $set: { moved: true } });
      const counted = await from.client.db(db).command({ count: 'byA' });
      assert.ok(counted['n'] > DOCUMENTS, 'there are orphans');
      await migrate(db, plain, { after: () => collection(db, 'byA').updateMany({}, { $inc: { n: 1 } }) });
    } finally {
      await from.cluster.releaseOrphans();
    }
  };
  await within(TEST_MS, run(), 'the migration');
});

test.run();
