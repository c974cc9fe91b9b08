import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { assertEqualClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS, holdCommands, releaseCommands } from '../support/fail-points.js';
import { CliCommand, type CliRun } from '../support/ferry-cli.js';
import { FerryClient, withClient } from '../support/ferry-client.js';
import { FerryProcess } from '../support/ferry-process.js';
import { sharedPair } from '../support/shared-servers.js';
import { storedWhen } from '../support/stored-migration.js';
import { within } from '../support/within.js';

const TEST_MS = 60_000;
const HOLD_MS = 4000;

const { pair, source, destination } = await sharedPair(test, { setParameters: FAIL_POINTS });

test.before.each(async () => {
  const items = source.db('shop').collection('items');
  await items.insertMany(Array.from({ length: 5000 }, (_, n) => ({ n, pad: 'x'.repeat(100) })));
  await items.createIndex({ n: 1 }, { unique: true });
});

type Run = (...words: string[]) => Promise<CliRun>;

/** A server that is IDLE, and the way to run commands against it. */
async function withServer(work: (run: Run, ferry: FerryProcess) => Promise<void>, flags: string[] = []): Promise<void> {
  await using ferry = await FerryProcess.between(pair, { flags });
  using client = new FerryClient(ferry.grpcTarget);
  await client.waitForState('IDLE');
  await work((...words) => new CliCommand([...words, '--target', ferry.grpcTarget]).ended, ferry);
}

/** Asked for without the command, which is a process each time; then once by it. */
async function untilCanCommit(run: Run, ferry: FerryProcess): Promise<void> {
  await withClient(ferry, (client) => client.waitForCanCommit());
  assert.is(JSON.parse((await run('progress', '--output', 'json')).stdout).progress.canCommit, true);
}

