/** Tests that a write which arrives late is refused on every shard. */
import { type Binary, type Document, Long, UUID } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Cluster } from '../../src/cluster/cluster.js';
import type { WriteSessions } from '../../src/cluster/numbered-sessions.js';
import type { WritableCluster } from '../../src/cluster/writable-cluster.js';
import { closeWriteSessions, writeSessions } from '../../src/cluster/write-sessions.js';
import { layOutNumbers } from '../../src/layout/lay-out-numbers.js';
import { createLogger } from '../../src/lib/logger.js';
import { compareDatabase } from '../support/compare-sharded.js';
import { FaultProxy } from '../support/fault-proxy.js';
import type { HeldMessage, MessageMatch } from '../support/fault-rule.js';
import { withClient } from '../support/ferry-client.js';
import { FerryProcess } from '../support/ferry-process.js';
import {
  chunkShards,
  emptySide,
  openBetween,
  plainSide,
  shardedSide,
  shardingEntry,
  startOf,
} from '../support/sharded-migration.js';
import { atEnd, sharedSet, sharedShardedCluster } from '../support/shared-servers.js';
import { eventually, within } from '../support/within.js';
import { writableAlone } from '../support/writable.js';

const TEST_MS = 120_000;
const TOO_OLD = 225;
const TIME_IS_UP = 50;
const CLOSED = Long.MAX_VALUE;
const never = new AbortController().signal;

const [from, { cluster: servers, client }] = await Promise.all([
  sharedSet(test).then(plainSide),
  sharedShardedCluster(test, { shards: 3 }),
]);
const to = shardedSide({ cluster: servers, client });
const proxy = await FaultProxy.start({ target: servers.routers[0]?.host ?? '' });
atEnd(test, () => proxy[Symbol.asyncDispose]());
const proxied = { ...to, uri: `mongodb://${proxy.host}/` };

test.after.each(async () => {
  proxy.clear();
  await client.db('admin').command({ setUserWriteBlockMode: 1, global: false });
});

/** The program's own door to the cluster, with sessions whose numbers are in the database `db`, and what it logs. */
async function open(
  db: string,
): Promise<{ cluster: WritableCluster; sessions: WriteSessions; log: string[] } & AsyncDisposable> {
  const log: string[] = [];
  const logger = createLogger({ level: 'WARN', mongosyncId: 'test', sink: { write: (line) => void log.push(line) } });
  const plain = await Cluster.connect({ name: 'cluster1', uri: servers.routerUri(), logger, maxPoolSize: 4 });
  const sessions = writeSessions(plain, db);
  if (sessions === undefined) throw new Error('these servers know no numbers');
  const cluster = writableAlone(plain, { sessions });
  return { cluster, sessions, log, [Symbol.asyncDispose]: () => cluster.close() };
}

/** A collection with a chunk on each shard of the cluster as it is now; resolves with a key in each. */
async function spread(ns: string): Promise<number[]> {
  await servers.admin({ shardCollection: ns, key: { a: 1 } });
  const keys = servers.shards.map((_, index) => index * 100);
  for (const [shard, a] of keys.entries()) {
    if (a > 0) await servers.split(ns, { a });
    await servers.moveChunk({ ns, find: { a }, to: shard });
  }
  return keys;
}

/** What the shards answer to writes with a low number in a session that is closed: one code for each key. */
async function lateWrites(db: string, keys: readonly number[], close: (id: Binary) => Promise<void>) {
  // Never given back: the client would use the closed session for something else.
  const session = client.startSession();
  const id = new UUID();
  (session.id as unknown as { id: Binary }).id = id;
  await close(id);
  const codes: number[] = [];
  for (const a of keys) {
    const txnNumber = Long.fromNumber(7);
    const insert = { insert: 'items', documents: [{ a }], txnNumber, mayBypassWriteBlocking: true };
    const answer = client.db(db).command(insert, { session });
    codes.push(
      await answer.then(
        ({ writeErrors }) => Number(writeErrors?.[0]?.code ?? 0),
        (error: { code?: unknown }) => Number(error.code),
      ),
    );
  }
  return codes;
}

/** The shards that have a place for the numbers of a metadata database. */
const placesOf = (db: string) => chunkShards(client, `${db}.numbers`);

