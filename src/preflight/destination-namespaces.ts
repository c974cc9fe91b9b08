/** Checks that every migrated namespace has a place of its own on the destination. */
import { type CatalogEntry, listCollections, listDatabases } from '../catalog/catalog.js';
import { type Namespace, nsText } from '../catalog/namespace.js';
import type { Scope } from '../catalog/scope.js';
import type { Cluster } from '../cluster/cluster.js';
import { mapLimit } from '../lib/limit.js';
import { blocker, type Finding, MAX_NAMED } from './finding.js';

const PARALLEL = 8;
/** Source: MongoDB manual, limits, length of fully qualified collection namespaces. */
const MAX_NAMESPACE_BYTES = 255;

/** The part of the source that is migrated, as its catalog is now. */
export interface Migrated {
  readonly databases: readonly string[];
  readonly entries: readonly CatalogEntry[];
}

/** Reads the source's catalog, as far as it is migrated; views are among it also when they are left out. */
export async function listMigrated(source: Cluster, scope: Scope, signal: AbortSignal): Promise<Migrated> {
  const databases = await scope.databases(await listDatabases(source, signal), signal);
  return { databases, entries: await scope.select(await listAll(source, databases, signal), signal) };
}

/** Checks that the migrated namespaces clash neither with each other on the destination nor with what is there already. */
export async function checkDestinationNamespaces(
  migrated: Migrated,
  destination: Cluster,
  scope: Scope,
  signal: AbortSignal,
): Promise<Finding[]> {
  return [
    ...checkLengths(migrated, scope),
    ...checkClashes(migrated, scope),
    ...checkCase(migrated, scope),
    ...(scope.sharesDestination ? await checkTaken(migrated, destination, scope, signal) : []),
  ];
}

/** Nothing but the server's own and migration tools' databases may be on the destination. */
export async function checkEmpty(destination: Cluster, signal: AbortSignal): Promise<Finding[]> {
  const found = (await listAll(destination, await listDatabases(destination, signal), signal)).map((entry) =>
    nsText(entry.ns),
  );
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

/** Under another database's name a namespace may become longer than a server takes. */
function checkLengths({ entries }: Migrated, scope: Scope): Finding[] {
  const targets = migratedOf(entries, scope).map((ns) => nsText(scope.target(ns)));
  const found = targets.filter((ns) => Buffer.byteLength(ns) > MAX_NAMESPACE_BYTES);
  if (found.length === 0) return [];
  return [
    blocker(
      'NamespaceTooLong',
      `namespaces would be longer on the destination than ${MAX_NAMESPACE_BYTES} bytes, the limit of servers: ${found.slice(0, MAX_NAMED).join(', ')}`,
      'Choose a shorter name in namespaceRemap, or rename the collections.',
      found.slice(0, MAX_NAMED),
    ),
  ];
}

/** Two databases that become one on the destination may not have a collection or view of the same name. */
function checkClashes({ entries }: Migrated, scope: Scope): Finding[] {
  const clashes = groups(migratedOf(entries, scope), (ns) => nsText(scope.target(ns)));
  if (clashes.length === 0) return [];
  const texts = clashes.map((all) => `${all.map(nsText).join(' and ')} (${nsText(scope.target(all[0] as Namespace))})`);
  return [
    blocker(
      'NamespacesClash',
      `different namespaces of the source would have the same name on the destination: ${texts.slice(0, MAX_NAMED).join('; ')}`,
      'Change namespaceRemap, exclude or rename one of each.',
      clashes.flat().map(nsText).slice(0, MAX_NAMED),
    ),
  ];
}

/** The server refuses a database whose name differs from another's in case only; two may still stand in old catalogs. */
function checkCase({ databases }: Migrated, scope: Scope): Finding[] {
  const targets = new Set(databases.map((db) => scope.target({ db, coll: '' }).db));
  const clashes = groups([...targets], (db) => db.toLowerCase()).flat();
  return clashes.length === 0 ? [] : [differOnlyInCase(clashes)];
}

/** What is on the destination already stays there: nothing of the source may have its name. */
async function checkTaken(
  { entries }: Migrated,
  destination: Cluster,
  scope: Scope,
  signal: AbortSignal,
): Promise<Finding[]> {
  const wanted = new Map(migratedOf(entries, scope).map((ns) => [nsText(scope.target(ns)), ns]));
  const databases = [...new Set([...wanted.values()].map((ns) => scope.target(ns).db))];
  const there = await listDatabases(destination, signal);
  const inCase = databases.flatMap((db) =>
    there.filter((each) => each !== db && each.toLowerCase() === db.toLowerCase()).map((each) => [db, each]),
  );
  const known = databases.filter((db) => there.includes(db));
  const taken = (await listAll(destination, known, signal))
    .map((entry) => nsText(entry.ns))
    .filter((ns) => wanted.has(ns));
  const findings = inCase.length === 0 ? [] : [differOnlyInCase(inCase.flat())];
  if (taken.length === 0) return findings;
  return [
    ...findings,
    blocker(
      'DestinationNamespaceExists',
      `the destination already has ${taken.length} of the namespaces to migrate: ${taken.slice(0, MAX_NAMED).join(', ')}`,
      'Exclude them, give their database another name with namespaceRemap, or drop or rename them on the destination.',
      taken.slice(0, MAX_NAMED),
    ),
  ];
}

function differOnlyInCase(databases: readonly string[]): Finding {
  return blocker(
    'NamesDifferOnlyInCase',
    `database names differ only in case: ${databases.join(', ')}`,
    'Rename or drop one of them.',
    databases,
  );
}

function migratedOf(entries: readonly CatalogEntry[], scope: Scope): Namespace[] {
  return entries.filter((entry) => scope.migratesViews || entry.type !== 'view').map((entry) => entry.ns);
}

/** The items that share a key with another one, key by key. */
function groups<T>(items: readonly T[], keyOf: (item: T) => string): T[][] {
  const byKey = new Map<string, T[]>();
  for (const item of items) {
    const group = byKey.get(keyOf(item));
    if (group === undefined) byKey.set(keyOf(item), [item]);
    else group.push(item);
  }
  return [...byKey.values()].filter((group) => group.length > 1);
}

async function listAll(cluster: Cluster, databases: readonly string[], signal: AbortSignal): Promise<CatalogEntry[]> {
  return (await mapLimit(databases, PARALLEL, (db, inner) => listCollections(cluster, db, inner), signal)).flat();
}
