/** Copies ranges in a thread of its own. */

import { ByteBudget } from '../lib/limit.js';
import { Tally } from '../lib/tally.js';
import { callKind } from '../lib/thread-channel.js';
import type { Timed } from '../threads/thread-calls.js';
import type { ThreadParts } from '../threads/thread-clusters.js';
import { serveTimed, threadWriter, writingOf } from '../threads/thread-writer.js';
import { LocalRangeCopier } from './local-range-copier.js';
import type { CopyListener, CopyPosition, RangeOutcome, RangeTask } from './range-task.js';

/** What is told of a copy under way. A place is told after everything that was written up to it. */
export type CopyTold =
  | { readonly written: readonly [documents: number, bytes: number] }
  | { readonly marked: CopyPosition };

/** Copies one range. */
export const COPY = callKind<Timed<RangeTask>, CopyTold, Timed<RangeOutcome>>('copy');

/** Serves COPY. */
export async function serveCopies(parts: ThreadParts): Promise<void> {
  const { source, logger } = parts;
  const { destination, bufferBytes } = writingOf(parts);
  const writer = threadWriter(parts);
  const budget = new ByteBudget(bufferBytes);
  serveTimed(parts, COPY, async (task, { signal, tell }) => {
    const copier = new LocalRangeCopier({ source, destination, writer: await writer(signal), budget, logger });
    const written = new Tally((documents, bytes) => tell({ written: [documents, bytes] }));
    const listener: CopyListener = {
      written: (documents, bytes) => written.add(documents, bytes),
      marked: async (place) => {
        await written.flush();
        await tell({ marked: place });
      },
    };
    const outcome = await copier.copy(task, listener, signal);
    await written.flush();
    return outcome;
  });
}
