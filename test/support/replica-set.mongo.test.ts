/** Proves that replica sets start, recover and leave nothing behind. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { MongoClient } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { findMongod, type MongodRequest } from './mongod-binary.js';
import { MongodStartError } from './mongod-process.js';
import { ReplicaSet, startPair } from './replica-set.js';
import { eventually, within } from './within.js';

const TEST_MS = 120_000;

/** A uvu test that fails when it takes too long, and whose signal then ends a start under way. */
function timed(name: string, body: (signal: AbortSignal) => Promise<void>): void {
  test(name, async () => await within(TEST_MS, body, name));
}

timed('a single server is ready to take writes and change streams', async (signal) => {
  await using set = await ReplicaSet.start({ signal });
  const client = await set.connect();
  const items = client.db('shop').collection<{ _id: number }>('items');
  await using stream = items.watch();
  const change = stream.tryNext();
  await items.insertOne({ _id: 1 });
  const seen = (await change) ?? (await stream.next());
  assert.is(seen.operationType, 'insert');
});

timed('data acknowledged before a kill is there after the restart', async (signal) => {
  await using set = await ReplicaSet.start({ signal });
  const client = await set.connect();
  const items = client.db('shop').collection<{ _id: number }>('items');
  await items.insertOne({ _id: 7 }, { writeConcern: { w: 'majority' } });
  const [before] = set.members;
  await set.kill();
  assert.not.ok(isAlive(before?.pid));
  assert.is(await set.primary(), undefined);
  await set.restart();
  const [after] = set.members;
  assert.is(after?.port, before?.port);
  assert.is.not(after?.pid, before?.pid);
  assert.equal(await items.findOne(), { _id: 7 });
});

timed('a paused server answers nothing until it goes on', async (signal) => {
  await using set = await ReplicaSet.start({ signal });
  set.pauseProcess();
  assert.is(await set.primary(), undefined);
  set.continueProcess();
  assert.is((await set.waitForPrimary()).index, 0);
});

timed('a single server that steps down becomes primary again', async (signal) => {
  await using set = await ReplicaSet.start({ signal });
  assert.is((await set.stepDown()).index, 0);
});

timed('three members: another takes over after a step-down and after a kill', async (signal) => {
  await using set = await ReplicaSet.start({ members: 3, signal });
  assert.is(set.hosts.length, 3);
  const first = await set.waitForPrimary();
  const second = await set.stepDown();
  assert.is.not(second.index, first.index);
  await set.kill(second.index);
  const third = await set.waitForPrimary();
  assert.is.not(third.index, second.index);
  await set.restart(second.index);
  const client = await set.connect();
  await client
    .db('shop')
    .collection('items')
    .insertOne({ a: 1 }, { writeConcern: { w: 3, wtimeoutMS: 20_000 } });
});

timed('auth: the URI carries a root user, and nobody gets in without', async (signal) => {
  await using set = await ReplicaSet.start({ auth: true, signal });
  const client = await set.connect();
  assert.ok((await client.db('admin').command({ listDatabases: 1 })).ok);
  const stranger = new MongoClient(`mongodb://${set.hosts[0]}/?directConnection=true`);
  try {
    await assertRejects(stranger.db('admin').command({ listDatabases: 1 }), /authentication/);
  } finally {
    await stranger.close();
  }
});

timed(
  'TLS with auth, three members: the URI carries the files, and plain text and missing certificates are refused',
  async (signal) => {
    await using set = await ReplicaSet.start({ members: 3, auth: true, tls: true, signal });
    const client = await set.connect();
    await client
      .db('shop')
      .collection('items')
      .insertOne({ a: 1 }, { writeConcern: { w: 3, wtimeoutMS: 20_000 } });
    const ca = new URLSearchParams({ tls: 'true', tlsCAFile: set.caFile ?? '' });
    for (const query of ['', ca.toString()]) {
      const stranger = new MongoClient(`mongodb://${set.hosts[0]}/?directConnection=true&${query}`, {
        serverSelectionTimeoutMS: 500,
      });
      try {
        await assertRejects(stranger.db('admin').command({ hello: 1 }), /./);
      } finally {
        await stranger.close();
      }
    }
  },
);

