/** Shards a collection of the destination, with the index that its shard key needs. */
import type { Doc, OrderedDoc } from '../bson/bson.js';
import { findCollection, listIndexes } from '../catalog/catalog.js';
import { isCollated } from '../catalog/collection-spec.js';
import { changeCatalog } from '../catalog/destination-catalog.js';
import { indexName, relaxedIndex } from '../catalog/index-spec.js';
import { type Namespace, nsText } from '../catalog/namespace.js';
import { isIdKey, sameKey, supportingIndex } from '../catalog/shard-key-index.js';
import type { ShardKey } from '../catalog/shard-keys.js';
import type { WritableCluster } from '../cluster/writable-cluster.js';
import { AppError } from '../errors.js';

/** A collection of the destination that is to be sharded. */
export interface ToShard {
  readonly ns: Namespace;
  readonly shardKey: ShardKey;
  readonly options: OrderedDoc;
  /** The source's that the migration builds: one that supports the key is built before, so that no other is needed. */
  readonly indexes: readonly OrderedDoc[];
}

/**
 * Shards a collection; nothing where it is sharded so already. The key's values are not kept unique before the commit:
 * changes of several documents arrive in another order than they were made. Resolves with the indexes that the server has
 * made for the key and nobody else wants. Errors: DestinationModified when it is sharded by another key.
 * Source: MongoDB manual, shardCollection.
 */
export async function shardCollection(
  destination: WritableCluster,
  wanted: ToShard,
  signal: AbortSignal,
): Promise<OrderedDoc[]> {
  const { ns, shardKey, options, indexes } = wanted;
  const known = (await findCollection(destination, ns, signal))?.sharding;
  if (known === undefined) {
    const index = isIdKey(shardKey.key) ? undefined : supportingIndex(shardKey.key, indexes);
    if (index !== undefined) await createFirst(destination, wanted, index, signal);
    await changeCatalog(destination, 'admin', commandOf(ns, shardKey, options), signal);
  } else if (!sameKey(known.key, shardKey.key)) {
    throw new AppError(
      'DestinationModified',
      `someone else sharded ${nsText(ns)} on the destination by another key during the migration`,
    );
  }
  const names = new Set(indexes.map(indexName));
  const found = await listIndexes(destination, ns, signal);
  return found.filter((spec) => !names.has(indexName(spec)) && sameKey(spec.get('key') as OrderedDoc, shardKey.key));
}

async function createFirst(
  destination: WritableCluster,
  { ns, options }: ToShard,
  index: OrderedDoc,
  signal: AbortSignal,
): Promise<void> {
  const { spec } = relaxedIndex(index, options);
  await changeCatalog(destination, ns.db, { createIndexes: ns.coll, indexes: [spec] }, signal);
}

/** A collation of the collection must be overruled: keys compare texts plainly. */
function commandOf(ns: Namespace, { key }: ShardKey, options: OrderedDoc): Doc {
  return {
    shardCollection: nsText(ns),
    key,
    unique: false,
    ...(isCollated(options) ? { collation: { locale: 'simple' } } : {}),
  };
}