async function checkCommand(run: Run): Promise<void> {
  const clean = await run('check');
  assert.equal([clean.code, clean.stderr], [0, '']);
  assert.match(clean.stdout, /^SEVERITY +FINDING +DESCRIPTION\nwarning +ShortOplogWindow +the source's oplog/);
  assert.match(clean.stdout, /\n +do: /);
  assert.match(clean.stdout, /\nA start with these options would be accepted\.\n$/);
  await destination.db('left').collection('over').insertOne({ a: 1 });
  const refused = await run('check');
  assert.equal([refused.code, refused.stderr], [1, '']);
  assert.match(refused.stdout, /\nblocker +DestinationNotEmpty +the destination holds 1 collections/);
  assert.match(refused.stdout, /\n +in: left\.over\n/);
  assert.match(refused.stdout, /would be refused\.\n$/);
  const json = await run('check', '--output', 'json');
  assert.is(json.code, 1);
  const { success, ok, findings } = JSON.parse(json.stdout);
  assert.equal([success, ok, findings[0].name], [true, false, 'DestinationNotEmpty']);
  const start = await run('start');
  assert.equal([start.code, start.stdout], [1, '']);
  assert.match(start.stderr, /^mongoferry: DestinationNotEmpty: the destination holds 1 collections/);
  await destination.db('left').dropDatabase();
}

test('check prints its findings as a table, and its exit code says whether a start would be accepted', async () => {
  await within(TEST_MS, withServer(checkCommand), 'the checks');
});

async function startAndLook(run: Run): Promise<void> {
  await holdCommands(destination, { commands: ['insert'] }, HOLD_MS);
  assert.equal(await run('start'), { code: 0, stdout: 'started\n', stderr: '' });
  const text = await run('progress');
  assert.equal([text.code, text.stderr], [0, '']);
  assert.match(text.stdout, /^RUNNING, collection copy, cluster0: 127\.0\.0\.1:\d+ to cluster1: 127\.0\.0\.1:\d+/);
  const early = await run('commit');
  assert.equal([early.code, early.stdout], [1, '']);
  assert.match(early.stderr, /^mongoferry: InvalidStateTransition: .*canCommit is false/);
  const other = await run('start', '--enableUserWriteBlocking', 'none', '--output', 'json');
  assert.equal([other.code, other.stderr], [1, '']);
  assert.equal([JSON.parse(other.stdout).success, JSON.parse(other.stdout).error], [false, 'OptionsDiffer']);
  await releaseCommands(destination);
}

async function everyCommand(run: Run, ferry: FerryProcess): Promise<void> {
  await startAndLook(run);
  const watching = new CliCommand(['progress', '--watch', '--target', ferry.grpcTarget]);
  await untilCanCommit(run, ferry);
  assert.equal(await run('pause'), { code: 0, stdout: 'paused\n', stderr: '' });
  const twice = await run('pause');
  assert.is(twice.code, 1);
  assert.match(twice.stderr, /^mongoferry: InvalidStateTransition: pause is not permitted in state PAUSED/);
  assert.match((await run('progress')).stdout, /^PAUSED, /);
  assert.equal(await run('resume'), { code: 0, stdout: 'resumed\n', stderr: '' });
  await untilCanCommit(run, ferry);
  const committed = await run('commit', '--wait');
  assert.equal([committed.code, committed.stderr], [0, '']);
  assert.match(committed.stdout.trim().split('\n').at(-1) ?? '', /^COMMITTED, commit completed, .*can write/);

  const watched = await watching.ended;
  assert.equal([watched.code, watched.stderr], [0, '']);
  const lines = watched.stdout.trim().split('\n');
  for (const state of ['RUNNING', 'PAUSED', 'COMMITTED']) {
    assert.ok(
      lines.some((line) => line.startsWith(`${state}, `)),
      `${state} in:\n${watched.stdout}`,
    );
  }
  assert.match(lines.at(-1) ?? '', /^COMMITTED, /);
  assert.not.ok(watched.stdout.includes('\u001b'), 'no terminal codes in a pipe');
  assert.not.ok(
    lines.some((line, index) => line === lines[index - 1]),
    'a line for each change only',
  );
  assert.is((await run('reverse')).code, 1);
  assert.is((await run('start')).code, 1);
  await assertEqualClusters(source, destination);
}

test('a whole migration by the commands: start, progress, pause, resume, commit, with their texts and exit codes', async () => {
  await within(TEST_MS, withServer(everyCommand), 'the migration');
});

async function failWhileWaiting(run: Run, ferry: FerryProcess): Promise<void> {
  assert.is((await run('start', '--verification=false')).code, 0);
  await untilCanCommit(run, ferry);
  await holdCommands(destination, { commands: ['collMod'], times: 1 }, HOLD_MS);
  const waiting = run('commit', '--wait');
  await storedWhen(destination, 'the restoring', ({ commit }) => commit?.step === 'restore');
  await source.db('shop').collection('items').insertOne({ n: 'late' });
  const failed = await waiting;
  assert.is(failed.code, 1);
  assert.match(failed.stderr, /^mongoferry: MigrationFailed: SourceModifiedAfterCommit: /);
  const watched = await run('progress', '--watch');
  assert.is(watched.code, 1);
  assert.match(watched.stdout, /FAILED SourceModifiedAfterCommit/);
  const pause = await run('pause');
  assert.is(pause.code, 1);
  assert.match(pause.stderr, /^mongoferry: MigrationFailed: /);
}

test('commit --wait ends with 1 and the cause when the migration fails meanwhile', async () => {
  await within(TEST_MS, withServer(failWhileWaiting, ['--stayUpOnFailure']), 'the failure');
});

test('usage errors end with 2, a server that is not there with 3', async () => {
  const check = async () => {
    const usage = [
      ['strat'],
      ['start', '--nonsense'],
      ['start', '--includeNamespaces', '{'],
      ['start', '--reversible=maybe'],
      ['progress', '--output', 'xml'],
    ];
    for (const words of usage) {
      const { code, stdout, stderr } = await new CliCommand(words).ended;
      assert.equal([code, stdout], [2, ''], words.join(' '));
      assert.ok(stderr.length > 0, words.join(' '));
    }
    const calls = [['progress'], ['check'], ['start'], ['pause'], ['commit', '--wait'], ['progress', '--watch']];
    const ends = calls.map(async (words) => {
      const { code, stderr } = await new CliCommand([...words, '--target', '127.0.0.1:1']).ended;
      assert.is(code, 3, words.join(' '));
      assert.match(stderr, /^mongoferry: Unreachable: no answer from a server at 127\.0\.0\.1:1/);
    });
    await Promise.all(ends);
  };
  await within(TEST_MS, check(), 'the refusals');
});

test("a start request may come from a file on standard input, with mongosync's commas, and flags replace its fields", async () => {
  const check = async (_run: Run, ferry: FerryProcess) => {
    const words = ['start', '--file', '-', '--target', ferry.grpcTarget];
    const input = '{"source": "cluster0", "destination": "cluster1", "enableUserWriteBlocking": "none",}';
    const bad = await new CliCommand([...words, '--reversible'], { input }).ended;
    assert.is(bad.code, 1);
    assert.match(bad.stderr, /^mongoferry: InvalidRequest\n {2}reversible: needs enableUserWriteBlocking/);
    assert.equal(await new CliCommand(words, { input }).ended, { code: 0, stdout: 'started\n', stderr: '' });
    const record = await storedWhen(destination, 'the record', () => true);
    assert.is(JSON.parse(String(record['options'])).writeBlocking, 'none');
  };
  await within(TEST_MS, withServer(check), 'the start');
});

test.run();
