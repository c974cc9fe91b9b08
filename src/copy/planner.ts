import { decodeOrdered, encode, survivesDecoding } from '../cluster/bson.js';
import type { Cluster } from '../cluster/cluster.js';
import { numberOf } from '../cluster/collection-spec.js';
import { Code, codeOf } from '../cluster/errors.js';
import { nsText } from '../cluster/namespace.js';
import { idDocument } from '../cluster/raw-document.js';
import { mapLimit } from '../lib/limit.js';
import type { CollectionMap, MigratedCollection } from '../metadata/collections.js';
import type { PartitionRecord } from '../metadata/records.js';
import type { MetadataStore } from '../metadata/store.js';
import { isNatural, type NaturalOrder } from './natural-order.js';

const PARTITION_BYTES = 64 * 1024 * 1024;
/** Samples per partition: enough for even ranges, few enough for the server's random cursor. */
const SAMPLES_PER_PARTITION = 20;
const MAX_PARTITIONS = 2000;
const PARALLEL_PLANS = 8;

/** What the planning works with. */
export interface PlanContext {
  readonly source: Cluster;
  readonly store: MetadataStore;
  readonly collections: CollectionMap;
  readonly naturalOrder: NaturalOrder;
}

interface Size {
  readonly documents: number;
  readonly bytes: number;
}

/**
 * Cuts every collection whose copy is pending into partitions and stores them. A partition is a half-open range of
 * `_id`s in the server's own order, so that every type and collation is covered (docs/03-copy.md); a small or capped
 * collection, and one that is to be copied in natural order, is one.
 */
export async function planCopy(context: PlanContext, signal: AbortSignal): Promise<void> {
  const { source, store, collections, naturalOrder } = context;
  const pending = collections.live().filter((each) => each.copy.status === 'pending');
  const plans = await mapLimit(
    pending,
    PARALLEL_PLANS,
    (each, inner) => plan(source, each, naturalOrder, inner),
    signal,
  );
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
}

async function plan(
  source: Cluster,
  collection: MigratedCollection,
  naturalOrder: NaturalOrder,
  signal: AbortSignal,
): Promise<{ collection: MigratedCollection; size: Size; partitions: PartitionRecord[] }> {
  const size = await sizeOf(source, collection, signal);
  const resumable = await isNatural(source, collection, size.bytes, naturalOrder, signal);
  const wanted = collection.capped || resumable ? 1 : Math.min(MAX_PARTITIONS, Math.ceil(size.bytes / PARTITION_BYTES));
  const bounds = wanted <= 1 ? [] : await sampleBounds(source, collection, wanted, signal);
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

async function sizeOf(source: Cluster, collection: MigratedCollection, signal: AbortSignal): Promise<Size> {
  const { db, coll } = collection.ns;
  try {
    const reply = await source.read(
      `sizing ${nsText(collection.ns)}`,
      db,
      { aggregate: coll, pipeline: [{ $collStats: { storageStats: {} } }], cursor: {} },
      signal,
    );
    const [stats] = (reply['cursor'] as { firstBatch: { storageStats: Record<string, unknown> }[] }).firstBatch;
    return {
      documents: numberOf(stats?.storageStats['count'] ?? 0),
      bytes: numberOf(stats?.storageStats['size'] ?? 0),
    };
  } catch (error) {
    // Dropped since it was listed: the copy will find it gone, and its drop event follows.
    if (codeOf(error) === Code.NamespaceNotFound) return { documents: 0, bytes: 0 };
    throw error;
  }
}

/**
 * `{_id: …}` bounds in ascending order. The server samples, sorts and removes equal ones itself, since only it knows
 * the order of mixed types and collations; a bound that would change in a command is left out.
 */
async function sampleBounds(
  source: Cluster,
  collection: MigratedCollection,
  partitions: number,
  signal: AbortSignal,
): Promise<Buffer[]> {
  const pipeline = [
    { $sample: { size: partitions * SAMPLES_PER_PARTITION } },
    { $group: { _id: '$_id' } },
    { $sort: { _id: 1 } },
  ];
  const command = { aggregate: collection.ns.coll, pipeline, cursor: { batchSize: 100_000 }, allowDiskUse: true };
  const reply = await source.read(`sampling ${nsText(collection.ns)}`, collection.ns.db, command, signal, {
    firstBatch: true,
  });
  const samples = (reply['cursor'] as { firstBatch: Buffer[] }).firstBatch;
  const step = samples.length / partitions;
  const bounds = Array.from({ length: partitions - 1 }, (_, index) => samples[Math.round((index + 1) * step)]);
  const usable = bounds.filter((each): each is Buffer => each !== undefined && survivesDecoding(each));
  return distinct(usable.map((each) => idDocument(each) ?? encode(decodeOrdered(each))));
}

function distinct(bounds: readonly Buffer[]): Buffer[] {
  return bounds.filter((each, index) => index === 0 || !each.equals(bounds[index - 1] as Buffer));
}
