/** Starts and closes a thread that has clients of its own; the side of the thread that has started it. */
import { Worker } from 'node:worker_threads';
import type { Logger } from '../lib/logger.js';
import { settlesWithin } from '../lib/signals.js';
import { ThreadChannel, ThreadEnded } from '../lib/thread-channel.js';
import { threadEntry } from '../lib/thread-entry.js';
import { recordForwarded } from '../metrics.js';
import { CLOSE, LOG, METRICS, OPEN, type ThreadData, type ThreadWaits, WAITS } from './thread-calls.js';
import { threadErrors } from './thread-errors.js';

const CLOSE_MS = 3000;
/** Documents are outside of the heap; without a limit it would take what it is given. */
const LIMITS = { maxOldGenerationSizeMb: 192, maxYoungGenerationSizeMb: 4 };

/** Who is told of what befalls a thread. */
export interface ThreadListener {
  readonly logger: Logger;
  /** What its commands wait for has changed. */
  readonly onWaits?: (waits: ThreadWaits) => void;
}

/** Ends with `close`, with the process, or by itself, for instance when it is out of memory: see `ended`. */
export class ClusterThread {
  readonly channel: ThreadChannel;
  /** Resolves once the thread has ended, whatever the reason. */
  readonly ended: Promise<void>;
  /** The ids of the sessions in which it writes, 16 bytes each. */
  sessions: readonly Uint8Array[] = [];
  readonly #worker: Worker;

  private constructor(data: ThreadData, { logger, onWaits }: ThreadListener) {
    this.#worker = new Worker(threadEntry(), { workerData: data, argv: [], resourceLimits: LIMITS });
    // It must not keep a process from ending that does not wait for it.
    this.#worker.unref();
    this.channel = new ThreadChannel(this.#worker, threadErrors);
    this.channel.serve(LOG, async (lines) => {
      for (const { level, message, fields } of lines) logger[level](message, fields);
    });
    this.channel.serve(METRICS, async (records) => {
      for (const each of records) recordForwarded(each);
    });
    this.channel.serve(WAITS, async (waits) => onWaits?.(waits));
    let cause: Error | undefined;
    // Not events.once: it ends with an error, before the thread has.
    this.#worker.on('error', (error: Error) => {
      cause = error;
    });
    this.ended = new Promise((resolve) => {
      this.#worker.once('exit', () => {
        this.channel.end(new ThreadEnded(cause?.message ?? 'it has ended', { cause }));
        resolve();
      });
    });
  }

  /** Starts the thread and waits until it is connected. Errors: ThreadEnded; those of connecting; the signal's reason. */
  static async start(data: ThreadData, listener: ThreadListener, signal: AbortSignal): Promise<ClusterThread> {
    const thread = new ClusterThread(data, listener);
    try {
      const { sessions } = await thread.channel.call(OPEN, undefined, { signal, onAbort: 'leave' });
      thread.sessions = sessions;
      return thread;
    } catch (error) {
      await thread.close();
      throw error;
    }
  }

  /** Ends it at once, whatever is under way, as running out of memory would. */
  async endAtOnce(): Promise<void> {
    await this.#worker.terminate();
    await this.ended;
  }

  /** Whether it ended by itself, in order; otherwise what it was doing is cut off. */
  async close(): Promise<boolean> {
    const limit = new AbortController();
    const closing = this.channel.call(CLOSE, undefined, { signal: limit.signal, onAbort: 'leave' });
    // It may have ended already, or never answer: what counts is its end.
    closing.catch(() => undefined);
    const isOrderly = await settlesWithin(this.ended, CLOSE_MS);
    limit.abort(new ThreadEnded('it did not close in time'));
    if (!isOrderly) await this.endAtOnce();
    return isOrderly;
  }
}
