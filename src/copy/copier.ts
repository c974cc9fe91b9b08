/** Copies the partitions of a migration, many at a time, and stores how far each has come. */

import { type Binary, encode, type Timestamp } from '../bson/bson.js';
import { uuidBytes } from '../bson/uuid.js';
import { emptyCollection } from '../catalog/destination-catalog.js';
import type { Cluster } from '../cluster/cluster.js';
import type { WritableCluster } from '../cluster/writable-cluster.js';
import type { DocumentFilter } from '../documents/document-filter.js';
import { InvariantError } from '../errors.js';
import { mapLimit } from '../lib/limit.js';
import type { Logger } from '../lib/logger.js';
import { traced } from '../lib/trace.js';
import type { CollectionMap, MigratedCollection } from '../metadata/collections.js';
import type { NaturalMark, PartitionRecord, RangeMark } from '../metadata/records.js';
import type { MetadataStore } from '../metadata/store.js';
import { metrics } from '../metrics.js';
import { plainTime } from '../threads/seen-times.js';
import { documentsOfReply } from './batch-size.js';
import type { CopyProgress } from './copy-progress.js';
import { DonePartitions } from './done-partitions.js';
import type { NaturalOrder } from './natural-order.js';
import { planCopy } from './planner.js';
import type { CopyListener, CopyPosition, RangeCopier, RangeTask } from './range-task.js';

/** What the copy works with. */
export interface CopyContext {
  readonly source: Cluster;
  readonly destination: WritableCluster;
  readonly store: MetadataStore;
  readonly collections: CollectionMap;
  readonly ranges: RangeCopier;
  readonly progress: CopyProgress;
  readonly logger: Logger;
  /** How many ranges are copied at the same time when the next one has so many bytes, and so many come after it. */
  readonly parallelRanges: (bytes: number, behind: number) => number;
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
  /** Into how many partitions its collection was cut. */
  readonly of: number;
  /** Partitions that come after it. */
  readonly behind: number;
}

/** There may be very many partitions. */
const TELL_MS = 1000;

/**
 * Copies all collections, largest first, many ranges at a time. A range is stored as done only after a majority has its
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
  const pieces = new Map<string, number>();
  const bytesOf = (partition: PartitionRecord | undefined): number =>
    partition === undefined ? 0 : sizeOf(collections, partition) / (pieces.get(partition.collection) ?? 1);
  for (const { collection } of partitions) pieces.set(collection, (pieces.get(collection) ?? 0) + 1);
  const total = partitions.length;
  let done = total - open.length;
  let told = Number.NEGATIVE_INFINITY;
  await using finished = new DonePartitions(store, signal);
  let begun = 0;
  await mapLimit(
    open,
    () => context.parallelRanges(bytesOf(open[Math.min(begun, open.length - 1)]), open.length - begun - 1),
    async (partition, inner, index) => {
      begun = index + 1;
      const { id, collection } = partition;
      const reading = {
        afterTime,
        isAgain: !fresh.has(collection),
        of: pieces.get(collection) ?? 1,
        behind: open.length - index - 1,
      };
      await traced('copy partition', { partition: id }, () =>
        copyPartition(context, finished, partition, reading, inner),
      );
      done++;
      const isTold = done === total || performance.now() - told > TELL_MS;
      if (isTold) told = performance.now();
      logger[isTold ? 'info' : 'debug'](`Completed writing ${done} / ${total} partitions to destination cluster`);
    },
    signal,
  );
  await finished.flush();
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
  const task = rangeTask(context, collection, partition, { afterTime, isAgain: false, of: 1, behind: 0 });
  do await emptyTarget(context, collection, signal);
  while ((await context.ranges.copy(task, UNOBSERVED, signal)) === 'restart');
}

async function copyPartition(
  context: CopyContext,
  finished: DonePartitions,
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
    marked: (place, inner) => store.savePartitions([{ ...partition, ...storedPlace(place) }], inner),
  };
  // An earlier process may have copied half of a capped collection: its order is only right from an empty start.
  if (collection.capped) await emptyTarget(context, collection, signal);
  while ((await context.ranges.copy(task, listener, signal)) === 'restart') {
    context.logger.info(`${collection.name} evicted documents faster than it was read; copying it again`);
    await emptyTarget(context, collection, signal);
    count(-documents, -bytes);
  }
  await finished.add({ ...partition, marks: [], position: undefined, done: true, documents, bytes });
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
  { afterTime, isAgain, of, behind }: Reading,
): RangeTask {
  const { estimatedBytes, estimatedDocuments } = collection.copy;
  const average = estimatedDocuments > 0 ? estimatedBytes / estimatedDocuments : 0;
  return {
    ns: collection.sourceNs,
    uuid: plainBytes(Buffer.from(collection.id, 'hex')),
    target: { ns: collection.ns, uuid: uuidBytes(createdUuid(collection)), keyPaths: collection.keyPaths },
    lower: partition.lower && plainBytes(partition.lower),
    upper: partition.upper && plainBytes(partition.upper),
    natural: partition.natural,
    resumable: partition.resumable,
    marks: partition.marks.map((each) => ({ ...each, resumeAfter: plainBytes(each.resumeAfter) })),
    position: partition.position && { ...partition.position, id: plainBytes(partition.position.id) },
    isAgain,
    filter: context.filter && plainBytes(encode(context.filter.query())),
    ordered: collection.capped,
    estimatedBytes: estimatedBytes / of,
    behind,
    batchDocuments: documentsOfReply(average),
    afterTime: plainTime(afterTime),
  };
}

/** A copy of its own: a view crosses to a thread with all of the memory that it looks at. */
function plainBytes(bytes: Uint8Array): Uint8Array {
  return Uint8Array.from(bytes);
}

function storedPlace(place: CopyPosition): { position: RangeMark | undefined } | { marks: readonly NaturalMark[] } {
  if ('marks' in place)
    return { marks: place.marks.map((each) => ({ ...each, resumeAfter: Buffer.from(each.resumeAfter) })) };
  const { position } = place;
  return { position: position && { ...position, id: Buffer.from(position.id) } };
}

async function emptyTarget(
  { destination }: CopyContext,
  collection: MigratedCollection,
  signal: AbortSignal,
): Promise<void> {
  await emptyCollection(destination, collection.ns, createdUuid(collection), signal);
}

function createdUuid({ destinationUuid, name }: MigratedCollection): Binary {
  if (destinationUuid === undefined) throw new InvariantError(`${name} has not been created on the destination`);
  return destinationUuid;
}

function bySize(collections: CollectionMap): (a: PartitionRecord, b: PartitionRecord) => number {
  return (a, b) => sizeOf(collections, b) - sizeOf(collections, a);
}

/** Bytes of the partition's collection, roughly. */
function sizeOf(collections: CollectionMap, { collection }: PartitionRecord): number {
  return collections.get(collection)?.copy.estimatedBytes ?? 0;
}
