/** Checks what only sharded clusters can have wrong: keys, zones, indexes and `_id`s that differ between shards. */
import { canonicalText, type Doc, decodeOrdered, idText, type OrderedDoc } from '../bson/bson.js';
import { idDocument } from '../bson/raw-document.js';
import { listIndexes } from '../catalog/catalog.js';
import { isCapped, isCollated, numberOf } from '../catalog/collection-spec.js';
import { indexName } from '../catalog/index-spec.js';
import { type Namespace, nsText, sameNs } from '../catalog/namespace.js';
import type { Scope } from '../catalog/scope.js';
import { isIdKey, isKeyPrefix, supportingIndex } from '../catalog/shard-key-index.js';
import type { Cluster } from '../cluster/cluster.js';
import { rawBatches } from '../documents/raw-cursor.js';
import { mapLimit } from '../lib/limit.js';
import { listMigrated } from './destination-namespaces.js';
import { blocker, type Finding, warning } from './finding.js';

const PARALLEL = 4;
const MAX_NAMED = 20;
/** Source: MongoDB manual, limits: indexes of a collection, that of `_id` among them. */
const MAX_INDEXES = 64;
/** Of larger collections `_id`s that are on several shards are not looked for: it reads all of their `_id` indexes. */
const MAX_COMPARED_IDS = 10_000_000;

/** The start options that these checks depend on. */
export interface ShardingOptions {
  readonly scope: Scope;
  readonly sharding: {
    readonly createSupportingIndexes: boolean;
    readonly shardingEntries: readonly { database: string; collection: string; key: readonly KeyField[] }[];
  } | null;
  readonly isBuilt: (spec: OrderedDoc) => boolean;
  readonly reversible: boolean;
}

interface KeyField {
  readonly field: string;
  readonly value: 1 | -1 | 'hashed';
}

/** Whether the option `sharding` is given where it must be, and `reversible` where it may be. Reads the shards at most. */
export async function checkShardingPair(
  source: Cluster,
  destination: Cluster,
  { sharding, reversible }: Pick<ShardingOptions, 'sharding' | 'reversible'>,
  signal: AbortSignal,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  const isNeeded = !source.isSharded && destination.isSharded;
  if (isNeeded && sharding === null)
    findings.push(
      blocker(
        'OptionNotSupported',
        'a migration from a replica set to a sharded cluster needs the option sharding',
        'Name in sharding.shardingEntries the collections to shard; [] shards none.',
      ),
    );
  if (!isNeeded && sharding !== null)
    findings.push(
      blocker(
        'OptionNotSupported',
        'the option sharding is only for a migration from a replica set to a sharded cluster',
        'Leave it out: shard keys are carried over from a sharded source.',
      ),
    );
  if (!reversible) return findings;
  if (isNeeded || (source.isSharded && !destination.isSharded))
    findings.push(
      blocker(
        'OptionNotSupported',
        'reversible is not possible between a replica set and a sharded cluster',
        'Start without it.',
      ),
    );
  if (!source.isSharded || !destination.isSharded) return findings;
  const [from, to] = [(await readShards(source, signal)).length, (await readShards(destination, signal)).length];
  if (from !== to)
    findings.push(
      blocker(
        'OptionNotSupported',
        `reversible needs as many shards on both sides, not ${from} and ${to}`,
        'Start without it, or add shards first.',
      ),
    );
  return findings;
}

interface Keyed {
  readonly ns: Namespace;
  readonly options: OrderedDoc;
  readonly indexes: readonly OrderedDoc[];
  readonly key: OrderedDoc;
  /** Of the source, or of the start option. */
  readonly isCarried: boolean;
}

/** What stands against sharding the destination's collections, and against following those of a sharded source. */
export async function checkSharding(
  source: Cluster,
  destination: Cluster,
  options: ShardingOptions,
  signal: AbortSignal,
): Promise<Finding[]> {
  if (!source.isSharded && !destination.isSharded) return [];
  const { entries } = await listMigrated(source, options.scope, signal);
  const collections = entries.filter(({ type }) => type === 'collection');
  const findings: Finding[] = [];
  if (destination.isSharded) {
    const keyed = await withKeys(source, collections, options, signal);
    findings.push(...keyed.flatMap((each) => checkKey(each, options)), ...checkUnknown(collections, options));
    findings.push(...(await checkZones(destination, collections, options.scope, signal)));
    findings.push(...(await checkDraining(destination, signal)));
  }
  if (source.isSharded) {
    const sharded = collections.filter(({ sharding }) => sharding !== undefined);
    findings.push(...(await checkConsistency(source, sharded, signal)), ...checkOrphans(source));
    if (!destination.isSharded) findings.push(...(await checkIds(source, sharded, signal)));
    findings.push(...(await checkDraining(source, signal)), ...(await checkSourceZones(source, sharded, signal)));
  }
  return findings;
}