test('a session that is closed takes no more writes on any shard, also while users are blocked (through the router double)', async () => {
  const run = async () => {
    const keys = await spread('late.items');
    await using opened = await open('late_metadata');
    const { cluster, log } = opened;
    assert.is(await layOutNumbers(cluster, 'late_metadata', never), undefined);
    assert.equal(await placesOf('late_metadata'), ['s0', 's1', 's2']);
    for (const global of [false, true]) {
      await client.db('admin').command({ setUserWriteBlockMode: 1, global });
      const close = async (id: Binary) => {
        await closeWriteSessions(cluster, [id], 'late_metadata');
        // A taker that does not live to say so leaves it to the next one.
        await closeWriteSessions(cluster, [id], 'late_metadata');
      };
      const codes = await lateWrites('late', keys, close);
      assert.equal(codes, [TOO_OLD, TOO_OLD, TOO_OLD], 'an answer of each shard');
    }
    await client.db('admin').command({ setUserWriteBlockMode: 1, global: false });
    assert.is(await client.db('late').collection('items').countDocuments(), 0);
    assert.equal(await placesOf('late_metadata'), ['s0', 's1', 's2'], 'nothing was laid out by that');
    assert.equal(log, []);
  };
  await within(TEST_MS, run(), 'the late writes');
});

test('a write that a mongos has sent to a shard twice is carried out once, before later ones (through the router double)', async () => {
  const run = async () => {
    await spread('twice.items');
    await client
      .db('twice')
      .collection<{ _id: number; a: number; n: number }>('items')
      .insertOne({ _id: 1, a: 100, n: 0 });
    await using opened = await open('twice_metadata');
    const { cluster, sessions } = opened;
    const setTo = (n: number) => ({ update: 'items', updates: [{ q: { _id: 1, a: 100 }, u: { $set: { n } } }] });
    await sessions.data.send(1, never, async ({ session, fields }) => {
      const send = () =>
        cluster.core.clients.data.command('twice', { ...setTo(1), ...fields }, { session, signal: never });
      await send();
      // In another session, as long as the first write has no answer.
      await cluster.write('twice', setTo(2), { signal: never });
      return send();
    });
    assert.is((await client.db('twice').collection('items').findOne())?.['n'], 2);
  };
  await within(TEST_MS, run(), 'the writes');
});

test('a session is not closed before each shard has said so (through the router double)', async () => {
  const run = async () => {
    await using opened = await open('partly_metadata');
    const { cluster } = opened;
    await layOutNumbers(cluster, 'partly_metadata', never);
    const [id] = cluster.sessionIds as [Binary];
    await failOn(1, { failCommands: ['update'], errorCode: TIME_IS_UP });
    const close = () => closeWriteSessions(cluster, [id], 'partly_metadata');
    const refused = await close().catch((error: { code?: unknown }) => error.code);
    assert.is(refused, TIME_IS_UP);
    assert.is(await numberOn(1, id), undefined);
    await close();
    for (const shard of servers.shards.keys()) assert.is(await numberOn(shard, id), CLOSED.toString());
  };
  await within(TEST_MS, run(), 'the closing');
});

test('without a layout the shard of the metadata alone refuses it, which is logged; it can be laid out afterwards (through the router double)', async () => {
  const run = async () => {
    const keys = await spread('plain.items');
    await client.db('admin').command({ setUserWriteBlockMode: 1, global: true });
    await using opened = await open('plain_metadata');
    const { cluster, log } = opened;
    let closed: Binary | undefined;
    const codes = await lateWrites('plain', keys, async (id) => {
      closed = id;
      await closeWriteSessions(cluster, [id], 'plain_metadata');
    });
    assert.equal(codes.sort(), [0, 0, TOO_OLD]);
    await lateWrites('plain', [], (id) => closeWriteSessions(cluster, [id], 'plain_metadata'));
    assert.is(log.length, 1, 'told once');
    assert.match(log[0] ?? '', 'plain_metadata.numbers has no place on shards other than that of plain_metadata');
    assert.is(await layOutNumbers(cluster, 'plain_metadata', never), undefined);
    assert.equal(await placesOf('plain_metadata'), ['s0', 's1', 's2']);
    assert.ok(closed !== undefined);
    await closeWriteSessions(cluster, [closed], 'plain_metadata');
    for (const shard of servers.shards.keys()) assert.is(await numberOn(shard, closed), CLOSED.toString());
  };
  await within(TEST_MS, run(), 'the late writes');
});

