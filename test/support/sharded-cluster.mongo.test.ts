/** The fixture of sharded clusters itself: what it can do to a cluster, and that nothing of it stays. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { MongoClient, MongoServerError } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { holdCommands, refuseCommands, releaseCommands, touchedCommands } from './fail-points.js';
import { FaultProxy } from './fault-proxy.js';
import { MONGOS } from './router-process.js';
import { startShardedCluster } from './sharded-cluster.js';
import { compareSharded, documentsThrough } from './sharded-documents.js';
import { sharedShardedCluster } from './shared-servers.js';
import { eventually, within } from './within.js';

interface Row {
  _id: number;
}

const { cluster, client } = await sharedShardedCluster(test);
const isDouble = MONGOS === undefined;

async function hashedCollection(db: string) {
  await cluster.admin({ enableSharding: db });
  await cluster.admin({ shardCollection: `${db}.h`, key: { _id: 'hashed' } });
  return client.db(db).collection<Row>('h');
}

test('what stands for mongos says that it is a double', async () => {
  if (!isDouble) return;
  assert.is((await cluster.admin({ hello: 1 })).routerDouble, true);
  assert.ok('routerDouble' in (await cluster.admin({ serverStatus: 1 })));
  assert.match(JSON.stringify(await cluster.admin({ getCmdLineOpts: 1 })), /router double/);
  assert.match(readFileSync(cluster.routers[0]?.logPath ?? '', 'utf8'), /router double \(stands for mongos/);
  await cluster.admin({ noSuchCommand: 1 }).catch(() => undefined);
  assert.match(readFileSync(cluster.routers[0]?.logPath ?? '', 'utf8'), /refused the unknown command noSuchCommand/);
});

test('what was accepted while a shard was down and came back is there, and only that', async () => {
  const h = await hashedCollection('outage');
  const accepted: number[] = [];
  const refused: number[] = [];
  const stopped = new AbortController();
  const writing = (async () => {
    for (let _id = 0; !stopped.signal.aborted; _id += 1) {
      await h.insertOne({ _id }).then(
        () => accepted.push(_id),
        () => refused.push(_id),
      );
    }
  })();
  await eventually(10_000, () => accepted.length > 20, 'writes before');
  await cluster.stopShard(1);
  await eventually(20_000, () => refused.length > 0, 'a refused write');
  await cluster.startShard(1);
  const back = accepted.length;
  await eventually(20_000, () => accepted.length > back + 20, 'writes after');
  stopped.abort();
  await writing;
  const found = new Set((await h.find().toArray()).map(({ _id }) => _id));
  assert.ok(accepted.every((_id) => found.has(_id)));
  // A write whose answer was lost may have been made.
  assert.ok(found.size <= accepted.length + refused.length);
});

test('a router waits for a shard that is down, if it is told to', async () => {
  await using waiting = await startShardedCluster({ shards: 1, hostWaitMs: 3_000 });
  await using direct = await waiting.client({ retryWrites: false });
  const c = direct.db('waits').collection<Row>('c');
  await c.insertOne({ _id: 1 });
  await waiting.stopShard(0);
  await c.insertOne({ _id: 2 }).catch(() => undefined);
  const refused = await c.insertOne({ _id: 3 }).catch((error: Error) => error);
  assert.is(refused instanceof MongoServerError && refused.code, 133);
  const starting = waiting.startShard(0);
  await eventually(
    30_000,
    async () => (await c.insertOne({ _id: 4 })).acknowledged,
    'a write to the shard that is back',
  );
  await starting;
});

test('a router that is killed and started again goes on from the catalog', async () => {
  const h = await hashedCollection('restart');
  await h.insertMany(Array.from({ length: 100 }, (_, _id) => ({ _id })));
  await cluster.stopRouter();
  await cluster.startRouter();
  await eventually(10_000, async () => (await h.countDocuments()) === 100, 'the count through the new router');
});

test('a proxy before the router cuts connections, and drivers try again', async () => {
  const h = await hashedCollection('cuts');
  await using proxy = await FaultProxy.start({ target: cluster.routers[0]?.host ?? '' });
  await using through = new MongoClient(`mongodb://${proxy.host}/`);
  await through.connect();
  const cut = proxy.cut({ command: 'insert', times: 1 });
  await through.db('cuts').collection<Row>('h').insertOne({ _id: 1 });
  assert.is(cut.hits.length, 1);
  assert.is(await h.countDocuments(), 1);
});

test('commands are held and refused at the router, as at a server', async () => {
  const h = await hashedCollection('fails');
  await using ours = new MongoClient(cluster.uri, { appName: 'mongoferry', retryWrites: false });
  const theirs = ours.db('fails').collection<Row>('h');
  await refuseCommands(client, { commands: ['insert'], times: 1, namespace: 'fails.h' }, 112);
  await h.insertOne({ _id: 1 });
  const refused = await theirs.insertOne({ _id: 2 }).catch((error: Error) => error);
  assert.is(refused instanceof MongoServerError && refused.code, 112);
  await theirs.insertOne({ _id: 3 });
  await holdCommands(client, { commands: ['find'], times: 1 }, 500);
  const started = Date.now();
  assert.is((await theirs.find().toArray()).length, 2);
  assert.ok(Date.now() - started >= 500);
  await releaseCommands(client);
  assert.is(await touchedCommands(client), 2);
});

test('all documents are read through the router and from the shards, orphans left out', async () => {
  await cluster.admin({ shardCollection: 'parts.r', key: { a: 1 } });
  const r = client.db('parts').collection('r');
  await r.insertMany(Array.from({ length: 200 }, (_, a) => ({ a })));
  await cluster.keepOrphans();
  try {
    await cluster.split('parts.r', { a: 100 });
    await cluster.moveChunk({ ns: 'parts.r', find: { a: 100 }, to: 1 });
    const shown = await documentsThrough(client, 'parts.r');
    assert.is(shown.length, 200);
    assert.equal(await compareSharded(cluster, 'parts.r', shown), []);
    assert.is((await compareSharded(cluster, 'parts.r', shown.slice(1))).length, 2);
  } finally {
    await cluster.releaseOrphans();
  }
});

// After the others, which count on two shards.
test('an open change stream takes in a shard that is added, and chunks move there', async () => {
  const r = await hashedCollection('third');
  await r.insertMany(Array.from({ length: 50 }, (_, _id) => ({ _id })));
  await using stream = client.watch([{ $match: { operationType: 'insert' } }], { maxAwaitTimeMS: 200 });
  await stream.tryNext();
  const to = await cluster.addShard();
  await cluster.moveChunk({ ns: 'third.h', find: { _id: 0 }, to });
  await r.insertMany(Array.from({ length: 50 }, (_, index) => ({ _id: 50 + index })));
  const own = await cluster.shardClient(to);
  assert.ok((await own.db('third').collection('h').countDocuments()) > 0);
  await cluster.admin({ appendOplogNote: 1, data: { third: true } });
  const seen = new Set<unknown>();
  await eventually(
    20_000,
    async () => {
      const event = await stream.tryNext();
      if (event?.operationType === 'insert') seen.add(event.documentKey._id);
      return seen.size === 50;
    },
    'the events of all shards',
  );
});

/** A process of its own with a cluster; it prints the pids of its servers and their folders. */
function startElsewhere(end: string): ChildProcess {
  const program = `
    import { startShardedCluster } from ${JSON.stringify(new URL('./sharded-cluster.js', import.meta.url).href)};
    const cluster = await startShardedCluster({ shards: 1, auth: true });
    const members = [cluster.config, ...cluster.shards].map(({ members: [member] }) => member);
    const pids = [...members.map(({ pid }) => pid), ...cluster.routers.map(({ pid }) => pid)];
    const folders = [...members.map(({ dbPath }) => dbPath), ...cluster.routers.map(({ logPath }) => logPath)];
    console.log(JSON.stringify({ pids, folders }));
    ${end}`;
  return spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
}

for (const { how, end, kill } of [
  { how: 'is killed', end: 'await new Promise(() => setInterval(() => undefined, 1000));', kill: true },
  { how: 'forgets its cluster', end: '', kill: false },
  { how: 'removes its cluster', end: 'await cluster.remove();', kill: false },
]) {
  test(`nothing is left of the cluster of a process that ${how}`, async () => {
    const child = startElsewhere(end);
    const exit = once(child, 'exit');
    const { pids, folders } = JSON.parse(await firstLine(child)) as { pids: number[]; folders: string[] };
    assert.is(pids.length, 3);
    if (kill) child.kill('SIGKILL');
    await within(20_000, exit, 'the end of the process');
    await eventually(10_000, () => !pids.some(isAlive), 'servers and router gone');
    await eventually(10_000, () => !folders.some((each) => existsSync(path.dirname(each))), 'folders gone');
  });
}

async function firstLine(child: ChildProcess): Promise<string> {
  if (child.stdout === null) throw new TypeError('the child has no pipe on its output');
  for await (const line of createInterface({ input: child.stdout })) return line;
  throw new Error('the child ended without a line');
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return false;
    throw error;
  }
}

test.run();
