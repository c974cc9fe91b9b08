/** Cuts the collections that are to be copied into partitions. */
import { uuidFrom } from '../bson/uuid.js';
import type { Cluster } from '../cluster/cluster.js';
import { type CollectionSize, collectionSize, sampleBounds } from '../documents/partition.js';

import { mapLimit } from '../lib/limit.js';
import type { Logger } from '../lib/logger.js';
import type { CollectionMap, MigratedCollection } from '../metadata/collections.js';
import type { PartitionRecord } from '../metadata/records.js';
import type { MetadataStore } from '../metadata/store.js';
import { isNatural, type NaturalOrder } from './natural-order.js';

/** Size of a partition in bytes. */
export const PARTITION_BYTES = 64 * 1024 * 1024;
const MAX_PARTITIONS = 2000;
const PARALLEL_PLANS = 8;

/** What the planning works with. */
export interface PlanContext {
  readonly source: Cluster;
  readonly store: MetadataStore;
  readonly collections: CollectionMap;
  readonly naturalOrder: NaturalOrder;
  /** Collections are cut into pieces of about so many bytes. */
  readonly partitionBytes: number;
  readonly logger: Logger;
}

/**
 * Cuts every collection whose copy is pending into partitions and stores them. A partition is a half-open range of
 * `_id`s in the server's own order, so that every type and collation is covered (docs/03-copy.md); a small or capped
 * collection, and one that is to be copied in natural order, is one. Resolves with the ids of those collections:
 * nothing of them has been copied yet.
 */
export async function planCopy(context: PlanContext, signal: AbortSignal): Promise<ReadonlySet<string>> {
  const { store, collections } = context;
  const pending = collections.live().filter((each) => each.copy.status === 'pending');
  const plans = await mapLimit(pending, PARALLEL_PLANS, (each, inner) => plan(context, each, inner), signal);
  await store.savePartitions(
    plans.flatMap((each) => each.partitions),
    signal,
  );
  await collections.add(
    plans.map(({ collection, size }) => ({
      ...collection,
      copy: { status: 'planned', estimatedDocuments: size.documents, estimatedBytes: size.bytes },
    })),
    signal,
  );
  return new Set(pending.map(({ id }) => id));
}

/** As it was sized when it was created on the destination; nothing is known of an empty one. */
function knownSize({ copy }: MigratedCollection): CollectionSize | undefined {
  const { estimatedDocuments: documents, estimatedBytes: bytes } = copy;
  return documents > 0 ? { documents, bytes } : undefined;
}

async function plan(
  { source, naturalOrder, partitionBytes, logger }: PlanContext,
  collection: MigratedCollection,
  signal: AbortSignal,
): Promise<{ collection: MigratedCollection; size: CollectionSize; partitions: PartitionRecord[] }> {
  const uuid = uuidFrom(Buffer.from(collection.id, 'hex'));
  const size = knownSize(collection) ?? (await collectionSize(source, collection.sourceNs, signal));
  const isScanned = await isNatural(source, collection, size.bytes, naturalOrder, signal);
  // A mongos gives no tokens to go on with: what is interrupted is read again from its beginning.
  const resumable = isScanned && !source.isSharded;
  if (isScanned) {
    const { db: database, coll } = collection.sourceNs;
    const reason = 'Selected for natural order collection reads';
    logger.info('Creating a single partition for whole collection', { database, collection: coll, reason });
  }
  const wanted = collection.capped || isScanned ? 1 : Math.min(MAX_PARTITIONS, Math.ceil(size.bytes / partitionBytes));
  const sample = { partitions: wanted, documents: size.documents };
  const bounds = wanted <= 1 ? [] : await sampleBounds(source, collection.sourceNs, uuid, sample, signal);
  const natural = bounds.length === 0;
  const partitions = [undefined, ...bounds].map((lower, index) => ({
    id: `${collection.id}:${index}`,
    collection: collection.id,
    lower,
    upper: bounds[index],
    natural,
    resumable,
    marks: [],
    done: false,
    documents: 0,
    bytes: 0,
  }));
  return { collection, size, partitions };
}
