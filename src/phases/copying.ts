/** Puts together what copies collections in this run: all of them in the copy phase, single ones again later. */
import type { CopyContext } from '../copy/copier.js';
import { LocalRangeCopier } from '../copy/local-range-copier.js';
import { parallelOf } from '../copy/small-ranges.js';
import { ThreadRangeCopier } from '../copy/thread-range-copier.js';
import { SharedRangeCopier } from '../instances/shared-range-copier.js';
import { ByteBudget } from '../lib/limit.js';
import { PushBack } from '../lib/push-back.js';
import type { MigratedCollection } from '../metadata/collections.js';
import { queueMeters } from '../metrics-queues.js';
import type { RunContext } from './run-context.js';
import type { Writers } from './writers.js';

/** Copies a collection again as it is on the source now, while nothing is applied to it. */
export type Recopy = (collection: MigratedCollection, signal: AbortSignal) => Promise<void>;

/** What the copy of collections works with, the first one and later ones. */
export function copyContextOf(context: RunContext, { document: writer, threads }: Writers): CopyContext {
  const { source, destination, options, held, collections, load, filter, copy } = context;
  const logger = context.logger.component('copy');
  const budget = new ByteBudget(load.copyBytes, new PushBack({ ...queueMeters('copied documents'), logger }));
  const local = new LocalRangeCopier({ source, destination, writer, budget, logger });
  return {
    source,
    destination,
    store: held.store,
    collections,
    ranges: threads === undefined ? local : new ThreadRangeCopier(threads, local),
    progress: copy,
    logger,
    parallelRanges: (bytes, behind) => parallelOf(load.parallelRanges, bytes, behind),
    naturalOrder: {
      named: options.copyInNaturalOrder,
      detectRandomId: options.detectRandomId,
      detectAboveBytes: context.detectAboveBytes,
    },
    partitionBytes: context.partitionBytes,
    filter,
  };
}

/** The same for the copy of all collections, which other instances share. */
export function sharedCopyContextOf(context: RunContext, writers: Writers): CopyContext {
  const { source, destination, crew, load } = context;
  const { parallelRanges } = load;
  const own = copyContextOf(context, writers);
  const shared = { crew, local: own.ranges, parallelRanges, pair: { source, destination } };
  return {
    ...own,
    ranges: new SharedRangeCopier(shared),
    parallelRanges: (bytes, behind) => crew.room('copy', parallelOf(parallelRanges, bytes, behind)),
  };
}
