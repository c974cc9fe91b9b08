import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { Writable } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openLogFile, rotateOnSignal, stdoutSink } from '../../../src/lib/log-file.js';
import { eventually } from '../../support/within.js';

const WAIT_MS = 20_000;

const suite: { directory: string } = { directory: '' };
test.before.each(() => {
  suite.directory = fs.mkdtempSync(path.join(os.tmpdir(), 'mongoferry-log-'));
});
test.after.each(() => {
  fs.rmSync(suite.directory, { recursive: true, force: true });
});

/** A clock that moves a second at every look. */
function tickingClock() {
  let seconds = 0;
  return { now: () => new Date(Date.UTC(2024, 0, 1, 0, 0, seconds++)), monotonicMs: () => 0 };
}

const current = (): string => fs.readFileSync(path.join(suite.directory, 'mongosync.log'), 'utf8');
const rotated = (): string[] =>
  fs
    .readdirSync(suite.directory)
    .filter((name) => name !== 'mongosync.log')
    .sort();

test('makes the directory, writes at once, and sets aside what an earlier process has written', async () => {
  const directory = path.join(suite.directory, 'a', 'b');
  for (const line of ['one\n', 'two\n']) {
    const sink = openLogFile({ directory });
    sink.write(line);
    assert.is(fs.readFileSync(path.join(directory, 'mongosync.log'), 'utf8'), line);
    await sink.close();
  }
  const names = fs.readdirSync(directory).filter((name) => name !== 'mongosync.log');
  assert.is(names.length, 1);
  assert.match(names[0] ?? '', /^mongosync-.*\.log\.gz$/);
  assert.is(gunzipSync(fs.readFileSync(path.join(directory, names[0] ?? ''))).toString(), 'one\n');
});

test('files of two names in one folder do not count, and delete, each other', async () => {
  const open = (name: string) =>
    openLogFile({ directory: suite.directory, name, maxBytes: 4, keep: 1, clock: tickingClock() });
  const [log, metrics] = [open('mongosync'), open('mongosync_metrics')];
  for (const sink of [log, metrics, log, metrics, log, metrics]) sink.write('abc\n');
  await log.close();
  await metrics.close();
  assert.equal(fs.readdirSync(suite.directory).sort(), [
    'mongosync-2024-01-01T00-00-01.000.log.gz',
    'mongosync.log',
    'mongosync_metrics-2024-01-01T00-00-01.000.log.gz',
    'mongosync_metrics.log',
  ]);
});

/** A standard output that keeps what is written. */
function fakeOutput(isTTY: boolean) {
  let written = '';
  const stream = new Writable({
    decodeStrings: false,
    write: (text: string, _encoding, done) => {
      written += text;
      done();
    },
  });
  return { out: Object.assign(stream, { isTTY }), text: () => written };
}

test('standard output is JSON for programs, and readable for people at a terminal', () => {
  const line =
    '{"time":"2024-05-06T07:08:09.123000+00:00","level":"warn","serverID":"ab","mongosyncID":"c","pid":1,' +
    '"componentName":"copy","message":"slow \\u001b[2J","ms":12,"ns":"a.b","why":"two words","gone":null}\n';
  const pipe = fakeOutput(false);
  stdoutSink(pipe.out).write(line);
  assert.is(pipe.text(), line);
  const terminal = fakeOutput(true);
  stdoutSink(terminal.out).write(line);
  assert.is(terminal.text(), '07:08:09.123Z WARN  copy       slow \\x1b[2J ms=12 ns=a.b why="two words"\n');
});

test('a full file is renamed, compressed, and the oldest are deleted', async () => {
  const sink = openLogFile({ directory: suite.directory, maxBytes: 10, keep: 2, clock: tickingClock() });
  for (const line of ['aaaaaaa\n', 'bbbbbbb\n', 'ccccccc\n', 'ddddddd\n']) sink.write(line);
  await sink.close();
  assert.is(current(), 'ddddddd\n');
  assert.equal(rotated(), ['mongosync-2024-01-01T00-00-01.000.log.gz', 'mongosync-2024-01-01T00-00-02.000.log.gz']);
  const last = fs.readFileSync(path.join(suite.directory, rotated().at(-1) ?? ''));
  assert.is(gunzipSync(last).toString(), 'ccccccc\n');
});

test('a line larger than the limit is written whole', async () => {
  const sink = openLogFile({ directory: suite.directory, maxBytes: 4 });
  sink.write('much too long\n');
  await sink.close();
  assert.is(current(), 'much too long\n');
  assert.equal(rotated(), []);
});

test('two rotations within one millisecond keep both files', async () => {
  const clock = { now: () => new Date(0), monotonicMs: () => 0 };
  const sink = openLogFile({ directory: suite.directory, clock });
  for (const line of ['a\n', 'b\n']) {
    sink.write(line);
    sink.rotate();
  }
  await sink.close();
  assert.is(rotated().length, 2);
});

test('SIGUSR1 rotates, until told to stop', async () => {
  const sink = openLogFile({ directory: suite.directory });
  const listenersBefore = process.listenerCount('SIGUSR1');
  const stop = rotateOnSignal(sink);
  sink.write('before\n');
  process.kill(process.pid, 'SIGUSR1');
  await eventually(WAIT_MS, () => current() === '', 'the rotation', { everyMs: 5 });
  sink.write('after\n');
  stop();
  await sink.close();
  assert.is(current(), 'after\n');
  assert.is(rotated().length, 1);
  assert.is(process.listenerCount('SIGUSR1'), listenersBefore);
});

test('a directory that nobody can make is an error, and no endless wait', () => {
  for (const directory of ['/proc/mongoferry', '/proc/mongoferry/logs'])
    assert.throws(() => openLogFile({ directory }), /ENOENT|EACCES|EPERM|EROFS/);
  const deep = path.join(suite.directory, 'a', 'b');
  void openLogFile({ directory: deep }).close();
  assert.ok(fs.existsSync(path.join(deep, 'mongosync.log')));
});

test('what nobody reads of standard output is bounded, and said once somebody does', async () => {
  const taken: string[] = [];
  let proceed = (): void => undefined;
  const stdout = new Writable({
    decodeStrings: false,
    write: (chunk: string, _encoding, done) => {
      taken.push(chunk);
      proceed = done;
    },
  });
  const sink = stdoutSink(stdout);
  const line = `${'x'.repeat(1023)}\n`;
  for (let i = 0; i < 5000; i++) sink.write(line);
  assert.ok(stdout.writableLength < 1.1 * 1024 * 1024);
  while (stdout.writableLength > 0) {
    proceed();
    await turn();
  }
  sink.write('later\n');
  assert.match(
    taken.at(-1) ?? '',
    /"\d+ lines of the log are missing here.*\nlater\n$|lines of the log are missing here/s,
  );
});

test('a write that fails does not throw', async () => {
  const sink = openLogFile({ directory: suite.directory, maxBytes: 1 });
  sink.write('x\n');
  fs.rmSync(suite.directory, { recursive: true });
  sink.write('y\n');
  await sink.close();
});

test.run();
