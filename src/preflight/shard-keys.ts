/** Checks whether collections can be sharded on the destination by the keys that they have, or are to be given. */
import type { OrderedDoc } from '../bson/bson.js';
import { isCapped, isCollated } from '../catalog/collection-spec.js';
import { type KnownCollection, listIndexesOf } from '../catalog/index-listing.js';
import { indexName } from '../catalog/index-spec.js';
import { type Namespace, nsText, sameNs } from '../catalog/namespace.js';
import { isIdKey, isKeyPrefix, supportingIndex } from '../catalog/shard-key-index.js';
import type { Cluster } from '../cluster/cluster.js';
import { blocker, type Finding, MAX_NAMED, warning } from './finding.js';

/** Source: MongoDB manual, limits: indexes of a collection, that of `_id` among them. */
const MAX_INDEXES = 64;

/** The start options that keys depend on. */
export interface KeyOptions {
  readonly sharding: {
    readonly createSupportingIndexes: boolean;
    readonly shardingEntries: readonly { database: string; collection: string; key: readonly KeyField[] }[];
  } | null;
  readonly isBuilt: (spec: OrderedDoc) => boolean;
}

interface KeyField {
  readonly field: string;
  readonly value: 1 | -1 | 'hashed';
}

/** A collection of the source. */
export interface ShardableCollection extends KnownCollection {
  readonly options: OrderedDoc;
  /** Of a collection that is sharded there. */
  readonly sharding: { readonly key: OrderedDoc } | undefined;
}

interface Keyed extends KnownCollection {
  readonly options: OrderedDoc;
  readonly indexes: readonly OrderedDoc[];
  readonly key: OrderedDoc;
  /** Of the source, or of the start option. */
  readonly isCarried: boolean;
}

/** What stands against sharding these collections of the source. */
export async function checkKeys(
  source: Cluster,
  collections: readonly ShardableCollection[],
  options: KeyOptions,
  signal: AbortSignal,
): Promise<Finding[]> {
  const keyed = await withKeys(source, collections, options, signal);
  return [...keyed.flatMap((each) => checkKey(each, options)), ...checkUnknown(collections, options)];
}

async function withKeys(
  source: Cluster,
  collections: readonly ShardableCollection[],
  { sharding }: KeyOptions,
  signal: AbortSignal,
): Promise<Keyed[]> {
  const keyed = collections.flatMap(({ ns, uuid, options, sharding: own }) => {
    const entry = sharding?.shardingEntries.find((each) => sameNs({ db: each.database, coll: each.collection }, ns));
    const key = own?.key ?? (entry && new Map(entry.key.map(({ field, value }) => [field, value as unknown])));
    return key === undefined ? [] : [{ ns, uuid, options, key, isCarried: own !== undefined }];
  });
  const found = await listIndexesOf(source, keyed, signal);
  return keyed.map((each) => ({ ...each, indexes: found.get(nsText(each.ns)) ?? [] }));
}

function checkKey(collection: Keyed, { sharding, isBuilt }: KeyOptions): Finding[] {
  const { ns, options, indexes, key, isCarried } = collection;
  const name = nsText(ns);
  const refuse = (what: string, remedy: string): Finding => blocker('UnsupportedShardKey', what, remedy, [name]);
  const findings: Finding[] = [];
  if (isCapped(options))
    findings.push(
      refuse(`${name} is capped, and capped collections cannot be sharded`, 'Leave it out of shardingEntries.'),
    );
  const unique = indexes.filter((spec) => spec.get('unique') === true && isBuilt(spec));
  const incompatible = unique.filter((spec) => !isKeyPrefix(key, spec.get('key') as OrderedDoc)).map(indexName);
  if (incompatible.length > 0)
    findings.push(
      refuse(
        `a unique index was set on the source that is incompatible with the shard key of ${name}: ${incompatible.join(', ')}`,
        'A unique index must have the shard key as its prefix. Drop it, or choose another shard key.',
      ),
    );
  if (isCarried) return findings;
  const supporting = isIdKey(key) ? new Map() : supportingIndex(key, indexes);
  if (supporting === undefined && sharding?.createSupportingIndexes !== true)
    findings.push(
      refuse(
        `no index of ${name} supports its shard key. Must have an index compatible with the proposed shard key${isCollated(options) ? ', of simple collation,' : ''} on the source`,
        'Create the index on the source, or set sharding.createSupportingIndexes.',
      ),
    );
  if (supporting === undefined && indexes.length + 1 >= MAX_INDEXES)
    findings.push(
      refuse(
        `${name} has ${indexes.length} indexes besides that of _id, and no room for one of its shard key`,
        `Drop one: a collection may have ${MAX_INDEXES - 1}.`,
      ),
    );
  return findings;
}

function checkUnknown(collections: readonly { ns: Namespace }[], { sharding }: KeyOptions): Finding[] {
  const there = new Set(collections.map(({ ns }) => nsText(ns)));
  const found = (sharding?.shardingEntries ?? [])
    .map(({ database, collection }) => nsText({ db: database, coll: collection }))
    .filter((ns) => !there.has(ns));
  if (found.length === 0) return [];
  return [
    warning(
      'ShardingEntryWithoutCollection',
      `sharding.shardingEntries names collections that the source does not have, or that are not migrated: ${found.slice(0, 5).join(', ')}`,
      'Compare the names with those on the source, unless the collections will be created during the migration.',
      found.slice(0, MAX_NAMED),
    ),
  ];
}
