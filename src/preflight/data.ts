/** Checks the data of both clusters before a start: collections, indexes, space, the oplog. */
import type { Doc, OrderedDoc } from '../bson/bson.js';
import { type CatalogEntry, listCollections } from '../catalog/catalog.js';
import { numberOf } from '../catalog/collection-spec.js';
import { listIndexesOf } from '../catalog/index-listing.js';
import { builtText, indexName } from '../catalog/index-spec.js';
import { nsText } from '../catalog/namespace.js';
import type { Scope } from '../catalog/scope.js';
import { ttlRules } from '../catalog/ttl.js';
import type { Cluster } from '../cluster/cluster.js';
import { Code, codeOf } from '../cluster/errors.js';
import { oplogWindowSeconds } from '../cluster/oplog.js';
import { mapLimit } from '../lib/limit.js';
import { checkDestinationNamespaces, checkEmpty, listMigrated } from './destination-namespaces.js';
import { blocker, type Finding, MAX_NAMED, warning } from './finding.js';
import { checkCapped, checkIndexCount, checkProfiling, type Listed } from './limits.js';

const PARALLEL = 8;
const NEEDED_SPACE = 1.25;

/** The start options that the checks of the data depend on. */
export interface DataOptions {
  readonly scope: Scope;
  readonly buildIndexes: string;
  /** Whether the migration builds an index at all, by `buildIndexes`. */
  readonly isBuilt: (spec: OrderedDoc) => boolean;
  readonly verifies: boolean;
}

/** What the data of the two clusters permits. Reads catalogs only. */
export async function checkData(
  source: Cluster,
  destination: Cluster,
  options: DataOptions,
  signal: AbortSignal,
): Promise<Finding[]> {
  const { scope } = options;
  const migrated = await listMigrated(source, scope, signal);
  const { entries } = migrated;
  return [
    ...(scope.sharesDestination ? [] : await checkEmpty(destination, signal)),
    ...(await checkDestinationNamespaces(migrated, destination, scope, signal)),
    ...checkKinds(entries),
    ...(scope.migratesViews ? [] : checkViews(entries)),
    ...(scope.isFiltered && entries.length === 0 ? [nothingFound()] : []),
    ...(await checkIndexes(source, entries, options, signal)),
    ...checkPreImages(entries),
    ...checkCapped(entries),
    ...(await checkProfiling(source, migrated.databases, signal)),
  ];
}

function nothingFound(): Finding {
  return warning(
    'FilterMatchesNothing',
    'no namespace of the source passes includeNamespaces and excludeNamespaces',
    'Compare the names in them with those on the source, unless the collections will be created later.',
  );
}

function checkViews(entries: readonly CatalogEntry[]): Finding[] {
  const views = entries.filter((entry) => entry.type === 'view').map((entry) => nsText(entry.ns));
  if (views.length === 0) return [];
  return [
    warning(
      'ViewsNotMigrated',
      `${views.length} views are not migrated with preExistingDestinationData`,
      'Create them on the destination after the commit.',
      views.slice(0, MAX_NAMED),
    ),
  ];
}

function checkKinds(entries: readonly CatalogEntry[]): Finding[] {
  const findings: Finding[] = [];
  const series = entries.filter((entry) => entry.type === 'timeseries').map((entry) => nsText(entry.ns));
  if (series.length > 0) {
    findings.push(
      blocker(
        'TimeSeriesCollection',
        'time-series collections cannot be migrated',
        'Drop them from the source, or migrate them by other means first.',
        series.slice(0, MAX_NAMED),
      ),
    );
  }
  const encrypted = entries.filter((entry) => entry.options.has('encryptedFields')).map((entry) => nsText(entry.ns));
  if (encrypted.length > 0) {
    findings.push(
      blocker(
        'EncryptedCollection',
        'collections with Queryable Encryption cannot be migrated',
        'Drop them from the source first.',
        encrypted.slice(0, MAX_NAMED),
      ),
    );
  }
  return findings;
}

