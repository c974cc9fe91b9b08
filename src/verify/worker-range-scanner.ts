import { Worker } from 'node:worker_threads';
import { AppError } from '../errors.js';
import type { Logger } from '../lib/logger.js';
import { aborted, settlesWithin } from '../lib/signals.js';
import { type Deferred, deferred } from '../lib/tasks.js';
import { threadEntry } from '../lib/thread-entry.js';
import type { MatchEvents } from './match.js';
import type { RangeScan, RangeScanner } from './range-scanner.js';
import type { FromScanWorker, ScanWorkerData, ToScanWorker } from './scan-worker.js';

const CLOSE_MS = 3000;
/** Documents are outside of the heap; without a limit it would take what it is given. */
const LIMITS = { maxOldGenerationSizeMb: 192, maxYoungGenerationSizeMb: 4 };

interface Pending extends Deferred<'compared' | 'moved'> {
  readonly events: MatchEvents;
}

/** The thread has ended by itself, e.g. since it was out of memory. */
export class ThreadEnded extends Error {}

/** Who is told of what befalls a thread. */
export interface ThreadReports {
  readonly logger: Logger;
  readonly onWarning: (warning: string) => void;
}

/**
 * A scanner in a thread of its own; ranges that it cannot compare, since it cannot start or has ended by itself, are
 * compared by `local`.
 */
export async function startThread(
  data: ScanWorkerData,
  local: RangeScanner,
  { logger, onWarning }: ThreadReports,
  signal: AbortSignal,
): Promise<RangeScanner> {
  const without = (error: Error): void => {
    onWarning('Documents are compared without a thread of their own, which is slower');
    logger.warn(`The thread that compares documents: ${error.message}`);
  };
  try {
    return new ScannerWithSpare(await WorkerRangeScanner.start(data, logger, signal), local, without);
  } catch (error) {
    if (!(error instanceof ThreadEnded)) throw error;
    without(error);
    return local;
  }
}

/** Turns to another scanner once the first one's thread has ended. */
export class ScannerWithSpare implements RangeScanner {
  readonly #first: RangeScanner;
  readonly #spare: RangeScanner;
  readonly #onEnded: (error: Error) => void;
  #hasEnded = false;

  constructor(first: RangeScanner, spare: RangeScanner, onEnded: (error: Error) => void) {
    this.#first = first;
    this.#spare = spare;
    this.#onEnded = onEnded;
  }

  async scan(scan: RangeScan, events: MatchEvents, signal: AbortSignal): Promise<'compared' | 'moved'> {
    let read = { source: 0, destination: 0 };
    const counted: MatchEvents = {
      onDiffering: events.onDiffering,
      onRead: (source, destination) => {
        read = { source: read.source + source, destination: read.destination + destination };
        events.onRead(source, destination);
      },
    };
    try {
      if (!this.#hasEnded) return await this.#first.scan(scan, counted, signal);
    } catch (error) {
      if (!(error instanceof ThreadEnded)) throw error;
      if (!this.#hasEnded) this.#onEnded(error);
      this.#hasEnded = true;
      events.onRead(-read.source, -read.destination);
    }
    return this.#spare.scan(scan, events, signal);
  }

  async close(): Promise<void> {
    await this.#first.close();
  }
}

/** Compares ranges in a thread with clients of its own, so that the one that answers calls stays free. */
class WorkerRangeScanner implements RangeScanner {
  readonly #worker: Worker;
  readonly #logger: Logger;
  readonly #pending = new Map<number, Pending>();
  readonly #ready = deferred<void>();
  readonly #exited: Promise<unknown>;
  #next = 0;
  #ended: Error | undefined;

  private constructor(data: ScanWorkerData, logger: Logger) {
    this.#logger = logger;
    this.#worker = new Worker(threadEntry(), { workerData: data, argv: [], resourceLimits: LIMITS });
    this.#worker.on('message', (message: FromScanWorker) => this.#take(message));
    this.#worker.on('error', (error) => this.#fail(new ThreadEnded(error.message, { cause: error })));
    // Not events.once: it ends with an error, before the thread has.
    this.#exited = new Promise((resolve) => this.#worker.once('exit', resolve));
    void this.#exited.then(() => this.#fail(new ThreadEnded('it has ended')));
  }

  /** Starts the thread and waits until it is connected. Errors: ThreadEnded; those of connecting. */
  static async start(data: ScanWorkerData, logger: Logger, signal: AbortSignal): Promise<WorkerRangeScanner> {
    const scanner = new WorkerRangeScanner(data, logger);
    try {
      await Promise.race([scanner.#ready.promise, aborted(signal)]);
      signal.throwIfAborted();
      return scanner;
    } catch (error) {
      await scanner.close();
      throw error;
    }
  }

  async scan(scan: RangeScan, events: MatchEvents, signal: AbortSignal): Promise<'compared' | 'moved'> {
    signal.throwIfAborted();
    if (this.#ended !== undefined) throw this.#ended;
    const id = this.#next++;
    const pending: Pending = Object.assign(deferred<'compared' | 'moved'>(), { events });
    this.#pending.set(id, pending);
    const stop = (): void => {
      this.#tell({ type: 'abort', id });
      pending.reject(signal.reason);
    };
    signal.addEventListener('abort', stop, { once: true });
    try {
      this.#tell({ type: 'scan', id, scan });
      return await pending.promise;
    } finally {
      signal.removeEventListener('abort', stop);
      this.#pending.delete(id);
    }
  }

  async close(): Promise<void> {
    this.#tell({ type: 'close' });
    if (!(await settlesWithin(this.#exited, CLOSE_MS))) await this.#worker.terminate();
  }

  #tell(message: ToScanWorker): void {
    this.#worker.postMessage(message);
  }

  #take(message: FromScanWorker): void {
    if (message.type === 'ready') this.#ready.resolve();
    else if (message.type === 'unconnected') this.#ready.reject(new AppError(message.code, message.message));
    else if (message.type === 'warning') this.#logger.warn(message.text);
    else {
      const pending = this.#pending.get(message.id);
      if (pending !== undefined) this.#tellPending(pending, message);
    }
  }

  #tellPending(
    pending: Pending,
    message: Exclude<FromScanWorker, { type: 'ready' | 'unconnected' | 'warning' }>,
  ): void {
    if (message.type === 'read') pending.events.onRead(message.source, message.destination);
    else if (message.type === 'done') pending.resolve(message.outcome);
    else if (message.type === 'failed') pending.reject(new AppError(message.code, message.message));
    else
      pending.events
        .onDiffering(message.ids.map((each) => Buffer.from(each)))
        .then(() => this.#tell({ type: 'continue', id: message.id }), pending.reject);
  }

  #fail(error: Error): void {
    this.#ended ??= error;
    this.#ready.reject(error);
    for (const pending of this.#pending.values()) pending.reject(error);
  }
}
