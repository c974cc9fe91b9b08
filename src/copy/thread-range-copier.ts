/** Copies ranges in worker threads, and in this thread where one of them has ended. */

import { ThreadEnded } from '../lib/thread-channel.js';
import type { WriterThreads } from '../threads/writer-threads.js';
import { COPY } from './copy-worker.js';
import type { CopyListener, CopyPosition, RangeCopier, RangeOutcome, RangeTask } from './range-task.js';

/** Hands each range to the thread that has least to do. */
export class ThreadRangeCopier implements RangeCopier {
  readonly #threads: Pick<WriterThreads, 'call'>;
  readonly #local: RangeCopier;

  /** `local` copies what a thread that has ended had to copy. */
  constructor(threads: Pick<WriterThreads, 'call'>, local: RangeCopier) {
    this.#threads = threads;
    this.#local = local;
  }

  async copy(task: RangeTask, listener: CopyListener, signal: AbortSignal): Promise<RangeOutcome> {
    let [documents, bytes] = [0, 0];
    let place: CopyPosition | undefined;
    try {
      return await this.#threads.call(COPY, task, {
        signal,
        onProgress: async (told) => {
          if ('written' in told) {
            documents += told.written[0];
            bytes += told.written[1];
            listener.written(...told.written);
          } else {
            await listener.marked(told.marked, signal);
            place = told.marked;
          }
        },
      });
    } catch (error) {
      if (!(error instanceof ThreadEnded)) throw error;
      listener.written(-documents, -bytes);
      // Where order is data, what is there is in nobody's order any more.
      if (task.ordered) return 'restart';
      return this.#local.copy({ ...task, ...place, isAgain: true }, listener, signal);
    }
  }
}
