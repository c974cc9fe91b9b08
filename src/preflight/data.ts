import type { OrderedDoc } from '../cluster/bson.js';
import { type CatalogEntry, listCollections, listDatabases, listIndexes } from '../cluster/catalog.js';
import type { Cluster } from '../cluster/cluster.js';
import { numberOf } from '../cluster/collection-spec.js';
import { builtText, indexName } from '../cluster/index-spec.js';
import { nsText } from '../cluster/namespace.js';
import { oplogWindowSeconds } from '../cluster/oplog.js';
import { mapLimit } from '../lib/limit.js';
import { blocker, type Finding, warning } from './finding.js';

const PARALLEL = 8;
const MAX_NAMED = 20;
const NEEDED_SPACE = 1.25;

/** What the data of the two clusters permits. Reads catalogs only. */
export async function checkData(source: Cluster, destination: Cluster, signal: AbortSignal): Promise<Finding[]> {
  const databases = await listDatabases(source, signal);
  const entries = (
    await mapLimit(databases, PARALLEL, (db, inner) => listCollections(source, db, inner), signal)
  ).flat();
  return [
    ...(await checkEmpty(destination, signal)),
    ...checkKinds(entries),
    ...checkNames(databases),
    ...(await checkIndexes(source, entries, signal)),
    ...checkPreImages(entries),
  ];
}

/** Nothing but the server's own and migration tools' databases may be on the destination. */
export async function checkEmpty(destination: Cluster, signal: AbortSignal): Promise<Finding[]> {
  const databases = await listDatabases(destination, signal);
  const found = (await mapLimit(databases, PARALLEL, (db, inner) => listCollections(destination, db, inner), signal))
    .flat()
    .map((entry) => nsText(entry.ns));
  if (found.length === 0) return [];
  return [
    blocker(
      'DestinationNotEmpty',
      `the destination holds ${found.length} collections, for example ${found.slice(0, 3).join(', ')}`,
      'Drop them, or migrate to an empty cluster.',
      found.slice(0, MAX_NAMED),
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

/** The server refuses a database whose name differs from another's in case only; two may still stand in old catalogs. */
function checkNames(databases: readonly string[]): Finding[] {
  const byLower = new Map<string, string[]>();
  for (const db of databases) byLower.set(db.toLowerCase(), [...(byLower.get(db.toLowerCase()) ?? []), db]);
  const clashes = [...byLower.values()].filter((names) => names.length > 1).flat();
  if (clashes.length === 0) return [];
  return [
    blocker(
      'NamesDifferOnlyInCase',
      `databases differ in the case of their names only: ${clashes.join(', ')}`,
      'Rename or drop one of them.',
      clashes,
    ),
  ];
}

/** While a migration runs every index is non-unique, so a unique index and its non-unique twin would be the same. */
async function checkIndexes(
  source: Cluster,
  entries: readonly CatalogEntry[],
  signal: AbortSignal,
): Promise<Finding[]> {
  const collections = entries.filter((entry) => entry.type === 'collection');
  const listed = await mapLimit(
    collections,
    PARALLEL,
    async (entry, inner) => ({ entry, indexes: await listIndexes(source, entry.ns, inner) }),
    signal,
  );
  return [
    ...checkTwins(listed.flatMap(({ entry, indexes }) => twinsOf(entry, indexes))),
    ...checkHaystacks(listed.filter(({ indexes }) => indexes.some(isHaystack)).map(({ entry }) => nsText(entry.ns))),
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
      `there are geoHaystack indexes, which servers from 5.0 on do not have: ${namespaces.slice(0, 5).join(', ')}`,
      'Drop them; 2d indexes serve the queries that remain.',
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
      `indexes differ only in being unique: ${found
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
export async function checkDiskSpace(source: Cluster, destination: Cluster, signal: AbortSignal): Promise<Finding[]> {
  const sizes = await source.read('sizing databases', 'admin', { listDatabases: 1 }, signal);
  const names = new Set(await listDatabases(source, signal));
  const bytes = (sizes['databases'] as { name: string; sizeOnDisk?: unknown }[])
    .filter((each) => names.has(each.name))
    .reduce((sum, each) => sum + numberOf(each.sizeOnDisk ?? 0), 0);
  const stats = await destination.read('reading disk space', 'admin', { dbStats: 1 }, signal);
  if (stats['fsTotalSize'] === undefined || stats['fsUsedSize'] === undefined) return [];
  const free = numberOf(stats['fsTotalSize']) - numberOf(stats['fsUsedSize']);
  if (free >= bytes * NEEDED_SPACE) return [];
  const inMb = (value: number): string => `${Math.round(value / 1e6)} MB`;
  return [
    blocker(
      'InsufficientDestinationDiskSpace',
      `the destination has ${inMb(free)} free, the source's data takes ${inMb(bytes)}`,
      'Give it at least 1.25 times the data, or start with skipDiskSpaceCheck.',
    ),
  ];
}

/** The source's oplog must hold what is written during the copy. */
export async function checkOplog(source: Cluster, signal: AbortSignal): Promise<Finding[]> {
  const window = await oplogWindowSeconds(source, signal);
  if (window === undefined || window >= 24 * 3600) return [];
  return [
    warning(
      'ShortOplogWindow',
      `the source's oplog spans ${Math.round(window / 360) / 10} hours of writes so far`,
      'If the copy takes longer than the oplog lasts, the migration fails: enlarge it with replSetResizeOplog if its size, not the age of the cluster, is the limit.',
    ),
  ];
}
