/** Compares the number of documents of a collection on both sides. */
import { numberOf } from '../catalog/collection-spec.js';
import type { Cluster } from '../cluster/cluster.js';
import type { CollectionAt } from '../documents/read-by-id.js';
import type { MigratedCollection } from '../metadata/collections.js';
import { onDestination, onSource, type Pair } from './compare-ids.js';

/**
 * Whether a collection has as many documents on both sides, which finds what came without a change event. `surplus`: so
 * many more are known to be on the destination, since they have expired. The quick count may be wrong after a crash, so
 * a difference counts only when the documents themselves are counted, too. On a sharded cluster it counts what a
 * chunk's move has left behind, and is of no use. Source: MongoDB manual, "count", Behavior.
 */
export async function sameCount(
  pair: Pair,
  collection: MigratedCollection,
  surplus: number,
  signal: AbortSignal,
): Promise<boolean> {
  const source = onSource(collection, pair);
  const destination = onDestination(collection, pair);
  const isSharded = pair.source.isSharded || pair.destination.isSharded;
  for (const count of isSharded ? [exact] : [quick, exact]) {
    const [a, b] = await Promise.all([
      count(pair.source, source, signal),
      count(pair.destination, destination, signal),
    ]);
    if (a + surplus === b) return true;
  }
  return false;
}

async function quick(cluster: Cluster, { ns }: CollectionAt, signal: AbortSignal): Promise<number> {
  const reply = await cluster.read(`counting ${ns.coll}`, ns.db, { count: ns.coll }, signal);
  return numberOf(reply['n']);
}

async function exact(cluster: Cluster, { ns }: CollectionAt, signal: AbortSignal): Promise<number> {
  const command = {
    aggregate: ns.coll,
    pipeline: [{ $group: { _id: 1, n: { $sum: 1 } } }],
    cursor: {},
    readConcern: { level: 'majority', ...(cluster.now === undefined ? {} : { afterClusterTime: cluster.now }) },
  };
  const reply = await cluster.read(`counting ${ns.coll}`, ns.db, command, signal);
  const [counted] = (reply['cursor'] as { firstBatch: { n: unknown }[] }).firstBatch;
  return counted === undefined ? 0 : numberOf(counted.n);
}