/** While a migration runs every index is non-unique, so a unique index and its non-unique twin would be the same. */
async function checkIndexes(
  source: Cluster,
  entries: readonly CatalogEntry[],
  { buildIndexes, isBuilt, verifies }: DataOptions,
  signal: AbortSignal,
): Promise<Finding[]> {
  const collections = entries.filter((entry) => entry.type === 'collection');
  const found = await listIndexesOf(source, collections, signal);
  const listed = collections.map((entry) => ({ entry, indexes: found.get(nsText(entry.ns)) ?? [] }));
  const built = listed.map(({ entry, indexes }) => ({ entry, indexes: indexes.filter(isBuilt) }));
  return [
    ...checkTwins(built.flatMap(({ entry, indexes }) => twinsOf(entry, indexes))),
    ...checkIndexCount(built),
    ...checkHaystacks(built.filter(({ indexes }) => indexes.some(isHaystack)).map(({ entry }) => nsText(entry.ns))),
    ...(buildIndexes === 'never' && verifies ? checkExpiring(listed) : []),
  ];
}

/** mongosync's rule: what expires by an index that is not built cannot be compared. */
function checkExpiring(listed: readonly Listed[]): Finding[] {
  const found = listed
    .filter(({ entry, indexes }) => ttlRules(entry.options, indexes).length > 0)
    .map(({ entry }) => nsText(entry.ns));
  if (found.length === 0) return [];
  return [
    blocker(
      'OptionNotSupported',
      `buildIndexes "never" with verification does not permit TTL collections: ${found.slice(0, 5).join(', ')}`,
      'Start with another mode of buildIndexes, or with verification.enabled false.',
      found.slice(0, MAX_NAMED),
    ),
  ];
}

function isHaystack(spec: OrderedDoc): boolean {
  const key = spec.get('key');
  return key instanceof Map && [...key.values()].includes('geoHaystack');
}

function checkHaystacks(namespaces: readonly string[]): Finding[] {
  if (namespaces.length === 0) return [];
  return [
    blocker(
      'UnsupportedIndex',
      `the source has geoHaystack indexes, which servers from 5.0 on do not support: ${namespaces.slice(0, 5).join(', ')}`,
      'Drop them, and use 2d indexes instead.',
      namespaces.slice(0, MAX_NAMED),
    ),
  ];
}

/** An option of 4.4 to 6.0 for the server's own use; its successor is set on the destination after the migration. */
function checkPreImages(entries: readonly CatalogEntry[]): Finding[] {
  const found = entries.filter((entry) => entry.options.get('recordPreImages') === true).map(({ ns }) => nsText(ns));
  if (found.length === 0) return [];
  return [
    warning(
      'OptionNotCarried',
      `the option recordPreImages is not carried over: ${found.slice(0, 5).join(', ')}`,
      'Where pre-images are needed, set changeStreamPreAndPostImages on the destination after the commit.',
      found.slice(0, MAX_NAMED),
    ),
  ];
}

function checkTwins(found: readonly { readonly ns: string; readonly names: readonly string[] }[]): Finding[] {
  if (found.length === 0) return [];
  return [
    blocker(
      'UniqueAndNonUniqueIndex',
      `index pairs differ only in the option unique: ${found
        .slice(0, 5)
        .map((each) => `${each.ns} (${each.names.join(', ')})`)
        .join('; ')}`,
      'Drop one of each pair.',
      found.slice(0, MAX_NAMED).map((each) => each.ns),
    ),
  ];
}

function twinsOf(entry: CatalogEntry, indexes: readonly OrderedDoc[]): { ns: string; names: string[] }[] {
  const byText = new Map<string, string[]>();
  for (const spec of indexes) {
    const text = builtText(new Map([...spec].filter(([name]) => name !== 'name')));
    byText.set(text, [...(byText.get(text) ?? []), indexName(spec)]);
  }
  return [...byText.values()].filter((names) => names.length > 1).map((names) => ({ ns: nsText(entry.ns), names }));
}

