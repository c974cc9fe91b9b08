/** Runs a server as mongosync's user interfaces do: by a configuration file. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, realpath, rm, symlink } from 'node:fs/promises';
import { createServer } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { ferryExecutable } from './ferry-process.js';
import { startWatchdog, type Watchdog } from './watchdog.js';
import { within } from './within.js';

const END_MS = 20_000;

/** A line of `mongosync.log`. */
export type LogEntry = Readonly<Record<string, unknown>> & { readonly time: string; readonly message: string };

/**
 * A server as user interfaces for mongosync run it: by `--config FILE` alone, with its log in a folder. It ends with
 * disposal, and at the latest with this process.
 */
export class ConfiguredFerry implements AsyncDisposable {
  readonly folder: string;
  readonly #watchdog: Watchdog;
  #child: ChildProcess | undefined;
  #stdout = '';

  private constructor(folder: string, watchdog: Watchdog) {
    this.folder = folder;
    this.#watchdog = watchdog;
  }

  /** Writes the file from `settings`, adding `logPath`, and starts the server; it need not answer yet. */
  static async start(settings: Readonly<Record<string, string | number | boolean>>): Promise<ConfiguredFerry> {
    const folder = await mkdtemp(path.join(await realpath(os.tmpdir()), 'mongoferry-configured-'));
    const ferry = new ConfiguredFerry(folder, startWatchdog(folder));
    await symlink(path.resolve(ferryExecutable()), path.join(folder, 'mongosync'));
    const all = { ...settings, logPath: folder };
    const lines = Object.entries(all).map(([name, value]) => `${name}: ${JSON.stringify(value)}\n`);
    writeFileSync(path.join(folder, 'mongosync.yaml'), lines.join(''), { mode: 0o600 });
    ferry.spawn();
    return ferry;
  }

  /** Starts it again, after it has ended. */
  spawn(): void {
    const args = [path.join(this.folder, 'mongosync'), '--config', path.join(this.folder, 'mongosync.yaml')];
    const child = spawn(process.execPath, args, { cwd: this.folder, stdio: ['ignore', 'pipe', 'inherit'] });
    if (child.pid !== undefined) writeFileSync(path.join(this.folder, 'server.pid'), `${child.pid}\n`);
    child.stdout.on('data', (chunk: Buffer) => {
      this.#stdout += chunk.toString('utf8');
    });
    this.#child = child;
  }

  /** What it has written to standard output. */
  get stdout(): string {
    return this.#stdout;
  }

  /** Sends the signal and resolves with the exit code. */
  async stop(signal: NodeJS.Signals): Promise<number | null> {
    this.#child?.kill(signal);
    return await this.ended();
  }

  /** Resolves with the exit code once it has ended. */
  async ended(): Promise<number | null> {
    const child = this.#child;
    if (child === undefined) return null;
    if (child.exitCode === null && child.signalCode === null) await within(END_MS, once(child, 'close'), 'its end');
    return child.exitCode;
  }

  /** The lines of a file in its folder. */
  entries(name = 'mongosync.log'): LogEntry[] {
    const file = path.join(this.folder, name);
    if (!existsSync(file)) return [];
    const lines = readFileSync(file, 'utf8').split('\n');
    return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as LogEntry);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child?.kill('SIGKILL');
    await this.ended();
    this.#watchdog.release();
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** The first of two ports in a row, from `from` to `to`, that are both free. */
export async function twoPorts(from: number, to: number): Promise<number> {
  for (let port = from; port < to; port++) if ((await isFree(port)) && (await isFree(port + 1))) return port;
  throw new Error(`no two ports in a row are free from ${from} to ${to}`);
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  const listening = new Promise<boolean>((resolve) => {
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => resolve(true));
  });
  const isListening = await listening;
  if (isListening) await new Promise((resolve) => server.close(resolve));
  return isListening;
}
