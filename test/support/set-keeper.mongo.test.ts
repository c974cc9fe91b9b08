/** The sets that test files share: each borrower finds one as new, whatever the one before did to it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { MongoClient } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { FAIL_POINTS } from './fail-points.js';
import { ReplicaSet } from './replica-set.js';
import { SetKeeper } from './set-keeper.js';
import { LENDER, type LentSet, wantedSet } from './set-loans.js';
import { atEnd } from './shared-servers.js';
import { isBlocked } from './stored-migration.js';
import { eventually, within } from './within.js';

const TEST_MS = 90_000;
const WANTED = { name: 'rs', failPoints: true };

const told: string[] = [];
const keeper = new SetKeeper({ limit: 2, tell: (text) => told.push(text) });
atEnd(test, () => keeper[Symbol.asyncDispose]());

test.before.each(() => {
  told.length = 0;
});

/** Lends a set, has it used, takes it back; resolves with the pid of its server. */
async function use(work?: (client: MongoClient, set: ReplicaSet) => Promise<unknown>): Promise<number> {
  const borrower = {};
  const lent = await keeper.lend(borrower, WANTED);
  const set = ReplicaSet.lent({ set: lent, giveBack: () => keeper.giveBack(borrower, lent.id) });
  try {
    await work?.(await set.connect(), set);
  } finally {
    await set.remove();
  }
  return lent.members[0]?.pid ?? 0;
}

function timed(name: string, body: () => Promise<void>): void {
  test(name, () => within(TEST_MS, body(), name));
}

timed(
  'data, users, roles, fail points, the write block, parameters and a profiler are gone at the next loan',
  async () => {
    const spoil = async (client: MongoClient): Promise<void> => {
      const [admin, shop] = [client.db('admin'), client.db('shop')];
      await shop.collection('items').insertOne({ a: 1 });
      await shop.command({ profile: 2 });
      await shop.command({ createRole: 'clerk', privileges: [], roles: [] });
      await admin.command({ createUser: 'ferry', pwd: 'x', roles: ['root'] });
      await admin.collection('left').insertOne({ a: 1 });
      await client.db('local').createCollection('left');
      await admin.command({ setParameter: 1, ttlMonitorEnabled: false });
      await admin.command({ setUserWriteBlockMode: 1, global: true });
      await admin.command({
        configureFailPoint: 'failCommand',
        mode: 'alwaysOn',
        data: { failCommands: ['insert'], errorCode: 91 },
      });
      await admin.command({ configureFailPoint: 'failAllInserts', mode: 'alwaysOn' });
    };
    const first = await use(spoil);
    const next = await use(async (client) => {
      const [admin, shop] = [client.db('admin'), client.db('shop')];
      const { databases } = await admin.admin().listDatabases({ nameOnly: true });
      assert.equal(databases.map(({ name }) => name).sort(), ['admin', 'config', 'local']);
      assert.not.ok(await isBlocked(client));
      await shop.collection('items').insertOne({ a: 2 });
      assert.is((await shop.command({ profile: -1 }))['was'], 0);
      assert.equal((await admin.command({ usersInfo: { forAllDBs: true } }))['users'], []);
      assert.equal((await shop.command({ rolesInfo: 1 }))['roles'], []);
      assert.is((await admin.command({ getParameter: 1, ttlMonitorEnabled: 1 }))['ttlMonitorEnabled'], true);
      for (const db of [admin, client.db('local')])
        assert.equal(await db.listCollections({ name: 'left' }).toArray(), []);
    });
    assert.equal([next, told], [first, []]);
  },
);

timed('a server left paused goes on, and a command left running is ended', async () => {
  const first = await use(async (client, set) => {
    const where = { $where: 'sleep(60000) || true' };
    await client.db('shop').collection('items').insertOne({ a: 1 });
    const found = client.db('shop').collection('items').findOne(where);
    found.catch(() => undefined);
    const runs = async () => {
      const { inprog } = await client.db('admin').command({ currentOp: 1, 'command.find': 'items' });
      return inprog.length > 0;
    };
    await eventually(10_000, runs, 'the find running');
    set.pauseProcess();
  });
  const next = await use(async (client) => {
    const { inprog } = await client.db('admin').command({ currentOp: 1, 'command.find': 'items' });
    assert.equal(inprog, []);
  });
  assert.equal([next, told], [first, []]);
});

