/** Cuts collections into the ranges that the verifier compares. */
import { uuidFrom } from '../bson/uuid.js';
import type { Cluster } from '../cluster/cluster.js';
import { collectionSize, sampleBounds } from '../documents/partition.js';

import { mapLimit } from '../lib/limit.js';
import type { MigratedCollection } from '../metadata/collections.js';
import type { VerifyRange } from '../metadata/verification-store.js';

const RANGE_BYTES = 64 * 1024 * 1024;
/** Bytes of one reply; two replies of each side are held per range. */
const BATCH_BYTES = 2 * 1024 * 1024;
const MAX_BATCH_DOCUMENTS = 10_000;
const MAX_RANGES = 2000;
const PARALLEL = 8;

/**
 * Cuts collections into half-open ranges of `_id`s to compare. Their bounds are sampled anew, so that they are others
 * than the copy's: a hole between two of its ranges lies within one of these.
 */
export async function planRanges(
  source: Cluster,
  collections: readonly MigratedCollection[],
  /** Distinguishes these ranges from others of the same collections. */
  series: string,
  signal: AbortSignal,
): Promise<VerifyRange[]> {
  const plans = await mapLimit(collections, PARALLEL, (each, inner) => planOne(source, each, series, inner), signal);
  return plans.flat();
}

async function planOne(
  source: Cluster,
  collection: MigratedCollection,
  series: string,
  signal: AbortSignal,
): Promise<VerifyRange[]> {
  const uuid = uuidFrom(Buffer.from(collection.id, 'hex'));
  const size = await collectionSize(source, collection.sourceNs, signal);
  const wanted = Math.min(MAX_RANGES, Math.ceil(size.bytes / RANGE_BYTES));
  const sample = { partitions: wanted, documents: size.documents };
  const bounds = wanted <= 1 ? [] : await sampleBounds(source, collection.sourceNs, uuid, sample, signal);
  const average = size.bytes / Math.max(1, size.documents);
  const batchDocuments = Math.max(1, Math.min(MAX_BATCH_DOCUMENTS, Math.floor(BATCH_BYTES / Math.max(1, average))));
  return [undefined, ...bounds].map((lower, index) => ({
    id: `${collection.id}:${series}${index}`,
    collection: collection.id,
    lower,
    upper: bounds[index],
    estimatedDocuments: Math.ceil(size.documents / (bounds.length + 1)),
    estimatedBytes: Math.ceil(size.bytes / (bounds.length + 1)),
    batchDocuments,
    done: false,
    sourceDocuments: 0,
    destinationDocuments: 0,
  }));
}
