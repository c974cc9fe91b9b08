/** Drops, after a commit, the indexes that were there for shard keys alone. */
import type { OrderedDoc } from '../bson/bson.js';
import { changeCatalog } from '../catalog/destination-catalog.js';
import { indexName } from '../catalog/index-spec.js';
import type { Namespace } from '../catalog/namespace.js';
import { isHashedKey, sameKey, supportsKey } from '../catalog/shard-key-index.js';
import { Code, codeOf, isTransient, safeText } from '../cluster/errors.js';
import type { WritableCluster } from '../cluster/writable-cluster.js';
import type { CollectionMap } from '../metadata/collections.js';

/** Whose indexes are dropped. */
export interface KeyIndexes {
  readonly destination: WritableCluster;
  readonly collections: CollectionMap;
  /** Whether the migration builds an index of the source's. */
  readonly isBuilt: (spec: OrderedDoc) => boolean;
  /** Whether the index of this key stays where nothing else supports it: it was asked for. */
  readonly isWanted: (key: OrderedDoc) => boolean;
}

/**
 * Drops the index that the server made for a shard key: where another one of the collection supports the key, and where
 * hashed indexes are not to be built, if the server can do without (5.0.22, 6.0.12, 7.0.3). Any other key needs one.
 * Resolves with a line for each that stays although it was not asked for. Source: mongosync's reference, start,
 * createSupportingIndexes; MongoDB manual, "Drop a Hashed Shard Key Index".
 */
export async function dropKeyIndexes(parts: KeyIndexes, signal: AbortSignal): Promise<string[]> {
  const { destination, collections, isBuilt, isWanted } = parts;
  const left: string[] = [];
  for (const { id, name, ns, kept = [], indexes, shardKeys } of collections.live()) {
    const key = shardKeys?.destination?.key;
    const own = key && kept.find((spec) => sameKey(spec.get('key') as OrderedDoc, key));
    if (key === undefined || own === undefined) continue;
    const ofSource = indexes.filter(isBuilt);
    // The source has got just this one since.
    if (ofSource.some((spec) => indexName(spec) === indexName(own))) continue;
    const isNeeded = !ofSource.some((spec) => supportsKey(key, spec));
    if (isNeeded && isWanted(key)) continue;
    const stays = `the index ${indexName(own)} of ${name} stays on the destination`;
    if (isNeeded && !isHashedKey(key)) left.push(`${stays}, because its shard key has no other`);
    else {
      const refusal = await drop(destination, ns, own, signal);
      if (refusal !== undefined) left.push(`${stays}: ${refusal}`);
      // A reversal looks for those that are there.
      else await collections.update(id, { kept: kept.filter((spec) => spec !== own) }, signal);
    }
  }
  return left;
}

/** Resolves with the server's reason, if it refused. */
async function drop(
  destination: WritableCluster,
  ns: Namespace,
  index: OrderedDoc,
  signal: AbortSignal,
): Promise<string | undefined> {
  try {
    const gone = [Code.IndexNotFound, Code.NamespaceNotFound];
    await changeCatalog(destination, ns.db, { dropIndexes: ns.coll, index: indexName(index) }, signal, gone);
    return undefined;
  } catch (error) {
    if (codeOf(error) === undefined || isTransient(error)) throw error;
    return safeText(error);
  }
}