for (const [what, spoil] of [
  ['a lowered featureCompatibilityVersion', { setFeatureCompatibilityVersion: '5.0' }],
  ['another size of the oplog', { replSetResizeOplog: 1, size: 2000 }],
  ['another default write concern', { setDefaultRWConcern: 1, defaultWriteConcern: { w: 1 } }],
] as const) {
  timed(`a set with ${what} is replaced`, async () => {
    const first = await use((client) => client.db('admin').command(spoil));
    const next = await use();
    assert.is.not(next, first);
    assert.is(told.length, 1, told.join('\n'));
  });
}

timed('a set whose server died is replaced', async () => {
  const first = await use(async (_client, set) => void process.kill(set.members[0]?.pid ?? 0, 'SIGKILL'));
  assert.is.not(await use(), first);
});

timed('two borrowers never have the same set, and free ones above the limit are removed', async () => {
  const borrower = {};
  const lent = await Promise.all([keeper.lend(borrower, WANTED), keeper.lend(borrower, WANTED)]);
  assert.is(new Set(lent.map(({ id }) => id)).size, 2);
  for (const { id } of lent) keeper.giveBack(borrower, id);
  const other = await keeper.lend(borrower, { name: 'other', failPoints: false });
  assert.is(other.name, 'other');
  const pids = lent.map(({ members }) => members[0]?.pid ?? 0);
  await eventually(20_000, () => pids.filter(isAlive).length === 1, 'the removal of one');
  keeper.giveBack(borrower, other.id);
});

timed('what a process has borrowed when it is killed is taken back', async () => {
  const program = `
    import { obtainSet } from ${JSON.stringify(new URL('./replica-set.js', import.meta.url).href)};
    const set = await obtainSet({ name: 'rs', setParameters: { enableTestCommands: '1' } });
    await (await set.connect()).db('shop').collection('items').insertOne({ a: 1 });
    console.log(set.members[0].pid);
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
    env: { ...process.env, [LENDER]: '1' },
  });
  keeper.serve(child);
  const pid = Number(await firstLine(child));
  const exit = once(child, 'exit');
  child.kill('SIGKILL');
  await exit;
  const next = await use(async (client) => assert.is(await client.db('shop').collection('items').countDocuments(), 0));
  assert.is(next, pid);
});

timed('the sets of a keeper that is killed are gone soon after', async () => {
  const program = `
    import { SetKeeper } from ${JSON.stringify(new URL('./set-keeper.js', import.meta.url).href)};
    const keeper = new SetKeeper({ limit: 1, tell: console.error });
    console.log(JSON.stringify(await keeper.lend({}, { name: 'rs', failPoints: false })));`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const { members } = JSON.parse(await firstLine(child)) as LentSet;
  child.kill('SIGKILL');
  await eventually(10_000, () => !isAlive(members[0]?.pid ?? 0), 'the server gone');
});

timed('a lent set can be neither killed nor restarted', async () => {
  await use(async (_client, set) => {
    for (const forbidden of [() => set.kill(), () => set.restart()]) {
      const error: unknown = await forbidden().then(
        () => undefined,
        (reason: unknown) => reason,
      );
      assert.match(String(error), /own: true/);
    }
  });
});

test('only sets of the plain kinds are lent', () => {
  assert.equal(wantedSet({}), { name: undefined, failPoints: false });
  assert.equal(wantedSet({ name: 'a', setParameters: FAIL_POINTS, members: 1, version: '6.0' }), {
    name: 'a',
    failPoints: true,
  });
  for (const options of [
    { own: true },
    { auth: true },
    { tls: true },
    { members: 3 },
    { version: '5.0' },
    { oplogSizeMB: 1 },
    { setParameters: { ...FAIL_POINTS, ttlMonitorSleepSecs: '1' } },
  ] as const)
    assert.is(wantedSet(options), undefined, JSON.stringify(options));
});

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
