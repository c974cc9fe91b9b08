import type { Cluster } from '../cluster/cluster.js';
import { numberOf } from '../cluster/collection-spec.js';
import type { CollectionAt } from '../cluster/read-by-id.js';
import type { MigratedCollection } from '../metadata/collections.js';
import { onDestination, onSource, type Pair } from './compare-ids.js';

/**
 * Whether a collection has as many documents on both sides, which finds what came without a change event. The quick
 * count may be wrong after a crash, so a difference counts only when the documents themselves are counted, too.
 */
export async function sameCount(pair: Pair, collection: MigratedCollection, signal: AbortSignal): Promise<boolean> {
  const source = onSource(collection, pair);
  const destination = onDestination(collection);
  if ((await quick(pair.source, source, signal)) === (await quick(pair.destination, destination, signal))) return true;
  return (await exact(pair.source, source, signal)) === (await exact(pair.destination, destination, signal));
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
