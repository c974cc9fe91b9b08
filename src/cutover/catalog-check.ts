/** Compares the catalogs of both clusters with what the migration recorded, as a part of the commit. */
import type { Binary, OrderedDoc } from '../bson/bson.js';
import { uuidText } from '../bson/uuid.js';
import { type CatalogEntry, listCollectionsOf, listDatabases } from '../catalog/catalog.js';
import { comparableOptions, sameUuid } from '../catalog/collection-spec.js';
import { dropView } from '../catalog/destination-catalog.js';
import { indexDifferences } from '../catalog/index-comparison.js';
import { listIndexesOf } from '../catalog/index-listing.js';
import { comparableIndex } from '../catalog/index-spec.js';
import { nsText } from '../catalog/namespace.js';
import type { Scope } from '../catalog/scope.js';
import { sameKey } from '../catalog/shard-key-index.js';
import type { ShardKey } from '../catalog/shard-keys.js';
import type { Cluster } from '../cluster/cluster.js';
import { confirmed } from '../cluster/confirmed.js';
import type { WritableCluster } from '../cluster/writable-cluster.js';
import { AppError } from '../errors.js';
import { findShardingChanges, shardingChanged } from '../layout/source-sharding.js';
import type { CollectionMap, MigratedCollection } from '../metadata/collections.js';

const MAX_NAMED = 20;

/**
 * Compares the source's catalog, as far as it is migrated, with what the migration recorded from the catalog and the DDL events. A difference means
 * that something changed without an event, so the destination cannot be right. Errors: CatalogDiffers, with what differs; ShardingChanged.
 */
export async function checkCatalog(
  source: Cluster,
  collections: CollectionMap,
  scope: Scope,
  signal: AbortSignal,
): Promise<void> {
  const look = (): Promise<string[]> => sourceDifferences(source, collections, scope, signal);
  const { value: differences } = await confirmed(source, signal, look);
  if (differences.length > 0) {
    const { certain, likely } = await findShardingChanges(source, collections.live(), signal);
    if (certain.length + likely.length > 0) throw shardingChanged([...certain, ...likely]);
    throw new AppError(
      'CatalogDiffers',
      source.isAtLeast(6)
        ? `the catalog of the source differs from what its change events described: ${named(differences)}`
        : `the catalog of the source was changed during the migration, and such changes cannot be followed before 6.0: ${named(differences)}`,
    );
  }
}

/**
 * Drops the views that the source no longer has: dropping `system.views`, which a dropDatabase that a failover has broken
 * off may have done, takes all views of a database without an event. Views hold nothing, so what is left is what the
 * source has. For sources whose other changes are told by events.
 */
export async function dropLostViews(
  { source, destination, collections }: { source: Cluster; destination: WritableCluster; collections: CollectionMap },
  signal: AbortSignal,
): Promise<void> {
  if (!source.isAtLeast(6)) return;
  const databases = [...new Set(collections.views().map(({ sourceNs }) => sourceNs.db))];
  const { value: entries } = await confirmed(source, signal, () => listCollectionsOf(source, databases, signal));
  const there = new Set(entries.filter(({ type }) => type === 'view').map(({ ns }) => nsText(ns)));
  for (const { ns, sourceNs } of collections.views().filter((view) => !there.has(nsText(view.sourceNs)))) {
    await dropView(destination, ns, signal);
    await collections.deleteView(sourceNs, signal);
  }
}

async function sourceDifferences(
  source: Cluster,
  collections: CollectionMap,
  scope: Scope,
  signal: AbortSignal,
): Promise<string[]> {
  const databases = await scope.databases(await listDatabases(source, signal), signal);
  const listed = await scope.select(await listCollectionsOf(source, databases, signal), signal);
  const entries = scope.migratesViews ? listed : listed.filter((entry) => entry.type !== 'view');
  const known = entries.filter((entry) => entry.type === 'collection' && recordOf(collections, entry) !== undefined);
  const indexes = await listIndexesOf(source, known, signal);
  const found = entries.map((entry) => differencesOf(collections, entry, indexes.get(nsText(entry.ns)) ?? []));
  const onSource = new Set(entries.map((entry) => nsText(entry.ns)));
  const missing = [...collections.live(), ...collections.views()]
    .map((each) => nsText(each.sourceNs))
    .filter((ns) => !onSource.has(ns));
  return [...found.flat(), ...missing.map((ns) => `${ns} is not on the source`)];
}

/**
 * Compares the destination's collections and views with what the migration put there. Errors: DestinationModified when
 * somebody else dropped or renamed one, or created one where no others may be.
 */
