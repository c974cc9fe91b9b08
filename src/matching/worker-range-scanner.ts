/** Compares ranges in a thread of its own while there is one, and in this one otherwise. */

import type { Logger } from '../lib/logger.js';
import { ThreadEnded } from '../lib/thread-channel.js';
import { ClusterThread } from '../threads/cluster-thread.js';
import type { ThreadData } from '../threads/thread-calls.js';
import type { MatchEvents } from './match.js';
import type { RangeScan, RangeScanner } from './range-scanner.js';
import { SCAN } from './scan-worker.js';

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
  data: Pick<ThreadData, 'source' | 'destination' | 'maxPoolSize'>,
  local: RangeScanner,
  { logger, onWarning }: ThreadReports,
  signal: AbortSignal,
): Promise<RangeScanner> {
  const without = (error: Error): void => {
    onWarning('Documents are compared in the main thread, which is slower');
    logger.warn(`The thread that compares documents has failed: ${error.message}`);
  };
  try {
    const thread = await ClusterThread.start({ ...data, uses: ['compare'], writing: undefined }, { logger }, signal);
    return new ScannerWithSpare(new WorkerRangeScanner(thread), local, without);
  } catch (error) {
    if (!(error instanceof ThreadEnded)) throw error;
    without(error);
    return local;
  }
}

/** Changes to another scanner once the first one's thread has ended. */
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
  readonly #thread: ClusterThread;

  constructor(thread: ClusterThread) {
    this.#thread = thread;
  }

  scan(scan: RangeScan, events: MatchEvents, signal: AbortSignal): Promise<'compared' | 'moved'> {
    return this.#thread.channel.call(SCAN, scan, {
      signal,
      // It only reads.
      onAbort: 'leave',
      onProgress: async (progress) => {
        if ('read' in progress) events.onRead(...progress.read);
        else await events.onDiffering(progress.differing.map((each) => Buffer.from(each)));
      },
    });
  }

  async close(): Promise<void> {
    await this.#thread.close();
  }
}
