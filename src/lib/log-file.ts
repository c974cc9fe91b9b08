/** Writes log lines to standard output or to a file that is rotated. */
import { once } from 'node:events';
import * as fs from 'node:fs';
import { Socket } from 'node:net';
import * as path from 'node:path';
import type { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { type Clock, systemClock } from './clock.js';
import type { LogSink } from './logger.js';
import { readableLine } from './readable-line.js';
import { settlesWithin } from './signals.js';

const DEFAULT_MAX_BYTES = 100 * 1024 * 1024;
const DEFAULT_KEEP = 30;

/** A sink with a life of its own. */
export interface OwnedLogSink extends LogSink {
  /** Starts a new file; nothing for a sink without one. */
  rotate(): void;
  /** Resolves when everything written, compression included, is on disk. */
  close(): Promise<void>;
}

/** What may wait for a reader of standard output, in bytes, and how long its end is waited for. */
const MAX_WAITING_BYTES = 1024 * 1024;
const LAST_LINES_MS = 1000;

/**
 * Lines to standard output: JSON for containers and service managers, readable ones for people at a terminal. Nobody may
 * be reading: then lines are dropped, and what waits for a reader does not keep the process from ending.
 */
export function stdoutSink(stdout: Writable & { readonly isTTY?: boolean } = process.stdout): OwnedLogSink {
  const shown = stdout.isTTY === true ? readableLine : (line: string): string => line;
  let dropped = 0;
  return {
    write: (line) => {
      if (stdout.writableLength > MAX_WAITING_BYTES) dropped++;
      else if (dropped > 0) {
        const message = `${dropped} lines of the log are missing here, because nobody read standard output`;
        dropped = 0;
        const notice = `${JSON.stringify({ time: new Date().toISOString(), level: 'warn', message })}\n`;
        stdout.write(`${shown(notice)}${shown(line)}`);
      } else stdout.write(shown(line));
    },
    rotate: () => undefined,
    close: async () => {
      if (stdout.writableLength === 0 || stdout.destroyed) return;
      await settlesWithin(once(stdout, 'drain'), LAST_LINES_MS);
      if (stdout.writableLength > 0) giveUp(stdout);
    },
  };
}

/** Node keeps standard output open whatever happens; closing the pipe itself is the one way to forget its last write. */
function giveUp(stdout: Writable): void {
  if (stdout instanceof Socket) Socket.prototype._destroy.call(stdout, null, () => undefined);
}

/** Where log files go and how many are kept. */
export interface LogFileOptions {
  /** Made if missing. Errors of making or opening it are thrown by `openLogFile`. */
  readonly directory: string;
  /** Of the file, without `.log`. Default `mongosync`. */
  readonly name?: string;
  /** A line that would make the file larger starts a new one. Default 100 MiB. */
  readonly maxBytes?: number;
  /** Rotated files kept; the oldest beyond it are deleted. Default 30. */
  readonly keep?: number;
  readonly clock?: Clock;
}

/**
 * Lines to `<directory>/mongosync.log`, mongosync's own name for it. A full file, and what an earlier process has left,
 * is renamed to `mongosync-<UTC time>.log` and compressed in the background to `….log.gz`. Writing is synchronous, so that the last
 * lines before a crash are on disk; a write that fails (disk full) is reported once on standard error, and never stops
 * a migration.
 */
export function openLogFile(options: LogFileOptions): OwnedLogSink {
  return new LogFile(options);
}

class LogFile implements OwnedLogSink {
  readonly #directory: string;
  readonly #name: string;
  readonly #current: string;
  readonly #maxBytes: number;
  readonly #keep: number;
  readonly #clock: Clock;
  #fd: number;
  #bytes: number;
  #background: Promise<void> = Promise.resolve();
  #failing = false;
  #closed = false;

  constructor(options: LogFileOptions) {
    this.#directory = options.directory;
    this.#name = options.name ?? 'mongosync';
    this.#current = path.join(options.directory, `${this.#name}.log`);
    this.#maxBytes = options.maxBytes ?? DEFAULT_MAX_BYTES;
    this.#keep = options.keep ?? DEFAULT_KEEP;
    this.#clock = options.clock ?? systemClock;
    makeDirectory(path.resolve(options.directory));
    this.#fd = fs.openSync(this.#current, 'a', 0o600);
    this.#bytes = fs.fstatSync(this.#fd).size;
    // A process that was killed may have left half of a compressed file; what it is made of is there still.
    for (const name of fs.readdirSync(options.directory))
      if (this.#isRotated(name) && name.endsWith('.log.gz.partial'))
        fs.rmSync(path.join(options.directory, name), { force: true });
    // A file is of one process: readers take what it holds for one migration's.
    this.rotate();
  }

  #isRotated(name: string): boolean {
    return name.startsWith(`${this.#name}-`) && /^\d{4}-\d\d-\d\dT.*\.log/.test(name.slice(this.#name.length + 1));
  }

  write(line: string): void {
    this.#guard(() => {
      const bytes = Buffer.from(line, 'utf8');
      if (this.#bytes > 0 && this.#bytes + bytes.length > this.#maxBytes) this.#startNewFile();
      fs.writeSync(this.#fd, bytes);
      this.#bytes += bytes.length;
    });
  }

  rotate(): void {
    this.#guard(() => {
      if (this.#bytes > 0) this.#startNewFile();
    });
  }

  /** Lines that come later are dropped: the number of the closed file may be another one's by then. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#background;
    fs.closeSync(this.#fd);
  }

  #startNewFile(): void {
    const rotated = this.#freeName();
    fs.renameSync(this.#current, rotated);
    const next = fs.openSync(this.#current, 'a', 0o600);
    fs.closeSync(this.#fd);
    this.#fd = next;
    this.#bytes = 0;
    this.#background = this.#background.then(() => this.#compress(rotated));
  }

  /** Two rotations may fall into one millisecond. */
  #freeName(): string {
    const stamp = this.#clock.now().toISOString().replaceAll(':', '-').replace('Z', '');
    for (let suffix = 0; ; suffix++) {
      const end = `${stamp}${suffix === 0 ? '' : `-${suffix}`}.log`;
      const name = path.join(this.#directory, `${this.#name}-${end}`);
      if (!fs.existsSync(name) && !fs.existsSync(`${name}.gz`)) return name;
    }
  }

  async #compress(file: string): Promise<void> {
    const partial = `${file}.gz.partial`;
    try {
      await pipeline(fs.createReadStream(file), createGzip(), fs.createWriteStream(partial, { mode: 0o600 }));
      await fs.promises.rename(partial, `${file}.gz`);
      await fs.promises.rm(file);
      await this.#deleteOldest();
    } catch (error) {
      this.#report(error);
      await fs.promises.rm(partial, { force: true });
    }
  }

  async #deleteOldest(): Promise<void> {
    const names = await fs.promises.readdir(this.#directory);
    const rotated = names.filter((name) => this.#isRotated(name) && /\.log(\.gz)?$/.test(name)).sort();
    const old = rotated.slice(0, Math.max(0, rotated.length - this.#keep));
    await Promise.all(old.map((name) => fs.promises.rm(path.join(this.#directory, name), { force: true })));
  }

  #guard(work: () => void): void {
    if (this.#closed) return;
    try {
      work();
      this.#failing = false;
    } catch (error) {
      this.#report(error);
    }
  }

  #report(error: unknown): void {
    if (this.#failing) return;
    this.#failing = true;
    process.stderr.write(`mongoferry: cannot write the log in ${this.#directory}: ${String(error)}\n`);
  }
}

/** Not Node's own `recursive`: where the system lets nobody make a directory, as in /proc, that one never ends. */
function makeDirectory(directory: string): void {
  if (fs.existsSync(directory)) return;
  makeDirectory(path.dirname(directory));
  try {
    fs.mkdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}

/** Rotates `sink` at every SIGUSR1; returns the way to stop. */
export function rotateOnSignal(sink: OwnedLogSink): () => void {
  const onSignal = (): void => sink.rotate();
  process.on('SIGUSR1', onSignal);
  return () => {
    process.removeListener('SIGUSR1', onSignal);
  };
}
