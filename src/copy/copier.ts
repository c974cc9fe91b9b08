/** Copies the partitions of a migration, many at a time, and stores how far each has come. */
import type { OrderedDoc, Timestamp } from '../cluster/bson.js';
import type { Cluster } from '../cluster/cluster.js';
import { emptyCollection } from '../cluster/destination-catalog.js';
import type { DocumentFilter } from '../cluster/document-filter.js';
import { uuidFrom } from '../cluster/raw-writes.js';
import type { WritableCluster } from '../cluster/writable-cluster.js';
import { InvariantError } from '../errors.js';
import { mapLimit } from '../lib/limit.js';
import type { Logger } from '../lib/logger.js';
import { traced } from '../lib/trace.js';
import type { CollectionMap, MigratedCollection } from '../metadata/collections.js';
import type { PartitionRecord } from '../metadata/records.js';
import type { MetadataStore } from '../metadata/store.js';
import { metrics } from '../metrics.js';
import type { CopyProgress } from './copy-progress.js';
import type { NaturalOrder } from './natural-order.js';
import { planCopy } from './planner.js';
import type { CopyListener, RangeCopier, RangeTask } from './range-copier.js';

/** What the copy works with. */
export interface CopyContext {
  readonly source: Cluster;
  readonly destination: WritableCluster;
  readonly store: MetadataStore;
  readonly collections: CollectionMap;
  readonly ranges: RangeCopier;
  readonly progress: CopyProgress;
  readonly logger: Logger;
  /** Ranges copied at the same time. */
  readonly parallelRanges: number;
  readonly naturalOrder: NaturalOrder;
  /** Collections are cut into pieces of about so many bytes. */
  readonly partitionBytes: number;
  /** Undefined: every document is copied. */
  readonly filter: DocumentFilter | undefined;
}

/** How a partition is to be read. */
interface Reading {
  readonly afterTime: Timestamp;
  /** An earlier process may have written some of it. */
  readonly isAgain: boolean;
}

const READ_BYTES = 4 * 1024 * 1024;
const MAX_READ_DOCUMENTS = 10_000;
/** There may be very many partitions. */
const TELL_MS = 1000;
const EVERYTHING: OrderedDoc = new Map();

/**
 * Copies all collections, largest first, many ranges at a time. A range is marked done only after a majority has its
 * documents; a restart goes on with the others where they were. Source: docs/03-copy.md.
 */
export async function copyCollections(context: CopyContext, afterTime: Timestamp, signal: AbortSignal): Promise<void> {
  const { store, collections, progress, logger } = context;
  logger.info('Starting initializing partitions phase');
  const fresh = await planCopy(context, signal);
  const partitions = await store.loadPartitions(signal);
  progress.load(collections, partitions);
  const open = partitions.filter((each) => !each.done).sort(bySize(collections));
  logger.info('Starting collection copy phase', { partitions: partitions.length, remaining: open.length });
  const total = partitions.length;
  let done = total - open.length;
  let told = Number.NEGATIVE_INFINITY;
  await mapLimit(
    open,
    context.parallelRanges,
    async (partition, inner) => {
      await traced('copy partition', { partition: partition.id }, () =>
        copyPartition(context, partition, { afterTime, isAgain: !fresh.has(partition.collection) }, inner),
      );
      done++;
      const isTold = done === total || performance.now() - told > TELL_MS;
      if (isTold) told = performance.now();
      logger[isTold ? 'info' : 'debug'](`Completed writing ${done} / ${total} partitions to destination cluster`);
    },
    signal,
  );
  progress.finish();
}

/** Copies one collection anew: its target is emptied first. For collections whose documents emitted no events. */
export async function copyAgain(
  context: CopyContext,
  collection: MigratedCollection,
  afterTime: Timestamp,
  signal: AbortSignal,
): Promise<void> {
  const partition: PartitionRecord = {
    id: `${collection.id}:again`,
    collection: collection.id,
    lower: undefined,
    upper: undefined,
    natural: true,
    resumable: false,
    marks: [],
    done: false,
    documents: 0,
    bytes: 0,
  };
  const task = rangeTask(context, collection, partition, { afterTime, isAgain: false });
  do await emptyCollection(context.destination, task.target.ns, task.target.uuid, signal);
  while ((await context.ranges.copy(task, UNOBSERVED, signal)) === 'restart');
}

async function copyPartition(
  context: CopyContext,
  partition: PartitionRecord,
  reading: Reading,
  signal: AbortSignal,
): Promise<void> {
  const { store, collections, progress } = context;
  const collection = collections.get(partition.collection);
  if (collection === undefined) throw new InvariantError(`partition ${partition.id} is of no collection`);
  const task = rangeTask(context, collection, partition, reading);
  const started = performance.now();
  let documents = 0;
  let bytes = 0;
  const count = (moreDocuments: number, moreBytes: number): void => {
    documents += moreDocuments;
    bytes += moreBytes;
    progress.add(collection.id, moreDocuments, moreBytes);
    if (moreDocuments > 0) {
      metrics.documentsCopied.add(moreDocuments);
      metrics.documentsInserted.add(moreDocuments);
    }
    if (moreBytes > 0) {
      metrics.copiedBytes.add(moreBytes);
      metrics.bytesInserted.add(moreBytes);
    }
  };
  const listener: CopyListener = {
    written: count,
    marked: (place, inner) => store.savePartitions([{ ...partition, ...place }], inner),
  };
  // An earlier process may have copied half of a capped collection: its order is only right from an empty start.
  if (collection.capped) await emptyCollection(context.destination, task.target.ns, task.target.uuid, signal);
  while ((await context.ranges.copy(task, listener, signal)) === 'restart') {
    context.logger.info(`${collection.name} evicted documents faster than it was read; copying it again`);
    await emptyCollection(context.destination, task.target.ns, task.target.uuid, signal);
    count(-documents, -bytes);
  }
  await store.savePartitions([{ ...partition, marks: [], position: undefined, done: true, documents, bytes }], signal);
  progress.partitionDone(collection.id);
  metrics.partitionsCompleted.add(1);
  metrics.partitionSize.record(bytes);
  metrics.partitionDuration.record(performance.now() - started);
}

const UNOBSERVED: CopyListener = { written: () => undefined, marked: () => Promise.resolve() };

function rangeTask(
  context: CopyContext,
  collection: MigratedCollection,
  partition: PartitionRecord,
  { afterTime, isAgain }: Reading,
): RangeTask {
  if (collection.destinationUuid === undefined)
    throw new InvariantError(`${collection.name} has not been created on the destination`);
  const { estimatedBytes, estimatedDocuments } = collection.copy;
  const average = estimatedDocuments > 0 ? estimatedBytes / estimatedDocuments : 0;
  return {
    ns: collection.sourceNs,
    uuid: uuidFrom(Buffer.from(collection.id, 'hex')),
    target: { ns: collection.ns, uuid: collection.destinationUuid },
    lower: partition.lower,
    upper: partition.upper,
    natural: partition.natural,
    resumable: partition.resumable,
    marks: partition.marks,
    position: partition.position,
    isAgain,
    filter: context.filter?.query() ?? EVERYTHING,
    ordered: collection.capped,
    batchDocuments: Math.max(1, Math.min(MAX_READ_DOCUMENTS, Math.floor(READ_BYTES / Math.max(1, average)))),
    afterTime,
  };
}

function bySize(collections: CollectionMap): (a: PartitionRecord, b: PartitionRecord) => number {
  const bytes = (partition: PartitionRecord): number => collections.get(partition.collection)?.copy.estimatedBytes ?? 0;
  return (a, b) => bytes(b) - bytes(a);
}
