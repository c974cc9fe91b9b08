/** Finds changes of how the source is sharded that no change event tells of. */
import { uuidText } from '../bson/uuid.js';
import { sameKey } from '../catalog/shard-key-index.js';
import { readShardedCollections } from '../catalog/shard-keys.js';
import type { Cluster } from '../cluster/cluster.js';
import type { MigratedCollection } from '../metadata/collections.js';

/**
 * The collections whose shard key is no longer the one that the migration knows, one line each. refineCollectionShardKey
 * keeps a collection's UUID and reshardCollection gives it another, and neither has an event before 7.0 (tried on 6.0.5
 * and 6.0.27): the config servers' list is the only one to tell.
 */
export async function changedShardKeys(
  source: Cluster,
  collections: readonly MigratedCollection[],
  signal: AbortSignal,
): Promise<string[]> {
  if (!source.isSharded) return [];
  const sharded = await readShardedCollections(source, signal);
  const byId = new Map(sharded.map((each) => [uuidText(each.uuid), each]));
  return collections.flatMap(({ id, name, shardKeys }) => {
    const now = byId.get(id);
    const known = shardKeys?.source?.key;
    // Sharded since, or no longer there under this UUID: other events tell of these.
    if (now === undefined || known === undefined) return [];
    return sameKey(now.key, known) ? [] : [`${name} has another shard key on the source`];
  });
}
