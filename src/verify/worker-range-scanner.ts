import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { AppError } from '../errors.js';
import type { Logger } from '../lib/logger.js';
import { settlesWithin } from '../lib/signals.js';
import { type Deferred, deferred } from '../lib/tasks.js';
import { threadEntry } from '../lib/thread-entry.js';
import type { MatchEvents } from './match.js';
import type { RangeScan, RangeScanner } from './range-scanner.js';
import type { FromScanWorker, ScanWorkerData, ToScanWorker } from './scan-worker.js';

const CLOSE_MS = 3000;
/** Documents are outside of the heap; without a limit it would take what it is given. */
const LIMITS = { maxOldGenerationSizeMb: 192, maxYoungGenerationSizeMb: 16 };

interface Pending extends Deferred<'compared' | 'moved'> {
  readonly events: MatchEvents;
}

/** Compares ranges in a thread with clients of its own, so that the one that answers calls stays free. */
export class WorkerRangeScanner implements RangeScanner {
  readonly #worker: Worker;
  readonly #logger: Logger;
  readonly #pending = new Map<number, Pending>();
  readonly #ready = deferred<void>();
  readonly #exited: Promise<unknown>;
  #next = 0;

  private constructor(data: ScanWorkerData, logger: Logger) {
    this.#logger = logger;
    this.#worker = new Worker(threadEntry(), { workerData: data, argv: [], resourceLimits: LIMITS });
    this.#worker.on('message', (message: FromScanWorker) => this.#take(message));
    this.#worker.on('error', (error) => this.#fail(AppError.from(error)));
    this.#exited = once(this.#worker, 'exit').catch(() => undefined);
    void this.#exited.then(() => this.#fail(new AppError('Internal', 'the thread that compares documents has ended')));
  }

  /** Starts the thread and waits until it is connected. */
  static async start(data: ScanWorkerData, logger: Logger): Promise<WorkerRangeScanner> {
    const scanner = new WorkerRangeScanner(data, logger);
    await scanner.#ready.promise;
    return scanner;
  }

  async scan(scan: RangeScan, events: MatchEvents, signal: AbortSignal): Promise<'compared' | 'moved'> {
    signal.throwIfAborted();
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
    else if (message.type === 'warning') this.#logger.warn(message.text);
    else {
      const pending = this.#pending.get(message.id);
      if (pending !== undefined) this.#tellPending(pending, message);
    }
  }

  #tellPending(pending: Pending, message: Exclude<FromScanWorker, { type: 'ready' | 'warning' }>): void {
    if (message.type === 'read') pending.events.onRead(message.source, message.destination);
    else if (message.type === 'done') pending.resolve(message.outcome);
    else if (message.type === 'failed') pending.reject(new AppError(message.code, message.message));
    else
      pending.events
        .onDiffering(message.ids.map((each) => Buffer.from(each)))
        .then(() => this.#tell({ type: 'continue', id: message.id }), pending.reject);
  }

  #fail(error: AppError): void {
    this.#ready.reject(error);
    for (const pending of this.#pending.values()) pending.reject(error);
  }
}
