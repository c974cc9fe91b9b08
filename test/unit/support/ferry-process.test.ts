import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { FerryProcess, FerryStartError } from '../../support/ferry-process.js';
import { eventually, within } from '../../support/within.js';

const TEST_MS = 20_000;

let folder: string;

test.before(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'mongoferry-fake-'));
});

test.after(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** A program in the server's place. */
async function fake(name: string, script: string): Promise<string> {
  const file = path.join(folder, `${name}.cjs`);
  await writeFile(file, script);
  return file;
}

const LISTENING = `
const alive = setInterval(() => {}, 1000);
process.on('SIGTERM', () => { process.exitCode = 3; clearInterval(alive); });
console.error('a warning of Node');
console.log(JSON.stringify({ level: 'info', message: 'flags', flags: process.argv.slice(2) }));
console.log(JSON.stringify({ level: 'info', message: 'listening', grpcPort: 1000 + process.pid % 1000, httpPort: 8080 }));
`;

const CLUSTERS = { cluster0: 'mongodb://a', cluster1: 'mongodb://b' };

test('a process is given its flags, tells its ports, and stops with its exit code', async () => {
  const executable = await fake('listening', LISTENING);
  await using ferry = await FerryProcess.start({ ...CLUSTERS, executable, flags: ['--loadLevel', '2'] });
  assert.is(ferry.httpUrl, 'http://127.0.0.1:8080');
  assert.match(ferry.grpcTarget, /^127\.0\.0\.1:1\d\d\d$/);
  assert.equal(ferry.linesWith('flags')[0]?.fields['flags'], [
    ...['--cluster0', 'mongodb://a', '--cluster1', 'mongodb://b', '--port', '0', '--grpcPort', '0', '--loadLevel', '2'],
  ]);
  await eventually(TEST_MS, () => ferry.linesWith('a warning of Node').length === 1, 'a line of stderr');
  assert.is(await within(TEST_MS, ferry.stop(), 'stopping'), 3);
  assert.not.ok(ferry.running);
});

test('a killed process starts again as another one', async () => {
  const executable = await fake('listening', LISTENING);
  await using ferry = await FerryProcess.start({ ...CLUSTERS, executable });
  const before = ferry.pid;
  assert.equal(await within(TEST_MS, ferry.kill(), 'killing'), { code: null, signal: 'SIGKILL' });
  await within(TEST_MS, ferry.restart(), 'restarting');
  assert.is.not(ferry.pid, before);
  assert.ok(ferry.running);
  assert.is(ferry.linesWith('listening').length, 2);
});

test('a process that ends before it listens is an error with its output', async () => {
  const executable = await fake(
    'failing',
    `console.log('{"level":"fatal","message":"no such cluster"}'); process.exit(2);`,
  );
  const error = await FerryProcess.start({ ...CLUSTERS, executable }).then(() => undefined, asStartError);
  assert.equal(error?.exit, { code: 2, signal: null });
  assert.match(String(error), /ended with code 2 .*\n.*fatal no such cluster/);
});

test('a process that never listens is killed at the end of the wait', async () => {
  const executable = await fake('silent', 'setInterval(() => {}, 1000);');
  const error = await FerryProcess.start({ ...CLUSTERS, executable, readyMs: 300 }).then(() => undefined, asStartError);
  assert.equal(error?.exit, { code: null, signal: 'SIGKILL' });
});

test('an aborted signal ends the process', async () => {
  const executable = await fake('listening', LISTENING);
  const stop = new AbortController();
  await using ferry = await FerryProcess.start({ ...CLUSTERS, executable, signal: stop.signal });
  stop.abort();
  assert.is((await within(TEST_MS, ferry.exited, 'the end')).signal, 'SIGKILL');
});

function asStartError(error: unknown): FerryStartError {
  assert.instance(error, FerryStartError);
  return error as FerryStartError;
}

test.run();
