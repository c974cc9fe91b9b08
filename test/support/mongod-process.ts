/** Runs one mongod that can be killed, paused and started again. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, open, readFile, stat } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import type { MongodBinary } from './mongod-binary.js';
import { stopProcess } from './stop-process.js';
import { eventually } from './within.js';

/** A mongod that ended or hung before it took connections; the message holds the last lines of its log. */
export class MongodStartError extends Error {
  override readonly name = 'MongodStartError';

  constructor(
    message: string,
    /** Whether another program had the port. */
    readonly portTaken: boolean,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** What one mongod is started with. */
export interface MongodOptions {
  readonly binary: MongodBinary;
  /** Folder of the set: data, log and pid file of the mongod go there, under `name`. */
  readonly folder: string;
  readonly name: string;
  /** All flags but those for port, address, data and log. */
  readonly flags: readonly string[];
  readonly signal?: AbortSignal | undefined;
}

/** One server of a set: what {@link MongodProcess} starts, or what somebody else started. */
export interface Mongod {
  readonly port: number;
  /** `127.0.0.1:<port>` */
  readonly host: string;
  readonly pid: number;
  readonly running: boolean;
  readonly dbPath: string;
  readonly logPath: string;
  run(): Promise<void>;
  kill(): Promise<void>;
  pause(): void;
  resume(): void;
}

/** A server that another process keeps alive: it can be paused, but neither killed nor started again. */
export class LentMongod implements Mongod {
  readonly running = true;
  readonly port: number;
  readonly host: string;
  readonly pid: number;
  readonly dbPath: string;
  readonly logPath: string;

  constructor({ port, host, pid, dbPath, logPath }: Pick<Mongod, 'port' | 'host' | 'pid' | 'dbPath' | 'logPath'>) {
    this.port = port;
    this.host = host;
    this.pid = pid;
    this.dbPath = dbPath;
    this.logPath = logPath;
  }

  async run(): Promise<void> {
    throw new Error(`${this.host} is lent and runs: a set that a test restarts is asked for with \`own: true\``);
  }

  async kill(): Promise<void> {
    throw new Error(`${this.host} is lent: a set that a test kills is asked for with \`own: true\``);
  }

  pause(): void {
    stopProcess(this.pid);
  }

  resume(): void {
    process.kill(this.pid, 'SIGCONT');
  }
}

const START_MS = 60_000;
const PORT_TRIES = 10;
const LOG_TAIL_LINES = 25;
const LOG_LINE_LENGTH = 400;

/** One mongod on 127.0.0.1 that can be killed, started again on the same port and data, and paused. */
export class MongodProcess implements Mongod {
  readonly port: number;
  readonly dbPath: string;
  readonly logPath: string;
  readonly #pidPath: string;
  readonly #options: MongodOptions;
  #child: ChildProcess | undefined;
  #pid = 0;

  private constructor(port: number, options: MongodOptions) {
    this.port = port;
    this.dbPath = path.join(options.folder, options.name);
    this.logPath = `${this.dbPath}.log`;
    this.#pidPath = `${this.dbPath}.pid`;
    this.#options = options;
  }

  /**
   * Starts a mongod on a free port and resolves once it takes connections.
   *
   * Errors: {@link MongodStartError}; the signal's reason once it aborts. Then no process is left.
   */
  static async start(options: MongodOptions): Promise<MongodProcess> {
    for (let tries = 1; ; tries += 1) {
      const mongod = new MongodProcess(await freePort(), options);
      try {
        await mongod.run(options.signal);
        return mongod;
      } catch (error) {
        // Between the look and mongod's start another program can take the port.
        const again = error instanceof MongodStartError && error.portTaken && tries < PORT_TRIES;
        if (!again) throw error;
      }
    }
  }

  /** `127.0.0.1:<port>` */
  get host(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** Process id of the last start, of use only while {@link running}. */
  get pid(): number {
    return this.#pid;
  }

  get running(): boolean {
    return this.#child !== undefined;
  }

  /** Starts the mongod again after {@link kill}. Errors: as {@link start}; a plain Error if it runs. */
  async run(signal?: AbortSignal): Promise<void> {
    if (this.running) throw new Error(`mongod ${this.host} runs already`);
    signal?.throwIfAborted();
    await mkdir(this.dbPath, { recursive: true });
    const logStart = await sizeOf(this.logPath);
    const child = await this.#spawn();
    try {
      await eventually(START_MS, () => this.#settled(child, logStart), `start of mongod ${this.host}`, { signal });
    } catch (error) {
      await this.kill();
      if (signal?.aborted) throw error;
      throw await this.#startError(child, logStart, error);
    }
    if (!this.running) throw await this.#startError(child, logStart);
  }

  /** Ends the mongod by SIGKILL, as a crash would, and waits until it is gone. Does nothing if it does not run. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    // An unreferenced child would let this process end while it waits.
    child.ref();
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  }

  /** Stops the mongod where it is (SIGSTOP): connections stay open and nothing answers. */
  pause(): void {
    if (!this.running) throw new Error(`mongod ${this.host} does not run: it cannot be stopped`);
    stopProcess(this.pid);
  }

  /** Lets a paused mongod go on (SIGCONT). */
  resume(): void {
    if (!this.#child?.kill('SIGCONT')) throw new Error(`mongod ${this.host} does not run: it cannot go on`);
  }

  async #spawn(): Promise<ChildProcess> {
    const { binary, flags } = this.#options;
    const own = ['--dbpath', this.dbPath, '--port', String(this.port), '--bind_ip', '127.0.0.1', '--nounixsocket'];
    // The shell notes its pid before it becomes mongod: a pid written from here could come too late for the watchdog.
    const args = ['-c', 'echo $$ >"$0" && exec "$@"', this.#pidPath, binary.path, ...own, ...flags];
    const log = await open(this.logPath, 'a');
    try {
      const env = { ...process.env, ...binary.env };
      const child = spawn('/bin/sh', args, { env, stdio: ['ignore', log.fd, log.fd] });
      child.once('spawn', () => {
        this.#child = child;
      });
      child.once('exit', () => {
        this.#child = undefined;
      });
      await once(child, 'spawn');
      // A test that fails without removing its set must still come to an end.
      child.unref();
      this.#pid = child.pid ?? 0;
      return child;
    } finally {
      await log.close();
    }
  }

  // The log tells more surely than the port, which another program may be listening on.
  async #settled(child: ChildProcess, logStart: number): Promise<boolean> {
    if (child.exitCode !== null || child.signalCode !== null) return true;
    const log = await readFile(this.logPath);
    return log.subarray(logStart).includes('Waiting for connections');
  }

  async #startError(child: ChildProcess, logStart: number, cause?: unknown): Promise<MongodStartError> {
    const log = (await readFile(this.logPath)).subarray(logStart).toString();
    const how = cause === undefined ? `ended with ${child.exitCode ?? child.signalCode}` : 'did not get ready';
    const flags = this.#options.flags.join(' ');
    // The exit code does not tell: depending on when it finds the port taken, mongod exits in order or aborts.
    const portTaken = log.includes('Address already in use');
    return new MongodStartError(
      `mongod ${this.host} ${how}; flags: ${flags}; end of its log:\n${lastLines(log)}`,
      portTaken,
      { cause },
    );
  }
}

function lastLines(log: string): string {
  const lines = log.split('\n').filter((line) => line !== '' && !/"msg":"(BACKTRACE|Frame)"/.test(line));
  return lines
    .slice(-LOG_TAIL_LINES)
    .map((line) => line.slice(0, LOG_LINE_LENGTH))
    .join('\n');
}

// Below the ports that systems hand out for outgoing connections, or one of those could take the port of a killed
// mongod before it is started again.
const FIRST_PORT = 20_000;
const PORT_COUNT = 12_000;

/** A port of 127.0.0.1 that nothing listens on now. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = FIRST_PORT + Math.floor(Math.random() * PORT_COUNT);
    if (await isFree(port)) return port;
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = net.createServer();
  const listening = once(server, 'listening');
  server.listen({ port, host: '127.0.0.1', exclusive: true });
  try {
    await listening;
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EADDRINUSE') return false;
    throw error;
  } finally {
    server.close();
  }
}

async function sizeOf(file: string): Promise<number> {
  try {
    return (await stat(file)).size;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return 0;
    throw error;
  }
}