/** Whether the destination has room for the source's files and a quarter more; nothing is found where it cannot tell. */
export async function checkDiskSpace(
  source: Cluster,
  destination: Cluster,
  scope: Scope,
  signal: AbortSignal,
): Promise<Finding[]> {
  const bytes = await sizeOnDisk(source, scope, signal);
  const stats = await destination.read('reading disk space', 'admin', { dbStats: 1 }, signal);
  if (stats['fsTotalSize'] === undefined || stats['fsUsedSize'] === undefined) return [];
  const free = numberOf(stats['fsTotalSize']) - numberOf(stats['fsUsedSize']);
  if (free >= bytes * NEEDED_SPACE) return [];
  const inMb = (value: number): string => `${Math.round(value / 1e6)} MB`;
  return [
    blocker(
      'InsufficientDestinationDiskSpace',
      `the destination has ${inMb(free)} free, but the source's data takes ${inMb(bytes)}`,
      'Give it at least 1.25 times the data, or start with skipDiskSpaceCheck.',
    ),
  ];
}

/** Bytes of the files of what is migrated: of a database that is migrated in part, by collection. */
async function sizeOnDisk(source: Cluster, scope: Scope, signal: AbortSignal): Promise<number> {
  const reply = await source.read('sizing databases', 'admin', { listDatabases: 1 }, signal);
  const sizes = new Map(
    (reply['databases'] as { name: string; sizeOnDisk?: unknown }[]).map((each) => [each.name, each.sizeOnDisk]),
  );
  let bytes = 0;
  for (const db of await scope.databases([...sizes.keys()], signal)) {
    if (await scope.includesAllOf(db, signal)) bytes += numberOf(sizes.get(db) ?? 0);
    else bytes += await sizeOfCollections(source, scope, db, signal);
  }
  return bytes;
}

async function sizeOfCollections(source: Cluster, scope: Scope, db: string, signal: AbortSignal): Promise<number> {
  const entries = await scope.select(await listCollections(source, db, signal), signal);
  const collections = entries.filter((entry) => entry.type === 'collection');
  const sizes = await mapLimit(
    collections,
    PARALLEL,
    async ({ ns }, inner) => {
      const pipeline = [{ $collStats: { storageStats: {} } }];
      const reply = await source
        .read(`sizing ${nsText(ns)}`, db, { aggregate: ns.coll, pipeline, cursor: {} }, inner)
        .catch(noneIfGone);
      const [stats] = (reply['cursor'] as { firstBatch: { storageStats: Record<string, unknown> }[] }).firstBatch;
      return numberOf(stats?.storageStats['storageSize'] ?? 0) + numberOf(stats?.storageStats['totalIndexSize'] ?? 0);
    },
    signal,
  );
  return sizes.reduce((sum, each) => sum + each, 0);
}

function noneIfGone(error: unknown): Doc {
  const code = codeOf(error);
  if (code !== Code.NamespaceNotFound && code !== Code.CommandNotSupportedOnView) throw error;
  return { cursor: { firstBatch: [] } };
}

/** What a slow copy brings over in a second, of the bytes of files; see docs/operations.md, the source's oplog. */
const SLOW_COPY_BYTES = 20e6;
const SAFETY = 2;
const LEAST_SECONDS = 3600;

/** The source's oplog must hold what is written during the copy: twice the time of a slow one, and an hour at least. */
export async function checkOplog(source: Cluster, scope: Scope, signal: AbortSignal): Promise<Finding[]> {
  const window = await oplogWindowSeconds(source, signal);
  if (window === undefined) return [];
  const needed = Math.max(LEAST_SECONDS, (SAFETY * (await sizeOnDisk(source, scope, signal))) / SLOW_COPY_BYTES);
  if (window >= needed) return [];
  const inHours = (seconds: number): number => Math.round(seconds / 360) / 10;
  return [
    warning(
      'ShortOplogWindow',
      `the source's oplog spans ${inHours(window)} hours of writes so far; ${inHours(needed)} would be safe for this much data`,
      'If the copy takes longer than the oplog lasts, the migration fails: enlarge it with replSetResizeOplog if its size, not the age of the cluster, is the limit.',
    ),
  ];
}
