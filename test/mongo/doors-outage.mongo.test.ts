import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { FAIL_POINTS, holdCommands } from '../support/fail-points.js';
import { FerryProcess, FerryStartError } from '../support/ferry-process.js';
import { RestClient } from '../support/rest-client.js';
import { atEnd, sharedPair } from '../support/shared-servers.js';
import { stopProcess } from '../support/stop-process.js';
import { isBlocked, METADATA_DB, storedMigration, storedWhen } from '../support/stored-migration.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 120_000;

const { pair, source, destination } = await sharedPair(test, {
  setParameters: FAIL_POINTS,
  keepData: true,
  destination: { own: true },
});
const orders = source.db('shop').collection('orders');
// Smaller collections get their indexes while they are empty.
await orders.insertMany(Array.from({ length: 1500 }, (_, a) => ({ a })));
await orders.createIndex({ a: 1 });
const ferry = await FerryProcess.between(pair);
atEnd(test, () => ferry[Symbol.asyncDispose]());
const rest = new RestClient(() => ferry.httpUrl);

/** Index builds of the destination hang where they are, or go on. */
async function hangBuilds(mode: 'alwaysOn' | 'off'): Promise<void> {
  await destination.db('admin').command({ configureFailPoint: 'hangAfterStartingIndexBuild', mode });
}

async function timed<T>(work: Promise<T>): Promise<{ readonly result: T; readonly ms: number }> {
  const started = performance.now();
  return { result: await work, ms: performance.now() - started };
}

async function buildBegins(): Promise<void> {
  await eventually(
    30_000,
    async () => {
      const builds = [{ $currentOp: { allUsers: true } }, { $match: { 'command.createIndexes': 'orders' } }];
      return (await destination.db('admin').aggregate(builds).toArray()).length > 0;
    },
    'the index build',
  );
}

test('a port that is taken ends the process with 1, since it may be free the next time', async () => {
  const starting = FerryProcess.between(pair, { flags: ['--port', new URL(ferry.httpUrl).port] });
  const error = await within(
    TEST_MS,
    starting.catch((reason: unknown) => reason),
    'the end',
  );
  assert.instance(error, FerryStartError);
  assert.is((error as FerryStartError).exit?.code, 1);
  assert.match((error as FerryStartError).message, /AddressInUse/);
});

test('the end of the process in the middle of a start leaves neither a record nor a block', async () => {
  const breakOff = async () => {
    await rest.waitFor('IDLE', ({ state }) => state === 'IDLE');
    await holdCommands(destination, { commands: ['setUserWriteBlockMode'], times: 1 }, 2500);
    const started = rest.post('start', '{"source":"cluster0","destination":"cluster1"}').catch(() => undefined);
    await storedWhen(destination, 'the record', () => true);
    assert.is(await ferry.stop(), 0);
    await started;
    assert.is(await storedMigration(destination), undefined);
    assert.not.ok(await isBlocked(destination));
    await ferry.restart();
  };
  await within(TEST_MS, breakOff(), 'the start');
});

test('a long index build holds up neither a pause nor the end of the process', async () => {
  const holdUp = async () => {
    await rest.waitFor('IDLE', ({ state }) => state === 'IDLE');
    await hangBuilds('alwaysOn');
    assert.is((await rest.post('start', '{"source":"cluster0","destination":"cluster1"}')).status, 200);
    await buildBegins();
    const paused = await timed(rest.post('pause'));
    assert.is(paused.result.status, 200);
    assert.ok(paused.ms < 8000, `the pause took ${Math.round(paused.ms)} ms`);
    assert.is((await rest.post('resume')).status, 200);
    await buildBegins();
    const stopped = await timed(ferry.stop());
    assert.is(stopped.result, 0);
    assert.ok(stopped.ms < 10_000, `the stop took ${Math.round(stopped.ms)} ms`);
    await ferry.restart();
    await hangBuilds('off');
    await rest.waitFor('canCommit', ({ canCommit }) => canCommit === true);
  };
  await within(TEST_MS, holdUp(), 'the pause and the stop');
});

test('while a cluster is down calls are told so within seconds, and the migration goes on after it', async () => {
  const outage = async () => {
    await pair.destination.kill();
    const calls = ['pause', 'check'].map(async (call) => {
      const body = call === 'check' ? '{"source":"cluster0","destination":"cluster1"}' : '{}';
      const { result, ms } = await timed(rest.post(call, body));
      const text = `${call}: ${JSON.stringify(result.body)}`;
      assert.equal([result.status, result.body['error']], [503, 'ClusterUnreachable'], text);
      assert.ok(ms < 25_000, `${call} took ${Math.round(ms)} ms`);
    });
    await Promise.all(calls);
    assert.is((await rest.progress()).state, 'RUNNING');
    await pair.destination.restart();
    await rest.waitFor('canCommit', ({ canCommit }) => canCommit === true, 60_000);
  };
  await within(TEST_MS, outage(), 'the outage');
});

test('a process that was stopped for longer than its lease finds that another one has it, and ends', async () => {
  const takeOver = async () => {
    const { exited, pid } = ferry;
    stopProcess(pid);
    const change = { $set: { owner: 'another one', pid: 1, bootId: 'elsewhere' }, $inc: { term: 1 } };
    const bypass = { mayBypassWriteBlocking: true };
    const updates = [{ q: { _id: 'lease' }, u: change }];
    assert.is((await destination.db(METADATA_DB).command({ update: 'lease', updates, ...bypass })).n, 1);
    process.kill(pid, 'SIGCONT');
    assert.is((await exited).code, 1);
    assert.ok(ferry.log.some(({ level, message }) => level === 'fatal' && message.includes('another process')));
    await storedWhen(destination, 'no failure', ({ failure }) => failure === undefined);
  };
  await within(TEST_MS, takeOver(), 'the end');
});

test.run();
