/** Spreads the databases' primary shards, so that collections that are not sharded do not all go to one. */
import type { Doc } from '../bson/bson.js';
import { numberOf } from '../catalog/collection-spec.js';
import { changeCatalog } from '../catalog/destination-catalog.js';
import type { Cluster } from '../cluster/cluster.js';
import { Code } from '../cluster/errors.js';
import type { WritableCluster } from '../cluster/writable-cluster.js';
import { readUsableShards } from './shards.js';

/** A database to be created, and what of it will lie on its primary shard, in bytes. */
export interface DatabaseWeight {
  readonly db: string;
  readonly bytes: number;
}

/**
 * Creates databases that are not there with primary shards of our choice, the largest first, each on the shard that has
 * least. Those that are there stay where they are. Errors: the server's.
 * Source: MongoDB manual, enableSharding (`primaryShard`).
 */
export async function spreadPrimaries(
  destination: WritableCluster,
  databases: readonly DatabaseWeight[],
  signal: AbortSignal,
): Promise<void> {
  if (!destination.isSharded || databases.length === 0) return;
  const loads = new Map((await readUsableShards(destination, signal)).map((name) => [name, 0]));
  const there = await readPrimaries(destination, signal);
  const weights = [...databases].sort((a, b) => b.bytes - a.bytes);
  for (const { db, bytes } of weights) {
    const primary = there.get(db) ?? leastOf(loads);
    if (primary === undefined) return;
    loads.set(primary, (loads.get(primary) ?? 0) + bytes + 1);
    if (there.has(db)) continue;
    const command = { enableSharding: db, primaryShard: primary };
    // Somebody else, or an earlier run, has made it on another shard.
    await changeCatalog(destination, 'admin', command, signal, [Code.NamespaceExists]);
  }
}

function leastOf(loads: ReadonlyMap<string, number>): string | undefined {
  const [least] = [...loads].sort(([, a], [, b]) => a - b);
  return least?.[0];
}

/** The primary shard of each database that is there. */
async function readPrimaries(cluster: Cluster, signal: AbortSignal): Promise<Map<string, string>> {
  const command = { find: 'databases', filter: {}, batchSize: 100_000, readConcern: { level: 'majority' } };
  const reply = await cluster.read('reading primary shards', 'config', command, signal);
  const { firstBatch } = reply['cursor'] as { firstBatch: { _id: string; primary: string }[] };
  return new Map(firstBatch.map(({ _id, primary }) => [_id, primary]));
}

/** The bytes on disk of all databases that a user may see. */
export async function readDatabaseSizes(cluster: Cluster, signal: AbortSignal): Promise<Map<string, number>> {
  const reply = await cluster.read('sizing databases', 'admin', { listDatabases: 1 }, signal);
  return new Map(
    (reply['databases'] as Doc[]).map((each) => [String(each['name']), numberOf(each['sizeOnDisk'] ?? 0)]),
  );
}
