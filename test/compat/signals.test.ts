import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { sendHttp } from '../support/api-doors.js';
import { ferryExecutable } from '../support/ferry-process.js';
import { eventually, within } from '../support/within.js';

const WAIT_MS = 60_000;
/** Of clusters that refuse connections: the server opens its doors and waits for them. */
const NOWHERE = ['--cluster0', 'mongodb://127.0.0.1:1', '--cluster1', 'mongodb://127.0.0.1:2'];
const ARGS = [...NOWHERE, '--port', '0', '--grpcPort', '0', '--verbosity', 'DEBUG'];

interface Server extends Disposable {
  readonly child: ChildProcess;
  readonly stderr: string[];
  /** Its code, or the signal that ended it. */
  readonly ended: Promise<number | string | null>;
}

/** A server whose standard output is a pipe that nobody reads, until the test does; `hook` runs in it before it does. */
function startServer(hook?: string): Server {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'mongoferry-signals-'));
  const hookFile = path.join(folder, 'hook.cjs');
  writeFileSync(hookFile, hook ?? '');
  const options = ['--require', hookFile];
  const child = spawn(process.execPath, [...options, ferryExecutable(), ...ARGS], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const stderr: string[] = [];
  child.stderr?.on('data', (chunk: Buffer) => stderr.push(chunk.toString()));
  const ended = once(child, 'exit').then(([code, signal]) => (code ?? signal) as number | string | null);
  const dispose = (): void => {
    child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  };
  return { child, stderr, ended, [Symbol.dispose]: dispose };
}

/** Reads the log until the line that names the HTTP port. */
async function portOf({ child }: Server): Promise<number> {
  if (child.stdout === null) throw new Error('no pipe');
  const lines = createInterface({ input: child.stdout });
  const port = await within(
    WAIT_MS,
    (async () => {
      for await (const line of lines) {
        const { httpPort } = JSON.parse(line) as { httpPort?: number };
        if (httpPort !== undefined) return httpPort;
      }
      throw new Error('the server ended');
    })(),
    'the doors of the server',
  );
  child.stdout.pause();
  return port;
}

test('SIGUSR1 has a handler of ours before anything is loaded', async () => {
  using server = startServer(`
    const original = process.getBuiltinModule;
    process.getBuiltinModule = (name) => {
      process.getBuiltinModule = original;
      process.stderr.write('handlers: ' + process.listenerCount('SIGUSR1') + '\\n');
      return original(name);
    };
  `);
  const said = await eventually(WAIT_MS, () => /handlers: (\d+)/.exec(server.stderr.join('')), 'the hook');
  assert.is(said[1], '1');
});

test('SIGUSR1, SIGUSR2 and SIGHUP are harmless, from the time at which modules are loaded', async () => {
  using server = startServer(`
    const { Module } = require('node:module');
    const load = Module._load;
    Module._load = (request, ...args) => {
      if (/http2/.test(request)) {
        Module._load = load;
        for (const name of ['SIGUSR1', 'SIGUSR2', 'SIGHUP']) process.kill(process.pid, name);
      }
      return load(request, ...args);
    };
  `);
  const port = await portOf(server);
  for (const name of ['SIGUSR1', 'SIGUSR2', 'SIGHUP'] as const) server.child.kill(name);
  const answer = await within(WAIT_MS, sendHttp(port, { path: '/healthz' }), 'an answer');
  assert.is(answer.status, 200);
  assert.not.match(server.stderr.join(''), 'Debugger');
  server.child.kill('SIGTERM');
  server.child.stdout?.resume();
  assert.is(await within(WAIT_MS, server.ended, 'the end'), 0);
});

test('SIGTERM that comes while modules are loaded ends the process with 0', async () => {
  using server = startServer(`
    const { Module } = require('node:module');
    const load = Module._load;
    Module._load = (request, ...args) => {
      if (/http2/.test(request)) {
        Module._load = load;
        process.kill(process.pid, 'SIGTERM');
      }
      return load(request, ...args);
    };
  `);
  server.child.stdout?.resume();
  assert.is(await within(WAIT_MS, server.ended, 'the end'), 0);
});

test('SIGTERM ends the process with 0 while nobody reads its full standard output', async () => {
  using server = startServer();
  const port = await portOf(server);
  const body = `{${Array.from({ length: 20 }, (_, i) => `"${'f'.repeat(90)}${i}":1`).join()}}`;
  const full = async (): Promise<boolean> => {
    await Promise.all(
      Array.from({ length: 40 }, () => sendHttp(port, { method: 'POST', path: '/api/v1/start', body })),
    );
    return (server.child.stdout?.readableLength ?? 0) > 0;
  };
  // Each refusal is a line of some 3 kB; the pipe takes 64 KiB, and this side as much before it is full.
  for (let round = 0; round < 4; round++) await within(WAIT_MS, full(), 'refused calls');
  server.child.kill('SIGTERM');
  assert.is(await within(WAIT_MS, server.ended, 'the end'), 0);
});

test.run();