timed('removal leaves neither process nor folder, and closes the clients', async (signal) => {
  const pair = await startPair({ signal, own: true, destination: { setParameters: { ttlMonitorSleepSecs: '1' } } });
  const members = [...pair.source.members, ...pair.destination.members];
  const client = await pair.destination.connect();
  const parameter = await client.db('admin').command({ getParameter: 1, ttlMonitorSleepSecs: 1 });
  assert.is(parameter.ttlMonitorSleepSecs, 1);
  pair.source.pauseProcess();
  await pair[Symbol.asyncDispose]();
  for (const member of members) {
    assert.not.ok(isAlive(member.pid));
    assert.not.ok(existsSync(path.dirname(member.dbPath)));
  }
});

timed('a server that cannot start tells why, and leaves nothing', async (signal) => {
  const start = ReplicaSet.start({ setParameters: { noSuchParameter: '1' }, signal });
  const error = await assertRejects(start, /noSuchParameter/);
  assert.instance(error, MongodStartError);
});

timed('an aborted start leaves nothing and throws the reason', async () => {
  const stop = new AbortController();
  const start = ReplicaSet.start({ signal: stop.signal });
  setTimeout(() => stop.abort(new Error('changed my mind')), 300);
  await assertRejects(start, /changed my mind/);
});

timed('the servers of a process killed by SIGKILL are gone soon after', async () => {
  const program = `
    import { ReplicaSet } from ${JSON.stringify(new URL('./replica-set.js', import.meta.url).href)};
    const set = await ReplicaSet.start();
    await set.connect();
    console.log(JSON.stringify(set.members[0]));`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    cwd: path.dirname(fileURLToPath(import.meta.url)),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const member = JSON.parse(await firstLine(child)) as { pid: number; dbPath: string };
  assert.ok(isAlive(member.pid));
  child.kill('SIGKILL');
  await once(child, 'exit');
  await eventually(10_000, () => !isAlive(member.pid), 'the server gone');
  await eventually(10_000, () => !existsSync(path.dirname(member.dbPath)), 'the folder gone');
});

timed('a process that forgets its set ends, and so do the servers', async () => {
  const program = `
    import { ReplicaSet } from ${JSON.stringify(new URL('./replica-set.js', import.meta.url).href)};
    console.log(JSON.stringify((await ReplicaSet.start({ tls: true })).members[0]));`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exit = once(child, 'exit');
  const member = JSON.parse(await firstLine(child)) as { pid: number };
  const [code] = await within(20_000, exit, 'end of a process with a forgotten set');
  assert.is(code, 0);
  await eventually(10_000, () => !isAlive(member.pid), 'the server gone');
});

const versions: readonly [MongodRequest, RegExp][] = [
  ['6.0.27', /^6\.0\.27$/],
  ['5.0', /^5\.0\./],
  ['4.4', /^4\.4\./],
];
for (const [request, expected] of versions) {
  timed(`a server of version ${request} starts and tells its version`, async (signal) => {
    const binary = await findMongod({ version: request, signal });
    await using set = await ReplicaSet.start({ version: request, signal });
    const client = await set.connect();
    const info = await client.db('admin').command({ buildInfo: 1 });
    assert.match(String(info.version), expected);
    assert.is(binary.version, info.version);
    assert.is(set.version, info.version);
  });
}

async function assertRejects(work: Promise<unknown>, message: RegExp): Promise<unknown> {
  const outcome = await work.then(
    () => ({ error: undefined, rejected: false }),
    (error: unknown) => ({ error, rejected: true }),
  );
  assert.ok(outcome.rejected, 'expected a rejection');
  assert.match(String(outcome.error), message);
  return outcome.error;
}

async function firstLine(child: ChildProcess): Promise<string> {
  if (child.stdout === null) throw new TypeError('the child has no pipe on its output');
  for await (const line of createInterface({ input: child.stdout })) return line;
  throw new Error('the child ended without a line');
}

function isAlive(pid: number | undefined): boolean {
  try {
    return process.kill(pid ?? 0, 0);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return false;
    throw error;
  }
}

test.run();