test('a layout that the server refuses is told, and ends nothing (through the router double)', async () => {
  const run = async () => {
    await servers.admin({ shardCollection: 'odd_metadata.numbers', key: { other: 1 } });
    await using opened = await open('odd_metadata');
    const refused = await layOutNumbers(opened.cluster, 'odd_metadata', never);
    assert.match(refused ?? '', 'could not be given a place on all shards of cluster1');
    assert.match(refused ?? '', 'would not be refused on shards those that do not hold odd_metadata');
  };
  await within(TEST_MS, run(), 'the layout');
});

test('a write of which the router has lost a shard is raised beyond on each shard, before the next one is sent (through the router double)', async () => {
  const run = async () => {
    const keys = await spread('routed.items');
    await using opened = await open('routed_metadata');
    const { cluster } = opened;
    await layOutNumbers(cluster, 'routed_metadata', never);
    await failOn(1, { failCommands: ['insert'], closeConnection: true });
    const insert = { insert: 'items', documents: keys.map((a) => ({ a })), ordered: false };
    await cluster.attempt('inserting', never, () => cluster.write('routed', insert, { signal: never }));
    const numbers = client.db('routed_metadata').collection<NumberDocument>('numbers');
    assert.equal(await numbers.distinct('slot'), [-1, 0, 1]);
    for (const { _id, number } of await numbers.find().toArray())
      for (const each of servers.shards.keys()) assert.ok(Number(await numberOn(each, _id.session)) >= number);
  };
  await within(TEST_MS, run(), 'the write');
});

interface NumberDocument {
  readonly _id: { readonly session: Binary; readonly slot: number };
  readonly number: number;
}

/** Lets a shard fail the next such command that the router sends it. */
async function failOn(shard: number, how: Document): Promise<void> {
  const data = { ...how, failInternalCommands: true };
  const admin = (await servers.shardClient(shard)).db('admin');
  await admin.command({ configureFailPoint: 'failCommand', mode: { times: 1 }, data });
}

/** The number of a session that a shard has stored. */
async function numberOn(shard: number, id: Binary): Promise<string | undefined> {
  const transactions = (await servers.shardClient(shard)).db('config').collection<Document>('transactions');
  const found = await transactions.findOne({ '_id.id': id }, { promoteLongs: false });
  return found === null ? undefined : String(found['txnNum']);
}

const PER_SHARD = 40;
const items = (db: string) => from.client.db(db).collection<Document>('items');
const keyOf = (db: string) => ({
  createSupportingIndexes: false,
  shardingEntries: [shardingEntry(db, 'items', { a: 1 })],
});

async function seed(db: string): Promise<void> {
  await emptySide(from);
  await emptySide(to);
  await items(db).createIndex({ a: 1 });
  await items(db).insertMany(
    Array.from({ length: PER_SHARD * servers.shards.length }, (_, a) => ({
      _id: a as never,
      a,
      text: 'x'.repeat(100),
    })),
  );
}

/** That no shard carries out what was held, though it is for all of them. */
async function assertRefused(held: HeldMessage, statements: number): Promise<void> {
  const answer = await held.deliver();
  const codes = (answer?.['writeErrors'] as Document[] | undefined)?.map(({ code }) => Number(code)) ?? [];
  assert.equal(
    { n: answer?.['n'], codes: new Set(codes), count: codes.length },
    { n: 0, codes: new Set([TOO_OLD]), count: statements },
  );
}

/** An insert of the copy, with documents for each shard. */
function insertOf(db: string): MessageMatch {
  return { appName: 'mongoferry', command: 'insert', db };
}

test('an insert of the copy that arrives after its retry, and after the handover, is refused by each shard (through the router double)', async () => {
  const run = async () => {
    const db = 'retried';
    await seed(db);
    await using harness = await openBetween(from, proxied, db);
    const block = proxy.hold({ appName: 'mongoferry', command: 'setUserWriteBlockMode' }, { cutClient: false });
    const rule = proxy.hold(insertOf(db));
    const start = harness.migration.start(startOf(db, { sharding: keyOf(db) }));
    const look = async () => {
      const blocking = await block.held();
      assert.equal(await placesOf(`mongosync_internal_${db}`), ['s0', 's1', 's2'], 'before users are blocked');
      await blocking.deliver();
    };
    await Promise.all([start, look()]);
    const held = await rule.held();
    await harness.caughtUp();
    await items(db).deleteMany({ a: { $mod: [2, 1] } });
    await harness.commit();
    await assertRefused(held, PER_SHARD * servers.shards.length);
    assert.equal(await compareDatabase(from.client, client, db, { shardKeys: false }), []);
  };
  await within(TEST_MS, run(), 'the late insert');
});

