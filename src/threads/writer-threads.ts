/** Keeps the threads of a run that write: starts them when they are first needed, closes them with the run. */
import { AppError } from '../errors.js';
import { unlessAborted } from '../lib/signals.js';
import { type CallKind, type CallOptions, ThreadEnded } from '../lib/thread-channel.js';
import type { Timed } from './thread-calls.js';
import { WriterThread, type WriterThreadParts } from './writer-thread.js';

/** What a number of such threads works with. */
export interface WriterThreadsOptions extends WriterThreadParts {
  /** How many; at least 1. */
  readonly count: number;
  readonly onWarning: (warning: string) => void;
}

interface Place {
  starting: Promise<WriterThread> | undefined;
  /** It has ended by itself: what would have been its work is done without it. */
  hasEnded: boolean;
  /** Calls that are made or wait for its start. */
  calls: number;
}

/** A fixed number of threads. A thread that ends by itself is not started again. */
export class WriterThreads {
  readonly #options: WriterThreadsOptions;
  readonly #places: readonly Place[];
  readonly #closing = new AbortController();

  constructor(options: WriterThreadsOptions) {
    this.#options = options;
    this.#places = Array.from({ length: options.count }, () => ({
      starting: undefined,
      hasEnded: false,
      calls: 0,
    }));
  }

  /**
   * Has a thread carry out a task: the one of that number, modulo their count, or the one with least to do. Errors:
   * ThreadEnded when it has ended, now or before: whoever has called does the work in its own thread then. Before that
   * thread writes, the server is brought to refuse what the one that ended had sent.
   */
  async call<Task, Progress, Answer>(
    kind: CallKind<Timed<Task>, Progress, Timed<Answer>>,
    task: Task,
    { number, ...options }: CallOptions<Progress> & { readonly number?: number },
  ): Promise<Answer> {
    const place = number === undefined ? this.#idlest() : this.#places[number % this.#places.length];
    if (place === undefined || place.hasEnded) throw new ThreadEnded('it has ended before');
    place.calls++;
    try {
      const thread = await unlessAborted(this.#started(place), options.signal);
      return await thread.call(kind, task, options);
    } catch (error) {
      if (error instanceof ThreadEnded && !place.hasEnded) {
        place.hasEnded = true;
        this.#options.onWarning('A worker thread has ended; its work is done in the main thread, which is slower');
        this.#options.logger.warn(`A worker thread has ended: ${error.message}`);
      }
      throw error;
    } finally {
      place.calls--;
    }
  }

  /** Never rejects. Precondition: the calls have ended, or will not be waited for. */
  async close(): Promise<void> {
    this.#closing.abort(new AppError('ShuttingDown', 'the threads are closed'));
    await Promise.allSettled(
      this.#places.map(async (place) => {
        const thread = await place.starting;
        await thread?.close();
      }),
    );
  }

  #idlest(): Place | undefined {
    return this.#places.filter((each) => !each.hasEnded).sort((a, b) => a.calls - b.calls)[0];
  }

  #started(place: Place): Promise<WriterThread> {
    place.starting ??= this.#start(place);
    return place.starting;
  }

  async #start(place: Place): Promise<WriterThread> {
    try {
      return await WriterThread.start(this.#options, this.#places.indexOf(place) + 1, this.#closing.signal);
    } catch (error) {
      // The next call may try again, unless there is no thread to be had.
      place.starting = undefined;
      throw error;
    }
  }
}
