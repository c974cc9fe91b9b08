/** Finds changes of how the source is sharded that no change event tells of. */
import { uuidText } from '../bson/uuid.js';
import { nsText } from '../catalog/namespace.js';
import { sameKey } from '../catalog/shard-key-index.js';
import { readShardedCollections, type ShardedCollection } from '../catalog/shard-keys.js';
import type { Cluster } from '../cluster/cluster.js';
import { AppError } from '../errors.js';
import type { MigratedCollection } from '../metadata/collections.js';

/** What has been found, one line for each collection. */
export interface ShardingChanges {
  /** Certain at any time: another key under the same UUID, or a reshard that is under way. */
  readonly certain: readonly string[];
  /** Another UUID under the same name: a reshard that is over, if all events of drops and creations until now are applied. */
  readonly likely: readonly string[];
}

/**
 * Looks for collections that were sharded anew. refineCollectionShardKey keeps a collection's UUID and reshardCollection
 * gives it another, and neither has an event before 7.0 (tried on 6.0.5 and 6.0.27): the config servers' list is the only
 * one to tell.
 */
export async function findShardingChanges(
  source: Cluster,
  collections: readonly MigratedCollection[],
  signal: AbortSignal,
): Promise<ShardingChanges> {
  if (!source.isSharded) return { certain: [], likely: [] };
  const sharded = await readShardedCollections(source, signal);
  const byId = new Map(sharded.map((each) => [uuidText(each.uuid), each]));
  const byName = new Map(sharded.map((each) => [each.ns, each]));
  const certain: string[] = [];
  const likely: string[] = [];
  for (const collection of collections) {
    const now = byId.get(collection.id);
    if (now !== undefined) certain.push(...changeOf(collection, now));
    else if (collection.shardKeys?.source !== undefined && byName.has(nsText(collection.sourceNs)))
      likely.push(`${collection.name} was dropped and created again, as reshardCollection does it`);
  }
  return { certain, likely };
}

function changeOf({ name, shardKeys }: MigratedCollection, now: ShardedCollection): string[] {
  if (now.isBeingResharded) return [`${name} is being resharded`];
  const known = shardKeys?.source?.key;
  // Sharded since: an event tells of it.
  return known === undefined || sameKey(now.key, known) ? [] : [`${name} has another shard key on the source`];
}

/** The error of a migration whose source was sharded anew. */
export function shardingChanged(changes: readonly string[]): AppError {
  return new AppError(
    'ShardingChanged',
    `the sharding of the source was changed during the migration: ${changes.join('; ')}. Start a new migration, and change shard keys before or after it`,
  );
}
