/** Copies ranges in the thread that asks for it. */
import { RangeCopy } from './range-copy.js';
import type { CopyListener, RangeCopier, RangeCopierParts, RangeOutcome, RangeTask } from './range-task.js';

/**
 * Copies ranges in this thread: reads raw batches, one ahead, and keeps up to two inserts in flight. After a transient
 * error it goes on from the last `_id` that was written. A rename on the source is followed by UUID.
 *
 * `restart`: the cursor of a capped collection was overtaken by its own eviction (136); empty the target and begin again.
 */
export class LocalRangeCopier implements RangeCopier {
  readonly #parts: RangeCopierParts;

  constructor(parts: RangeCopierParts) {
    this.#parts = parts;
  }

  copy(task: RangeTask, listener: CopyListener, signal: AbortSignal): Promise<RangeOutcome> {
    return new RangeCopy(this.#parts, task, listener).run(signal);
  }
}