test('a process that is killed while users are blocked is taken over, and what it had sent is refused by each shard (through the router double)', async () => {
  const run = async () => {
    const db = 'taken';
    await seed(db);
    const rule = proxy.hold(insertOf(db), { cutClient: false });
    const pair = { source: from, destination: proxied };
    await using ferry = await FerryProcess.between(pair, { flags: ['--migrationName', db] });
    const shardingEntries = [{ database: db, collection: 'items', shardCollection: { key: [{ a: 1 }] } }];
    await withClient(ferry, (calls) =>
      calls.start({
        ...{ includeNamespaces: [{ database: db, collections: [] }], enableUserWriteBlocking: 'destinationOnly' },
        sharding: { createSupportingIndexes: false, shardingEntries },
      }),
    );
    const held = await rule.held();
    const blocked = await client
      .db(db)
      .collection('other')
      .insertOne({})
      .catch((error: { code?: unknown }) => error.code);
    assert.is(blocked, 371, 'users are blocked');
    const lease = await client.db(`mongosync_internal_${db}`).collection('lease').findOne();
    const sessions = lease?.['sessions'] as Binary[];
    assert.ok(sessions.length > 10);
    await ferry.kill();
    held.cutClient();
    await ferry.restart();
    await withClient(ferry, (calls) => calls.waitForCanCommit(60_000));
    for (const shard of servers.shards.keys())
      for (const id of sessions) assert.is(await numberOn(shard, id), CLOSED.toString(), `on shard ${shard}`);
    await items(db).deleteMany({ a: { $mod: [2, 1] } });
    await withClient(ferry, async (calls) => {
      await calls.waitForCanCommit(60_000);
      await calls.commitAndWait(60_000);
    });
    await assertRefused(held, PER_SHARD * servers.shards.length);
    assert.equal(await compareDatabase(from.client, client, db, { shardKeys: false }), []);
    assert.equal(ferry.linesWith('has no place'), []);
  };
  await within(TEST_MS, run(), 'the takeover');
});

test('a shard that was added is told of until it has a place, which the next session gives it, or the running one (through the router double)', async () => {
  const run = async () => {
    const db = 'grown';
    const metadata = `mongosync_internal_${db}`;
    await seed(db);
    await using harness = await openBetween(from, to, db);
    await harness.sync(startOf(db, { sharding: keyOf(db), enableUserWriteBlocking: 'none' }));
    await harness.migration.pause();
    await harness.until(({ state }) => state === 'PAUSED', 'PAUSED');
    await servers.addShard();
    const keys = await spread('grown_late.items');
    await using opened = await open(metadata);
    const close = (id: Binary) => closeWriteSessions(opened.cluster, [id], metadata);
    assert.equal(await lateWrites('grown_late', keys, close), [TOO_OLD, TOO_OLD, TOO_OLD, 0]);
    assert.match(opened.log.join(), `${metadata}.numbers has no place on shards of s3`);
    await harness.migration.resume();
    await harness.caughtUp();
    assert.equal(await placesOf(metadata), ['s0', 's1', 's2', 's3']);
    assert.equal(await lateWrites('grown_late', keys, close), [TOO_OLD, TOO_OLD, TOO_OLD, TOO_OLD]);
    // As a layout leaves it that ended between the cut and the move: two chunks on one shard.
    await servers.split(`${metadata}.numbers`, { slot: 50 });
    assert.equal(await lateWrites('grown_late', keys, close), [TOO_OLD, TOO_OLD, TOO_OLD, TOO_OLD]);
    await servers.addShard();
    await eventually(30_000, async () => (await placesOf(metadata)).includes('s4'), 'a place on the new shard');
  };
  await within(TEST_MS, run(), 'the migration');
});

test.run();
