/** Runs the built server as a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { mkdtemp, realpath, rm, symlink } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { startWatchdog, type Watchdog } from './watchdog.js';
import { DeadlineError, within } from './within.js';

/** What a server under test is started with. */
export interface FerryOptions {
  /** Connection string of the cluster that is read. */
  readonly cluster0: string;
  /** Connection string of the cluster that is written. */
  readonly cluster1: string;
  /** Further flags, after the ones this module gives. */
  readonly flags?: readonly string[];
  /** Added to this process's environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** The program. Default: `$MONGOFERRY`, or `dist/mongoferry` of this project. */
  readonly executable?: string;
  /** Longest wait until both ports are open, in milliseconds. Default 30000. */
  readonly readyMs?: number;
  /** Kills the process, and rejects a start under way, once it aborts. */
  readonly signal?: AbortSignal | undefined;
}

/** One line of the server's log. */
export interface LogLine {
  readonly level: string;
  readonly message: string;
  /** Everything the line holds; of a line that is no JSON: `{message}`. */
  readonly fields: Readonly<Record<string, unknown>>;
}

/** How a process ended: by itself with a code, or by a signal. */
export interface ProcessExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** The server did not open its ports; the message holds the end of its output. */
export class FerryStartError extends Error {
  override readonly name = 'FerryStartError';

  constructor(
    what: string,
    readonly exit: ProcessExit | undefined,
    output: readonly string[],
  ) {
    super(`${what}\n  ${output.slice(-20).join('\n  ')}`);
  }
}

const READY_MS = 30_000;
const STOP_MS = 15_000;
const KEPT_LINES = 5_000;

/** The program that {@link FerryProcess} starts unless told otherwise. */
export function ferryExecutable(): string {
  return process.env['MONGOFERRY'] ?? path.join(import.meta.dirname, '..', '..', '..', 'dist', 'mongoferry');
}

/** A folder whose watchdog ends the process should this one be killed before it can. */
interface Home {
  readonly folder: string;
  readonly watchdog: Watchdog;
}

interface Run {
  readonly child: ChildProcess;
  readonly exited: Promise<ProcessExit>;
  readonly grpcPort: number;
  readonly httpPort: number;
}

/**
 * A mongoferry server as users run it: the built executable in a process of its own, on free ports of 127.0.0.1.
 *
 * The process ends with {@link kill}, {@link stop} or disposal, and at the latest with this process, however that ends:
 * a watchdog sees to it.
 */
export class FerryProcess implements AsyncDisposable {
  readonly #options: FerryOptions;
  /** The last 5000 lines of all runs, oldest first: the log, and what came on stderr. */
  readonly log: LogLine[] = [];
  readonly #home: Home;
  #run: Run | undefined;

  private constructor(options: FerryOptions, home: Home) {
    this.#options = options;
    this.#home = home;
  }

  /** Starts a server that migrates from the first set to the second. Errors: as {@link FerryProcess.start}. */
  static async between(
    pair: { readonly source: { readonly uri: string }; readonly destination: { readonly uri: string } },
    options: Omit<FerryOptions, 'cluster0' | 'cluster1'> = {},
  ): Promise<FerryProcess> {
    return await FerryProcess.start({ cluster0: pair.source.uri, cluster1: pair.destination.uri, ...options });
  }

