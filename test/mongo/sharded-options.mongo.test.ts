/** Start options, write blocking and `verify` where both sides are sharded. */
import type { Document } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type ClusterDifference, verifyClusters } from '../../src/compare/verify-clusters.js';
import { resolveStartOptions } from '../../src/start/options.js';
import { DEFAULT_START } from '../support/migration-harness.js';
import { insertRefusal } from '../support/refusal.js';
import {
  emptySide,
  openBetween,
  outcomeOf,
  shardedSide,
  shardInTwo,
  shardKeysOf,
  startOf,
} from '../support/sharded-migration.js';
import { sharedShardedCluster } from '../support/shared-servers.js';
import { silentLogger } from '../support/silent-logger.js';
import { within } from '../support/within.js';

const TEST_MS = 90_000;
const USER_WRITES_BLOCKED = 371;

const [from, to] = await Promise.all([
  sharedShardedCluster(test, { name: 'from' }).then(shardedSide),
  sharedShardedCluster(test, { name: 'to' }).then(shardedSide),
]);

const doc = (_id: number): Document => ({ _id: _id as never, a: _id, tenant: _id % 2 === 0 ? 'red' : 'blue' });

async function seed(side: typeof from, db: string, name = 'byA'): Promise<void> {
  await shardInTwo(side, `${db}.${name}`, { key: { a: 1 }, middle: { a: 50 } });
  const documents = Array.from({ length: 100 }, (_, _id) => doc(_id));
  await side.client.db(db).collection<Document>(name).insertMany(documents);
}

const found = async (db: string): Promise<Document[]> =>
  await to.client.db(db).collection<Document>('byA').find().sort({ a: 1, _id: 1 }).toArray();

test('namespaceRemap, preExistingDestinationData and copyInNaturalOrder: the key goes with the new name, others’ data stays (through the router double)', async () => {
  const run = async () => {
    const db = 'named';
    await seed(from, db);
    await using harness = await openBetween(from, to, db);
    await seed(to, 'theirs');
    await to.cluster.admin({ balancerStart: 1 });
    const options = {
      namespaceRemap: [{ from: db, to: 'renamed' }],
      preExistingDestinationData: true,
      copyInNaturalOrder: [{ database: db, collections: [] }],
    };
    await harness.migration.start(startOf(db, options));
    await harness.caughtUp();
    assert.is((await to.cluster.admin({ balancerStatus: 1 }))['mode'], 'full', 'its balancer is left alone');
    await from.client
      .db(db)
      .collection('byA')
      .updateMany({ a: { $gt: 30 } }, { $inc: { n: 1 } });
    await from.client
      .db(db)
      .collection<Document>('byA')
      .updateOne({ _id: 1 as never, a: 1 }, { $set: { a: 99 } });
    await harness.commit();
    const expected = await from.client.db(db).collection('byA').find().sort({ a: 1, _id: 1 }).toArray();
    assert.equal(await found('renamed'), expected);
    assert.equal(await shardKeysOf(to, 'renamed'), { byA: '{"a":1}' });
    assert.is(await to.client.db('theirs').collection('byA').countDocuments(), 100);
    await to.cluster.admin({ balancerStop: 1 });
  };
  await within(TEST_MS, run(), 'the migration');
});

test('documentFilter: what enters and leaves the filter while its document moves between shards is followed (through the router double)', async () => {
  const run = async () => {
    const db = 'filtered';
    await seed(from, db);
    await using harness = await openBetween(from, to, db);
    await harness.migration.start(startOf(db, { documentFilter: { field: 'tenant', matchValues: ['red'] } }));
    await harness.caughtUp();
    const byA = from.client.db(db).collection<Document>('byA');
    await byA.updateOne({ _id: 1 as never, a: 1 }, { $set: { a: 77, tenant: 'red' } });
    await byA.updateOne({ _id: 2 as never, a: 2 }, { $set: { a: 78, tenant: 'blue' } });
    await byA.updateOne({ _id: 60 as never, a: 60 }, { $set: { a: 3 } });
    await byA.updateMany({ a: { $lt: 20 } }, { $set: { tenant: 'red' } });
    await byA.deleteMany({ a: { $gt: 90 } });
    await harness.commit();
    assert.equal(await found(db), await byA.find({ tenant: 'red' }).sort({ a: 1, _id: 1 }).toArray());
  };
  await within(TEST_MS, run(), 'the migration');
});

test('the write block holds on every shard of the destination until canWrite, and on the source after the commit (through the router double)', async () => {
  const run = async () => {
    await Promise.all([emptySide(from), emptySide(to)]);
    const db = 'blocked';
    await seed(from, db);
    await using harness = await openBetween(from, to, db);
    await harness.migration.start({ ...DEFAULT_START, enableUserWriteBlocking: 'sourceAndDestination' });
    await harness.caughtUp();
    for (const index of [0, 1]) {
      const shard = await to.cluster.shardClient(index);
      assert.is(await insertRefusal(shard, 'others', 'c'), USER_WRITES_BLOCKED, `shard ${index}`);
    }
    assert.is(await insertRefusal(to.client, db, 'byA'), USER_WRITES_BLOCKED);
    assert.is(await insertRefusal(from.client, db, 'byA'), undefined);
    await harness.commit();
    assert.is(harness.snapshot.canWrite, true);
    assert.is(await insertRefusal(from.client, db, 'byA'), USER_WRITES_BLOCKED);
    assert.equal(await outcomeOf({ source: from, destination: to, db }, harness), []);
    assert.is(await insertRefusal(to.client, db, 'byA'), undefined);
  };
  await within(TEST_MS, run(), 'the migration');
});

async function verify(db: string): Promise<string[]> {
  const differences: ClusterDifference[] = [];
  const config = { cluster0: from.uri, cluster1: to.uri, loadLevel: 3 };
  const wanted = resolveStartOptions(startOf(db));
  const writesStopped = Promise.resolve();
  const options = { config, wanted, logger: silentLogger, writesStopped, onProgress: () => undefined };
  await verifyClusters(options, (each) => differences.push(each), AbortSignal.timeout(TEST_MS));
  return differences.map(({ namespace, kind, documentId = '' }) => `${namespace} ${kind} ${documentId}`.trim()).sort();
}

test('verify between sharded clusters finds a planted difference, one of two documents of one _id, and another key (through the router double)', async () => {
  const run = async () => {
    await Promise.all([emptySide(from), emptySide(to)]);
    const db = 'verified';
    for (const side of [from, to]) {
      await seed(side, db);
      await side.client
        .db(db)
        .collection<Document>('byA')
        .insertOne({ ...doc(7), a: 97 });
      await side.cluster.admin({ shardCollection: `${db}.keyed`, key: side === from ? { a: 1 } : { a: 1, b: 1 } });
    }
    const byA = to.client.db(db).collection<Document>('byA');
    await from.client.db(db).collection('keyed').createIndex({ a: 1, b: 1 });
    await to.client.db(db).collection('keyed').createIndex({ a: 1 });
    assert.equal(await verify(db), [`${db}.keyed options`]);
    await byA.updateOne({ _id: 7 as never, a: 97 }, { $set: { planted: 1 } });
    await byA.updateOne({ a: 60 }, { $set: { planted: 1 } });
    const told = await verify(db);
    assert.equal(told, [`${db}.byA content 60`, `${db}.byA content 7`, `${db}.keyed options`]);
    await byA.deleteOne({ _id: 7 as never, a: 97 });
    assert.match((await verify(db)).join(), /byA \S+ 7/);
  };
  await within(TEST_MS, run(), 'the comparisons');
});

test.run();
