/** Applies the operations of lanes in a thread of its own. */
import { DocumentFilter } from '../documents/document-filter.js';
import { callKind } from '../lib/thread-channel.js';
import { timeOf } from '../threads/seen-times.js';
import type { PlainTime, Timed } from '../threads/thread-calls.js';
import type { ThreadParts } from '../threads/thread-clusters.js';
import { serveTimed, threadWriter, writingOf } from '../threads/thread-writer.js';
import { LocalLaneApplier } from './lane-applier.js';
import { type OperationBatch, unpackOperations } from './operation-batch.js';
import type { Refetching } from './refetch.js';

/** A lane's operations, and how documents are read again meanwhile. Plain data. */
export interface ApplyTask {
  readonly batch: OperationBatch;
  /** The time as of which documents are read again, seconds and increment; undefined: now. */
  readonly readTime: PlainTime | undefined;
}

/** Applies operations; answered once a majority has all of them. */
export const APPLY = callKind<Timed<ApplyTask>, never, Timed<undefined>>('apply');
/** Of the thread's: the source no longer has its state as of the time of reading. */
export const STATE_GONE = callKind<undefined>('stateGone');

/** Serves APPLY. */
export async function serveApplications(parts: ThreadParts): Promise<void> {
  const { channel, source, logger } = parts;
  const writer = threadWriter(parts);
  const { filter: spec } = writingOf(parts);
  const filter = spec === undefined ? undefined : new DocumentFilter(spec);
  serveTimed(parts, APPLY, async ({ batch, readTime }, { signal }) => {
    let time = readTime && timeOf(readTime);
    const refetching: Refetching = {
      filter,
      // It changes only while nothing is being applied, but for what follows.
      readTime: () => time,
      onStateGone: async (inner) => {
        await channel.call(STATE_GONE, undefined, { signal: inner });
        time = undefined;
      },
    };
    const applier = new LocalLaneApplier(source, await writer(signal), logger, refetching);
    await applier.apply(unpackOperations(batch), signal);
    return undefined;
  });
}