  /**
   * Starts the server and resolves once both its ports are open.
   * Errors: {@link FerryStartError}; the signal's reason once it aborts. Then no process is left.
   */
  static async start(options: FerryOptions): Promise<FerryProcess> {
    const { executable = ferryExecutable() } = options;
    const folder = await mkdtemp(path.join(await realpath(os.tmpdir()), 'mongoferry-server-'));
    const ferry = new FerryProcess(options, { folder, watchdog: startWatchdog(folder) });
    try {
      // The watchdog kills only what names its folder.
      await symlink(path.resolve(executable), path.join(folder, 'mongoferry'));
      await ferry.restart();
      return ferry;
    } catch (error) {
      await ferry[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** `127.0.0.1:<port>` for gRPC clients. Changes at every restart, as {@link httpUrl} does. */
  get grpcTarget(): string {
    return `127.0.0.1:${this.#current.grpcPort}`;
  }

  /** `http://127.0.0.1:<port>`, without a slash at its end. */
  get httpUrl(): string {
    return `http://127.0.0.1:${this.#current.httpPort}`;
  }

  get pid(): number {
    const { pid } = this.#current.child;
    if (pid === undefined) throw new Error('the server has no pid');
    return pid;
  }

  /** Whether the process has not ended yet. */
  get running(): boolean {
    const child = this.#run?.child;
    return child !== undefined && child.exitCode === null && child.signalCode === null;
  }

  /** Resolves when the present run of the process ends, by itself or not. */
  get exited(): Promise<ProcessExit> {
    return this.#current.exited;
  }

  /** Lines whose message holds `text`. */
  linesWith(text: string): LogLine[] {
    return this.log.filter(({ message }) => message.includes(text));
  }

  /** Ends the process by SIGKILL, as a crash would, and resolves once it is gone. Does nothing to one that ended. */
  async kill(): Promise<ProcessExit> {
    this.#current.child.kill('SIGKILL');
    return await this.exited;
  }

  /**
   * Asks the process to end (SIGTERM) and resolves with its exit code, null if a signal ended it.
   * Errors: DeadlineError when it has not ended after 15 s; it is killed then.
   */
  async stop(): Promise<number | null> {
    this.#current.child.kill('SIGTERM');
    try {
      const exit = await within(STOP_MS, this.exited, 'the end of mongoferry after SIGTERM');
      return exit.code;
    } catch (error) {
      await this.kill();
      throw error;
    }
  }

  /** Starts the process again with the same flags, on new ports, killing it first if it runs. Errors: as {@link start}. */
  async restart(): Promise<void> {
    if (this.#run !== undefined) await this.kill();
    const { signal, readyMs = READY_MS } = this.#options;
    signal?.throwIfAborted();
    const child = this.#spawn();
    const exited = exitOf(child);
    const kill = () => child.kill('SIGKILL');
    signal?.addEventListener('abort', kill, { once: true });
    void exited.then(() => signal?.removeEventListener('abort', kill));
    try {
      const ports = await within(readyMs, this.#listening(child, exited), 'mongoferry listening');
      this.#run = { child, exited, ...ports };
    } catch (error) {
      kill();
      const exit = await exited;
      signal?.throwIfAborted();
      if (!(error instanceof DeadlineError)) throw error;
      throw new FerryStartError(error.message, exit, this.#lastOutput());
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#run !== undefined) await this.kill();
    this.#home.watchdog.release();
    await rm(this.#home.folder, { recursive: true, force: true });
  }

  get #current(): Run {
    if (this.#run === undefined) throw new Error('the server was never started');
    return this.#run;
  }

  #spawn(): ChildProcess {
    const { cluster0, cluster1, flags = [], env } = this.#options;
    const executable = path.join(this.#home.folder, 'mongoferry');
    const ours = ['--cluster0', cluster0, '--cluster1', cluster1, '--port', '0', '--grpcPort', '0'];
    // By Node itself rather than the file's first line, so that the pid is the server's under any installation.
    const child = spawn(process.execPath, [executable, ...ours, ...flags], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    // At once, before anything is awaited: the caller listens for the child's events from here on.
    if (child.pid !== undefined) writeFileSync(path.join(this.#home.folder, 'server.pid'), `${child.pid}\n`);
    return child;
  }

  /** Reads both outputs for as long as the process lives; resolves with the ports of the line that names them. */
  #listening(child: ChildProcess, exited: Promise<ProcessExit>): Promise<{ grpcPort: number; httpPort: number }> {
    return new Promise((resolve, reject) => {
      child.once('error', reject);
      if (child.stdout === null || child.stderr === null) throw new Error('the server has no pipes');
      createInterface({ input: child.stderr }).on('line', (text) => this.#keep(asText(text)));
      createInterface({ input: child.stdout }).on('line', (text) => {
        const line = parseLine(text);
        this.#keep(line);
        const { grpcPort, httpPort } = line.fields;
        if (line.message === 'listening' && typeof grpcPort === 'number' && typeof httpPort === 'number') {
          resolve({ grpcPort, httpPort });
        }
      });
      void exited.then((exit) => {
        const how = exit.signal === null ? `with code ${exit.code}` : `by ${exit.signal}`;
        reject(new FerryStartError(`mongoferry ended ${how} before it listened`, exit, this.#lastOutput()));
      });
    });
  }

  #keep(line: LogLine): void {
    this.log.push(line);
    if (this.log.length > KEPT_LINES) this.log.splice(0, this.log.length - KEPT_LINES);
  }

  #lastOutput(): string[] {
    return this.log.map(({ level, message, fields }) => {
      const { time: _time, level: _level, message: _message, ...rest } = fields;
      return `${level} ${message} ${JSON.stringify(rest)}`;
    });
  }
}

/** Resolves once the process is gone and its output was read to the end; also when it could not be started at all. */
function exitOf(child: ChildProcess): Promise<ProcessExit> {
  return new Promise((resolve) => {
    child.once('close', (code, signal) => resolve({ code, signal }));
    child.once('error', () => resolve({ code: null, signal: null }));
  });
}

function parseLine(text: string): LogLine {
  try {
    const fields = JSON.parse(text) as Record<string, unknown>;
    return { level: String(fields['level']), message: String(fields['message']), fields };
  } catch (error) {
    if (error instanceof SyntaxError) return asText(text);
    throw error;
  }
}

function asText(text: string): LogLine {
  return { level: 'output', message: text, fields: { message: text } };
}