async function withKeys(
  source: Cluster,
  collections: readonly { ns: Namespace; options: OrderedDoc; sharding: { key: OrderedDoc } | undefined }[],
  { sharding }: ShardingOptions,
  signal: AbortSignal,
): Promise<Keyed[]> {
  const keyed = collections.flatMap(({ ns, options, sharding: own }) => {
    const entry = sharding?.shardingEntries.find((each) => sameNs({ db: each.database, coll: each.collection }, ns));
    const key = own?.key ?? (entry && new Map(entry.key.map(({ field, value }) => [field, value as unknown])));
    return key === undefined ? [] : [{ ns, options, key, isCarried: own !== undefined }];
  });
  return mapLimit(
    keyed,
    PARALLEL,
    async (each, inner) => ({ ...each, indexes: await listIndexes(source, each.ns, inner) }),
    signal,
  );
}

function checkKey(collection: Keyed, { sharding, isBuilt }: ShardingOptions): Finding[] {
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

function checkUnknown(collections: readonly { ns: Namespace }[], { sharding }: ShardingOptions): Finding[] {
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

/** Where chunks may lie is for their zones to say, which the migration does not know. */
async function checkZones(
  destination: Cluster,
  collections: readonly { ns: Namespace }[],
  scope: Scope,
  signal: AbortSignal,
): Promise<Finding[]> {
  const targets = new Set(collections.map(({ ns }) => nsText(scope.target(ns))));
  const zoned = await zonedNamespaces(destination, signal);
  const found = zoned.filter((ns) => targets.has(ns) || !scope.sharesDestination);
  if (found.length === 0) return [];
  return [
    blocker(
      'ZonesOnDestination',
      `cannot migrate into namespaces that already have shard tags configured: ${found.slice(0, 5).join(', ')}`,
      'Remove their zone ranges with sh.removeTagRange(), and add them after the commit.',
      found.slice(0, MAX_NAMED),
    ),
  ];
}

async function checkSourceZones(
  source: Cluster,
  sharded: readonly { ns: Namespace }[],
  signal: AbortSignal,
): Promise<Finding[]> {
  const names = new Set(sharded.map(({ ns }) => nsText(ns)));
  const found = (await zonedNamespaces(source, signal)).filter((ns) => names.has(ns));
  if (found.length === 0) return [];
  return [
    warning(
      'ZonesNotMigrated',
      `the zones of ${found.length} collections are not carried over: ${found.slice(0, 5).join(', ')}`,
      'Add shards to zones and zone ranges on the destination after the commit.',
      found.slice(0, MAX_NAMED),
    ),
  ];
}

async function zonedNamespaces(cluster: Cluster, signal: AbortSignal): Promise<string[]> {
  const command = { distinct: 'tags', key: 'ns', query: {} };
  const reply = await cluster.read('reading zones', 'config', command, signal);
  return (reply['values'] as string[]).filter((ns) => !ns.startsWith('config.'));
}

async function readShards(cluster: Cluster, signal: AbortSignal): Promise<{ _id: string; draining?: boolean }[]> {
  const command = { find: 'shards', filter: {}, batchSize: 10_000 };
  const reply = await cluster.read('reading the shards', 'config', command, signal);
  return (reply['cursor'] as { firstBatch: { _id: string; draining?: boolean }[] }).firstBatch;
}

async function checkDraining(cluster: Cluster, signal: AbortSignal): Promise<Finding[]> {
  const found = (await readShards(cluster, signal)).filter(({ draining }) => draining === true).map(({ _id }) => _id);
  if (found.length === 0) return [];
  return [
    warning(
      'ShardDraining',
      `shards of ${cluster.label} are being removed: ${found.join(', ')}`,
      'Wait until removeShard has ended: its balancer, which empties them, is stopped during the migration.',
    ),
  ];
}

/** createIndexes may succeed on one shard and fail on another; a mongos shows the indexes of one shard only. */
async function checkConsistency(
  source: Cluster,
  sharded: readonly { ns: Namespace }[],
  signal: AbortSignal,
): Promise<Finding[]> {
  const differing = await mapLimit(
    sharded,
    PARALLEL,
    ({ ns }, inner) => differsBetweenShards(source, ns, inner),
    signal,
  );
  const found = sharded.filter((_, index) => differing[index]).map(({ ns }) => nsText(ns));
  if (found.length === 0) return [];
  return [
    blocker(
      'InconsistentIndexes',
      `the indexes of ${found.length} collections differ between the shards of the source: ${found.slice(0, 5).join(', ')}`,
      'Create or drop the index again on the source, so that every shard has it or none.',
      found.slice(0, MAX_NAMED),
    ),
  ];
}

async function differsBetweenShards(source: Cluster, ns: Namespace, signal: AbortSignal): Promise<boolean> {
  const command = {
    aggregate: ns.coll,
    pipeline: [{ $indexStats: {} }, { $project: { shard: 1, spec: 1 } }],
    cursor: {},
  };
  const byShard = new Map<string, string[]>();
  for await (const { documents } of rawBatches(source, { db: ns.db, command }, signal)) {
    for (const raw of documents) {
      const entry = decodeOrdered(raw);
      const shard = String(entry.get('shard'));
      byShard.set(shard, [...(byShard.get(shard) ?? []), canonicalText(entry.get('spec'))]);
    }
  }
  return new Set([...byShard.values()].map((specs) => specs.sort().join())).size > 1;
}

function checkOrphans(source: Cluster): Finding[] {
  if (source.isAtLeast(6)) return [];
  return [
    warning(
      'OrphansPossible',
      `${source.label} may hold orphaned documents, which servers before 6.0 do not clean up by themselves`,
      'Run cleanupOrphaned on each of its shards. Orphans are not migrated, but they count in estimates.',
    ),
  ];
}

/** Each shard keeps its `_id`s unique, and no shard knows the others': one destination set cannot hold two alike. */
async function checkIds(
  source: Cluster,
  sharded: readonly { ns: Namespace; sharding: { key: OrderedDoc } | undefined }[],
  signal: AbortSignal,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  // A key that begins with the `_id` keeps them apart.
  for (const { ns, sharding } of sharded) {
    const [first] = sharding?.key.keys() ?? [];
    if (first !== '_id') findings.push(...(await checkIdsOf(source, ns, signal)));
  }
  return findings;
}

async function checkIdsOf(source: Cluster, ns: Namespace, signal: AbortSignal): Promise<Finding[]> {
  const counted = await source.read(`counting ${nsText(ns)}`, ns.db, { count: ns.coll }, signal);
  if (numberOf(counted['n']) > MAX_COMPARED_IDS)
    return [
      warning(
        'DuplicateIdsNotChecked',
        `${nsText(ns)} is too large to look for _ids that several of its documents share`,
        'Each shard keeps its own _ids unique. If two may have the same one, rehearse the migration first: it would fail.',
        [nsText(ns)],
      ),
    ];
  const pipeline = [
    { $group: { _id: '$_id', n: { $sum: 1 } } },
    { $match: { n: { $gt: 1 } } },
    { $limit: MAX_NAMED },
    { $project: { _id: 1 } },
  ];
  const command: Doc = { aggregate: ns.coll, pipeline, cursor: {}, allowDiskUse: true };
  const found: string[] = [];
  for await (const { documents } of rawBatches(source, { db: ns.db, command }, signal))
    found.push(...documents.map((raw) => idText(idDocument(raw) ?? raw)));
  if (found.length === 0) return [];
  const number = found.length === MAX_NAMED ? `${MAX_NAMED} or more` : String(found.length);
  return [
    blocker(
      'DuplicateIds',
      `${number} _ids of ${nsText(ns)} are on several shards of the source, and the destination can have each once: ${found.join(', ')}`,
      'Give each document an _id of its own.',
      [nsText(ns)],
    ),
  ];
}
