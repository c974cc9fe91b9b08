import { type Doc, decodeOrdered, encode, survivesDecoding } from './bson.js';
import type { Cluster } from './cluster.js';
import { numberOf } from './collection-spec.js';
import { Code, codeOf } from './errors.js';
import { type Namespace, nsText } from './namespace.js';
import { idDocument } from './raw-document.js';

/** Samples per partition: enough for even ranges, few enough for the server's random cursor. */
const SAMPLES_PER_PARTITION = 20;

/** How large a collection is, estimated. */
export interface CollectionSize {
  readonly documents: number;
  readonly bytes: number;
}

/** Documents and bytes as the server counts them, which is an estimate. A collection that is gone has none of either. */
export async function collectionSize(cluster: Cluster, ns: Namespace, signal: AbortSignal): Promise<CollectionSize> {
  try {
    const reply = await cluster.read(
      `sizing ${nsText(ns)}`,
      ns.db,
      { aggregate: ns.coll, pipeline: [{ $collStats: { storageStats: {} } }], cursor: {} },
      signal,
    );
    const [stats] = (reply['cursor'] as { firstBatch: { storageStats: Record<string, unknown> }[] }).firstBatch;
    return {
      documents: numberOf(stats?.storageStats['count'] ?? 0),
      bytes: numberOf(stats?.storageStats['size'] ?? 0),
    };
  } catch (error) {
    if (isGone(error)) return { documents: 0, bytes: 0 };
    throw error;
  }
}

/**
 * `{_id: …}` bounds in ascending order. The server samples, sorts and removes equal ones itself, since only it knows
 * the order of mixed types and collations; a bound that would change in a command is left out.
 */
export async function sampleBounds(
  cluster: Cluster,
  ns: Namespace,
  partitions: number,
  signal: AbortSignal,
): Promise<Buffer[]> {
  const pipeline = [
    { $sample: { size: partitions * SAMPLES_PER_PARTITION } },
    { $group: { _id: '$_id' } },
    { $sort: { _id: 1 } },
  ];
  const command = { aggregate: ns.coll, pipeline, cursor: { batchSize: 100_000 }, allowDiskUse: true };
  const samples = await sample(cluster, ns, command, signal);
  const step = samples.length / partitions;
  const bounds = Array.from({ length: partitions - 1 }, (_, index) => samples[Math.round((index + 1) * step)]);
  const usable = bounds.filter((each): each is Buffer => each !== undefined && survivesDecoding(each));
  return distinct(usable.map((each) => idDocument(each) ?? encode(decodeOrdered(each))));
}

async function sample(cluster: Cluster, ns: Namespace, command: Doc, signal: AbortSignal): Promise<Buffer[]> {
  try {
    const reply = await cluster.read(`sampling ${nsText(ns)}`, ns.db, command, signal, { firstBatch: true });
    return (reply['cursor'] as { firstBatch: Buffer[] }).firstBatch;
  } catch (error) {
    if (isGone(error)) return [];
    throw error;
  }
}

/** Dropped since it was listed, with a view of its name at most: its reader will find it gone, its drop event follows. */
function isGone(error: unknown): boolean {
  const code = codeOf(error);
  return code === Code.NamespaceNotFound || code === Code.CommandNotSupportedOnView;
}

function distinct(bounds: readonly Buffer[]): Buffer[] {
  return bounds.filter((each, index) => index === 0 || !each.equals(bounds[index - 1] as Buffer));
}
