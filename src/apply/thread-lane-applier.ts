/** Applies lanes in worker threads, and in this thread where one of them has ended. */

import { ThreadEnded } from '../lib/thread-channel.js';
import { plainTime } from '../threads/seen-times.js';
import type { WriterThreads } from '../threads/writer-threads.js';
import { APPLY } from './apply-worker.js';
import type { LaneApplier } from './lane-applier.js';
import type { Operation } from './operation.js';
import { packOperations } from './operation-batch.js';
import type { Refetching } from './refetch.js';

/** The applier of one lane, whose thread is always the same while it lives. */
export interface ThreadLane {
  readonly threads: Pick<WriterThreads, 'call'>;
  /** The lane's number: lanes are spread over the threads by it. */
  readonly number: number;
  /** Applies what a thread that has ended had to apply. */
  readonly local: LaneApplier;
  readonly readTime: Refetching['readTime'];
}

/** Hands a lane's operations to its thread. */
export class ThreadLaneApplier implements LaneApplier {
  readonly #lane: ThreadLane;

  constructor(lane: ThreadLane) {
    this.#lane = lane;
  }

  async apply(operations: readonly Operation[], signal: AbortSignal): Promise<void> {
    const { threads, number, local, readTime } = this.#lane;
    const batch = packOperations(operations);
    const time = readTime();
    const task = { batch, readTime: time && plainTime(time) };
    try {
      await threads.call(APPLY, task, { number, signal, transfer: [batch.bytes.buffer, batch.numbers.buffer] });
    } catch (error) {
      if (!(error instanceof ThreadEnded)) throw error;
      // Some of it may be there: as after a crash, all of it is applied once more.
      await local.apply(operations, signal);
    }
  }
}
