/** Samples a collection for bounds of `_id` ranges, and estimates its size. */
import { type Binary, type Doc, decodeOrdered, encode, survivesDecoding } from '../bson/bson.js';
import { idDocument } from '../bson/raw-document.js';
import { numberOf } from '../catalog/collection-spec.js';
import { type Namespace, nsText } from '../catalog/namespace.js';
import type { Cluster } from '../cluster/cluster.js';
import { Code, codeOf, isMoved } from '../cluster/errors.js';
import { rawBatches } from './raw-cursor.js';

/** Samples per partition: enough for even ranges, few enough for the server's random cursor. */
const SAMPLES_PER_PARTITION = 20;
/** Of all documents; from 5 % on the server reads them all. */
const MAX_SAMPLED = 0.04;

/** How large a collection is, estimated. */
export interface CollectionSize {
  readonly documents: number;
  readonly bytes: number;
}

/**
 * Documents and bytes as the server counts them, which is an estimate. A collection that is gone has none of either.
 * `dataSize` with its estimate costs the server a twentieth of $collStats, which gathers all statistics of the storage;
 * it takes no UUID, so another collection of that name may be meant. Source: MongoDB manual, dataSize; a mongos sums it.
 */
export async function collectionSize(cluster: Cluster, ns: Namespace, signal: AbortSignal): Promise<CollectionSize> {
  const command = { dataSize: nsText(ns), estimate: true };
  try {
    const reply = await cluster.read(`sizing ${nsText(ns)}`, ns.db, command, signal);
    return { documents: numberOf(reply['numObjects'] ?? 0), bytes: numberOf(reply['size'] ?? 0) };
  } catch (error) {
    if (isMoved(error) || codeOf(error) === Code.CommandNotSupportedOnView) return { documents: 0, bytes: 0 };
    throw error;
  }
}

/**
 * `{_id: …}` bounds in ascending order. The server samples, sorts and removes equal ones itself, since only it knows
 * the order of mixed types and collations; a bound that would change in a command is left out. `documents`: how many
 * there are. A sample of more than one in twenty would make the server read the whole collection.
 */
export async function sampleBounds(
  cluster: Cluster,
  ns: Namespace,
  uuid: Binary | undefined,
  wanted: { readonly partitions: number; readonly documents: number },
  signal: AbortSignal,
): Promise<Buffer[]> {
  const size = Math.min(wanted.partitions * SAMPLES_PER_PARTITION, Math.floor(wanted.documents * MAX_SAMPLED));
  if (size < 1) return [];
  const pipeline = [{ $sample: { size } }, { $group: { _id: '$_id' } }, { $sort: { _id: 1 } }];
  const samples = await aggregateHere(cluster, `sampling ${nsText(ns)}`, ns, uuid, pipeline, signal);
  const partitions = Math.min(wanted.partitions, samples.length + 1);
  const step = samples.length / partitions;
  const bounds = Array.from({ length: partitions - 1 }, (_, index) => samples[Math.floor((index + 1) * step)]);
  const usable = bounds.filter((each): each is Buffer => each !== undefined && survivesDecoding(each));
  return distinct(usable.map((each) => idDocument(each) ?? encode(decodeOrdered(each))));
}

/** What an aggregation gives; nothing where the name no longer holds that collection: the copy finds out what became of it. */
async function aggregateHere(
  cluster: Cluster,
  what: string,
  { db, coll }: Namespace,
  uuid: Binary | undefined,
  pipeline: readonly Doc[],
  signal: AbortSignal,
): Promise<Buffer[]> {
  const guard = uuid !== undefined && cluster.isAtLeast(6) ? { collectionUUID: uuid } : {};
  const command = { aggregate: coll, pipeline, cursor: {}, allowDiskUse: true, ...guard };
  return cluster.attempt(what, signal, async () => {
    const documents: Buffer[] = [];
    try {
      for await (const batch of rawBatches(cluster, { db, command }, signal)) documents.push(...batch.documents);
      return documents;
    } catch (error) {
      if (isMoved(error) || codeOf(error) === Code.CommandNotSupportedOnView) return [];
      throw error;
    }
  });
}

function distinct(bounds: readonly Buffer[]): Buffer[] {
  return bounds.filter((each, index) => index === 0 || !each.equals(bounds[index - 1] as Buffer));
}