export async function checkDestination(
  destination: Cluster,
  collections: CollectionMap,
  scope: Scope,
  signal: AbortSignal,
): Promise<void> {
  const look = (): Promise<string[]> => destinationDifferences(destination, collections, scope, signal);
  const { value: differences } = await confirmed(destination, signal, look);
  if (differences.length > 0) {
    throw new AppError(
      'DestinationModified',
      `someone else changed the destination during the migration: ${named(differences)}`,
    );
  }
}

async function destinationDifferences(
  destination: Cluster,
  collections: CollectionMap,
  scope: Scope,
  signal: AbortSignal,
): Promise<string[]> {
  const entries = await listCollectionsOf(destination, await listDatabases(destination, signal), signal);
  const expected = new Map<string, Binary | undefined>();
  for (const each of collections.live()) expected.set(nsText(each.ns), each.destinationUuid);
  for (const each of collections.views()) expected.set(nsText(each.ns), undefined);
  const actual = new Map(entries.map((entry) => [nsText(entry.ns), entry.uuid]));
  return [
    ...[...expected.keys()].filter((ns) => !actual.has(ns)).map((ns) => `${ns} is gone`),
    ...(scope.sharesDestination
      ? []
      : [...actual.keys()].filter((ns) => !expected.has(ns)).map((ns) => `${ns} was created`)),
    ...[...expected]
      .filter(([ns, uuid]) => actual.has(ns) && !sameUuid(uuid, actual.get(ns)))
      .map(([ns]) => `${ns} is a different collection`),
  ];
}

/**
 * Compares the destination's collection options, expiry apart, with what the source has: after everything else was
 * given back. Errors: CatalogDiffers.
 */
export async function checkRestored(
  destination: Cluster,
  collections: CollectionMap,
  signal: AbortSignal,
): Promise<void> {
  const databases = [...new Set(collections.live().map((each) => each.ns.db))];
  const { value: listed } = await confirmed(destination, signal, () =>
    listCollectionsOf(destination, databases, signal),
  );
  const entries = new Map(listed.map((entry) => [nsText(entry.ns), entry]));
  const differing = collections.live().filter((each) => {
    const entry = entries.get(nsText(each.ns));
    return entry === undefined || withoutTtl(entry.options) !== withoutTtl(each.options);
  });
  if (differing.length > 0) {
    throw new AppError(
      'CatalogDiffers',
      `collections on the destination did not get the options of the source: ${named(differing.map((each) => each.name))}`,
    );
  }
}

function withoutTtl(options: OrderedDoc): string {
  return comparableOptions(new Map([...options].filter(([name]) => name !== 'expireAfterSeconds')));
}

function sameSharding(known: ShardKey | undefined, now: ShardKey | undefined): boolean {
  if (known === undefined || now === undefined) return known === now;
  return sameKey(known.key, now.key);
}

/** The first differences, and how many more there are. */
function named(differences: readonly string[]): string {
  const more = differences.length > MAX_NAMED ? `; and ${differences.length - MAX_NAMED} more` : '';
  return `${differences.slice(0, MAX_NAMED).join('; ')}${more}`;
}

/** What the migration recorded of this very collection, under this name. */
function recordOf(collections: CollectionMap, { ns, uuid }: CatalogEntry): MigratedCollection | undefined {
  const collection = uuid === undefined ? undefined : collections.get(uuidText(uuid));
  const isIt = collection?.dropped === false && nsText(collection.sourceNs) === nsText(ns);
  return isIt ? collection : undefined;
}

function differencesOf(collections: CollectionMap, entry: CatalogEntry, actual: readonly OrderedDoc[]): string[] {
  const ns = nsText(entry.ns);
  if (entry.type === 'view') {
    const view = collections.view(entry.ns);
    if (view === undefined) return [`the view ${ns} is new`];
    return comparableOptions(view.options) === comparableOptions(entry.options)
      ? []
      : [`the view ${ns} has a different definition`];
  }
  const collection = recordOf(collections, entry);
  if (collection === undefined) {
    const isNew = collections.live().every((each) => nsText(each.sourceNs) !== ns);
    return [isNew ? `${ns} is new` : `${ns} is a different collection`];
  }
  const differences: string[] = [];
  if (comparableOptions(collection.options) !== comparableOptions(entry.options))
    differences.push(`${ns} has different options`);
  if (!sameSharding(collection.shardKeys?.source, entry.sharding)) differences.push(`${ns} has a different shard key`);
  const indexes = indexDifferences(collection.indexes, actual, { textOf: comparableIndex });
  const names = indexes.map(({ name }) => name);
  if (names.length > 0) differences.push(`${ns} has different indexes (${names.join(', ')})`);
  return differences;
}
