/** Reads by which keys the collections of a sharded cluster are sharded. */
import { type Binary, type Doc, decodeOrdered, type OrderedDoc } from '../bson/bson.js';
import type { Cluster } from '../cluster/cluster.js';
import { type Namespace, nsText } from './namespace.js';

/** How a collection is sharded. */
export interface ShardKey {
  /** The key pattern: 1 or "hashed" by field path, in the key's order. */
  readonly key: OrderedDoc;
  /** Whether the server keeps the key's values unique. */
  readonly unique: boolean;
}

/** Those of the sharded collections of a database, by namespace. */
export type ShardKeys = ReadonlyMap<string, ShardKey>;

const NONE: ShardKeys = new Map();

/**
 * The shard keys of a database's collections, or of one collection; none where the deployment is not sharded. Source:
 * MongoDB manual, config database, `config.collections`. Collections that newer servers keep there although they are not
 * sharded (`unsplittable`, 8.0) are left out.
 */
export async function readShardKeys(
  cluster: Cluster,
  { db, coll }: Partial<Namespace> & Pick<Namespace, 'db'>,
  signal: AbortSignal,
): Promise<ShardKeys> {
  if (!cluster.isSharded) return NONE;
  const name: unknown = coll === undefined ? { $gt: `${db}.`, $lt: `${db}/` } : nsText({ db, coll });
  const found = await readConfig(cluster, { _id: name }, signal);
  return new Map(found.map((each) => [String(each.get('_id')), toShardKey(each)]));
}

/** A sharded collection as the config servers know it. */
export interface ShardedCollection extends ShardKey {
  readonly ns: string;
  readonly uuid: Binary;
  /** Whether reshardCollection is giving it another key now, under another UUID. */
  readonly isBeingResharded: boolean;
}

/** All sharded collections of a cluster, those of the server itself among them. */
export async function readShardedCollections(cluster: Cluster, signal: AbortSignal): Promise<ShardedCollection[]> {
  if (!cluster.isSharded) return [];
  return (await readConfig(cluster, {}, signal)).map((each) => ({
    ...toShardKey(each),
    ns: String(each.get('_id')),
    uuid: each.get('uuid') as Binary,
    isBeingResharded: each.has('reshardingFields'),
  }));
}

async function readConfig(cluster: Cluster, filter: Doc, signal: AbortSignal): Promise<OrderedDoc[]> {
  const isSharded = { unsplittable: { $ne: true }, dropped: { $ne: true } };
  const command = {
    find: 'collections',
    filter: { ...filter, ...isSharded },
    projection: { key: 1, unique: 1, uuid: 1, 'reshardingFields.state': 1 },
    batchSize: 100_000,
    readConcern: { level: 'majority' },
  };
  const reply = await cluster.read('reading shard keys', 'config', command, signal, { firstBatch: true });
  return (reply['cursor'] as { firstBatch: Buffer[] }).firstBatch.map(decodeOrdered);
}

function toShardKey(entry: OrderedDoc): ShardKey {
  return { key: entry.get('key') as OrderedDoc, unique: entry.get('unique') === true };
}

/** The field paths of a key, in its order. */
export function keyPaths(key: OrderedDoc | undefined): readonly string[] {
  return key === undefined ? [] : [...key.keys()];
}
