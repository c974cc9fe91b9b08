/** Drops, after a commit, the indexes that were there for shard keys alone. */
import type { OrderedDoc } from '../bson/bson.js';
import { changeCatalog } from '../catalog/destination-catalog.js';
import { indexName } from '../catalog/index-spec.js';
import { sameKey, supportsKey } from '../catalog/shard-key-index.js';
import { Code, codeOf, isTransient, safeText } from '../cluster/errors.js';
import type { WritableCluster } from '../cluster/writable-cluster.js';
import type { MigratedCollection } from '../metadata/collections.js';

/** Whose indexes are dropped. */
export interface KeyIndexes {
  readonly destination: WritableCluster;
  readonly collections: readonly MigratedCollection[];
  /** Whether the migration builds an index of the source's. */
  readonly isBuilt: (spec: OrderedDoc) => boolean;
  /** Whether those stay that nothing else supports the key of: they were asked for. */
  readonly isWanted: boolean;
}

/**
 * Drops the index that the server made for a shard key, where another one of the collection supports the key; a shard key
 * needs one. Resolves with a line for each that stays although it was not asked for. Source: mongosync's reference, start,
 * createSupportingIndexes.
 */
export async function dropKeyIndexes(parts: KeyIndexes, signal: AbortSignal): Promise<string[]> {
  const { destination, collections, isBuilt, isWanted } = parts;
  const left: string[] = [];
  for (const { name, ns, kept = [], indexes, shardKeys } of collections) {
    const key = shardKeys?.destination?.key;
    const own = key && kept.find((spec) => sameKey(spec.get('key') as OrderedDoc, key));
    if (key === undefined || own === undefined) continue;
    const others = indexes.filter((spec) => isBuilt(spec) && indexName(spec) !== indexName(own));
    if (!others.some((spec) => supportsKey(key, spec))) {
      if (!isWanted)
        left.push(
          `the index ${indexName(own)} of ${name} stays on the destination, because its shard key has no other`,
        );
      continue;
    }
    try {
      const gone = [Code.IndexNotFound, Code.NamespaceNotFound];
      await changeCatalog(destination, ns.db, { dropIndexes: ns.coll, index: indexName(own) }, signal, gone);
    } catch (error) {
      if (codeOf(error) === undefined || isTransient(error)) throw error;
      left.push(`the index ${indexName(own)} of ${name} stays on the destination: ${safeText(error)}`);
    }
  }
  return left;
}
