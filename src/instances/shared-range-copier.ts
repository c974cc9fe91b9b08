/** Copies ranges in this process and in the instances that help it. */
import { PARTITION_BYTES } from '../copy/planner.js';
import type { CopyListener, CopyPosition, RangeCopier, RangeOutcome, RangeTask } from '../copy/range-task.js';
import { parallelOf } from '../copy/small-ranges.js';
import { see, seenBy } from '../threads/seen-times.js';
import type { SeenTimes } from '../threads/thread-calls.js';
import type { Crew } from './crew.js';
import { MAX_AHEAD } from './slots.js';
import { HandedBack } from './task-board.js';

/** What ranges are shared with. */
export interface SharedCopyParts {
  readonly crew: Crew;
  /** Copies what this process does itself. */
  readonly local: RangeCopier;
  /** Ranges that this process copies at the same time; more if they are small and it is alone. */
  readonly parallelRanges: number;
  readonly pair: Parameters<typeof seenBy>[0];
}

/** What an instance is sent, and what it answers: with what the sender has seen, since reads must be no older. */
export interface SeenWith<Value> {
  readonly value: Value;
  readonly seen: SeenTimes;
}

/** Gives each range to the instance that has least to do. One that comes back is copied on from its last mark. */
export class SharedRangeCopier implements RangeCopier {
  readonly #parts: SharedCopyParts;

  constructor(parts: SharedCopyParts) {
    this.#parts = parts;
  }

  async copy(task: RangeTask, listener: CopyListener, signal: AbortSignal): Promise<RangeOutcome> {
    const { crew, local, parallelRanges } = this.#parts;
    let place: CopyPosition | undefined;
    // Order is data: one writer, from its beginning to its end.
    let isOwn = task.ordered;
    const places = crew.places('copy', parallelRanges);
    const isAlone = places === parallelRanges;
    const own = isAlone ? parallelOf(parallelRanges, task.estimatedBytes, task.behind) : parallelRanges;
    const ahead = aheadOf(task.estimatedBytes);
    // Towards the end the others would have nothing to do while it waits.
    const mostAhead = Math.floor(task.behind / places);
    for (let isAgain = task.isAgain; ; isAgain = true) {
      using slot = await crew.slot('copy', { own, isOwn, ahead, mostAhead }, signal);
      const { member } = slot;
      const totals = crew.totalsOf(member);
      let written: readonly [number, number] = [0, 0];
      const counted: CopyListener = {
        written: (documents, bytes) => {
          written = [written[0] + documents, written[1] + bytes];
          totals.documents += documents;
          totals.bytes += bytes;
          listener.written(documents, bytes);
        },
        marked: async (at, inner) => {
          await listener.marked(at, inner);
          place = at;
        },
      };
      const now = { ...task, ...place, isAgain };
      if (member === undefined) return await local.copy(now, counted, signal);
      try {
        return await this.#copyAt(member, now, counted, signal);
      } catch (error) {
        if (!(error instanceof HandedBack)) throw error;
        // What was written stays; the next one counts from the mark on, as its copy tells it.
        listener.written(-written[0], -written[1]);
        isOwn ||= error.failed;
      }
    }
  }

  async #copyAt(member: string, task: RangeTask, listener: CopyListener, signal: AbortSignal): Promise<RangeOutcome> {
    const { crew, pair } = this.#parts;
    const sent: SeenWith<RangeTask> = { value: task, seen: seenBy(pair) };
    const heard = {
      counted: listener.written,
      placed: (place: unknown) => listener.marked(place as CopyPosition, signal),
    };
    const answer = (await crew.call(member, 'copy', sent, heard, signal)) as SeenWith<RangeOutcome>;
    see(pair, answer.seen);
    return answer.value;
  }
}

/**
 * Of ranges as large as this one, some 64 MB may wait for each place. One that is much larger waits at no instance: it
 * could do so for hours.
 */
function aheadOf(bytes: number): number {
  if (bytes > 2 * PARTITION_BYTES) return 0;
  return Math.max(1, Math.min(MAX_AHEAD, Math.floor(PARTITION_BYTES / bytes)));
}
