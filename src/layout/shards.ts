/** Reads which shards a sharded cluster has. */
import type { Cluster } from '../cluster/cluster.js';

/** A shard of a cluster. */
export interface Shard {
  readonly name: string;
  /** Its data is being moved to the others, after which it leaves. */
  readonly isDraining: boolean;
}

/** The shards of a cluster, by name. Source: MongoDB manual, config database, `config.shards`. */
export async function readShards(cluster: Cluster, signal: AbortSignal): Promise<Shard[]> {
  const command = { find: 'shards', filter: {}, sort: { _id: 1 }, batchSize: 10_000 };
  const reply = await cluster.read('reading the shards', 'config', command, signal);
  const { firstBatch } = reply['cursor'] as { firstBatch: { _id: string; draining?: boolean }[] };
  return firstBatch.map(({ _id, draining }) => ({ name: _id, isDraining: draining === true }));
}

/** Those that may be given data. */
export async function readUsableShards(cluster: Cluster, signal: AbortSignal): Promise<string[]> {
  return (await readShards(cluster, signal)).filter(({ isDraining }) => !isDraining).map(({ name }) => name);
}
