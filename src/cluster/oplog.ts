/** Reads how far back the oplog of a cluster reaches. */
import type { Cluster } from './cluster.js';

/** A cluster whose oplog is looked at. */
export type OplogCluster = Pick<Cluster, 'isSharded' | 'read'>;

/** Seconds between the first and the last entry of a cluster's oplog; undefined when it cannot be read. */
export async function oplogWindowSeconds(cluster: OplogCluster, signal: AbortSignal): Promise<number | undefined> {
  const first = await oplogTime(cluster, 1, signal);
  const last = await oplogTime(cluster, -1, signal);
  return first === undefined || last === undefined ? undefined : last - first;
}

/**
 * Seconds since the epoch of the oldest (1) or newest (-1) entry; undefined for a sharded cluster, since a mongos shows
 * no oplog of its shards.
 */
export async function oplogTime(
  cluster: OplogCluster,
  direction: 1 | -1,
  signal: AbortSignal,
): Promise<number | undefined> {
  if (cluster.isSharded) return undefined;
  const command = { find: 'oplog.rs', filter: {}, sort: { $natural: direction }, limit: 1, projection: { ts: 1 } };
  const reply = await cluster.read('reading the oplog window', 'local', command, signal);
  const [entry] = (reply['cursor'] as { firstBatch: { ts: { getHighBitsUnsigned(): number } }[] }).firstBatch;
  return entry?.ts.getHighBitsUnsigned();
}
