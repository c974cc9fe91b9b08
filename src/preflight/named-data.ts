/** Checks that the names in the options exist on the source. */
import { type CatalogEntry, listCollections, listDatabases } from '../catalog/catalog.js';
import { isCollated } from '../catalog/collection-spec.js';
import { type Namespace, nsText } from '../catalog/namespace.js';
import type { NamespaceFilter, NamespaceFilterEntry } from '../catalog/namespace-filter.js';
import type { Scope } from '../catalog/scope.js';
import type { Cluster } from '../cluster/cluster.js';
import { DocumentFilter, type DocumentFilterSpec } from '../documents/document-filter.js';
import { listMigrated } from './destination-namespaces.js';
import { blocker, type Finding, MAX_NAMED, warning } from './finding.js';

/** `copyInNaturalOrder`: no collections means the whole database, database "." everything. */
export type NaturalOrderNames = readonly { readonly database: string; readonly collections: readonly string[] }[];

/** The options whose names and values meet the source's data. */
export interface NamedData {
  readonly copyInNaturalOrder: NaturalOrderNames;
  readonly documentFilter: DocumentFilterSpec | null;
  readonly namespaceRemap: readonly { readonly from: string }[];
  /** Only what is migrated counts. */
  readonly scope: Scope;
}

/** Checks the names and values in the options against the source's namespaces. Reads the source's catalog only. */
export async function checkNamedData(source: Cluster, options: NamedData, signal: AbortSignal): Promise<Finding[]> {
  const { copyInNaturalOrder, documentFilter, namespaceRemap, scope } = options;
  const findings = scope.isFiltered ? await checkFilterEntries(source, scope, signal) : [];
  if (copyInNaturalOrder.length === 0 && documentFilter === null && namespaceRemap.length === 0) return findings;
  const { databases, entries } = await listMigrated(source, scope, signal);
  return [
    ...findings,
    ...checkRemap(namespaceRemap, databases),
    ...checkNames(copyInNaturalOrder, entries),
    ...checkCollations(documentFilter, entries),
  ];
}

/** A misspelt name in a filter would go unnoticed as long as the other ones are right. */
async function checkFilterEntries(source: Cluster, scope: Scope, signal: AbortSignal): Promise<Finding[]> {
  const catalog = new NamesOfSource(source, await listDatabases(source, signal), signal);
  const findings: Finding[] = [];
  for (const field of ['includeNamespaces', 'excludeNamespaces'] as const) {
    for (const [i, entry] of scope.entries[field].entries()) {
      const missing = await missingParts(entry, scope, catalog, signal);
      if (missing.length > 0) findings.push(nothingNamed(`${field}[${i}]`, missing));
      if (findings.length === MAX_NAMED) return findings;
    }
  }
  return findings;
}

/** The databases and collections there are. */
class NamesOfSource {
  readonly databases: readonly string[];
  readonly #source: Cluster;
  readonly #signal: AbortSignal;
  readonly #known = new Map<string, readonly Namespace[]>();

  constructor(source: Cluster, databases: readonly string[], signal: AbortSignal) {
    this.databases = databases;
    this.#source = source;
    this.#signal = signal;
  }

  async of(db: string): Promise<readonly Namespace[]> {
    const found = this.#known.get(db) ?? (await listCollections(this.#source, db, this.#signal)).map(({ ns }) => ns);
    this.#known.set(db, found);
    return found;
  }
}

/** The parts of an entry that name nothing: its databases are looked through once, not once for each name. */
async function missingParts(
  entry: NamespaceFilterEntry,
  scope: Scope,
  catalog: NamesOfSource,
  signal: AbortSignal,
): Promise<string[]> {
  const { collections, collectionsRegex, ...database } = entry;
  const inDatabase = scope.namedBy({ ...database, collections: [] });
  const candidates: Namespace[] = [];
  if (entry.database === undefined) {
    const asked = catalog.databases.map((db) => ({ db, coll: '' }));
    await inDatabase.learn(asked, signal);
  }
  for (const db of catalog.databases) {
    if (entry.database !== undefined && entry.database !== db) continue;
    if (await inDatabase.includesSomeOf(db, signal)) for (const ns of await catalog.of(db)) candidates.push(ns);
  }
  const names = new Set(candidates.map(({ coll }) => coll));
  const missing: string[] = [];
  for (const part of partsOf(entry)) {
    const [name] = part.collections;
    const isThere = name === undefined ? await namesAny(scope.namedBy(part), candidates, signal) : names.has(name);
    if (!isThere) missing.push(partText(part));
  }
  return missing;
}

async function namesAny(
  filter: NamespaceFilter,
  candidates: readonly Namespace[],
  signal: AbortSignal,
): Promise<boolean> {
  await filter.learn(candidates, signal);
  for (const ns of candidates) if (await filter.includes(ns, signal)) return true;
  return false;
}

/** An entry by the names and expressions in it, each of which may be wrong. */
function partsOf(entry: NamespaceFilterEntry): NamespaceFilterEntry[] {
  const { collections, collectionsRegex, ...database } = entry;
  if (collections.length === 0) return [entry];
  return [
    ...collections.map((name) => ({ ...database, collections: [name] })),
    ...(collectionsRegex === undefined ? [] : [{ ...database, collections: [], collectionsRegex }]),
  ];
}

function partText({ database, databaseRegex, collections, collectionsRegex }: NamespaceFilterEntry): string {
  const db = database ?? `/${databaseRegex?.pattern}/${databaseRegex?.options}`;
  if (collectionsRegex !== undefined) return `${db}./${collectionsRegex.pattern}/${collectionsRegex.options}`;
  return collections[0] === undefined ? db : `${db}.${collections[0]}`;
}

function nothingNamed(field: string, missing: readonly string[]): Finding {
  return warning(
    'FilterEntryNotFound',
    `${field} names databases or collections that are not on the source: ${missing.slice(0, MAX_NAMED).join(', ')}`,
    'Correct the name if it is misspelt. If it will be created later, nothing is wrong.',
    missing.slice(0, MAX_NAMED),
  );
}

function checkRemap(remap: NamedData['namespaceRemap'], databases: readonly string[]): Finding[] {
  const known = new Set(databases);
  const missing = [...remap.entries()].filter(([, { from }]) => !known.has(from)).slice(0, MAX_NAMED);
  return missing.map(([i, { from }]) =>
    warning(
      'RemapNotFound',
      `namespaceRemap[${i}].from names a database that the source does not have, or that is not migrated: ${from}`,
      'Correct the name if it is misspelt. If it will be created later, nothing is wrong.',
      [from],
    ),
  );
}

/** Only a warning: the collection may be created later, and a wrong name slows the copy down, no more. */
function checkNames(names: NaturalOrderNames, entries: readonly CatalogEntry[]): Finding[] {
  const found = new Set(entries.flatMap(({ ns }) => [ns.db, nsText(ns)]));
  const missing = names
    .filter(({ database }) => database !== '.')
    .flatMap(({ database, collections }) =>
      collections.length === 0 ? [database] : collections.map((coll) => nsText({ db: database, coll })),
    )
    .filter((name) => !found.has(name));
  if (missing.length === 0) return [];
  return [
    warning(
      'NaturalOrderNotFound',
      `copyInNaturalOrder names databases or collections that are not on the source: ${missing.slice(0, MAX_NAMED).join(', ')}`,
      'Correct the name if it is misspelt; such a collection is copied in the order of its _ids.',
      missing.slice(0, MAX_NAMED),
    ),
  ];
}

function checkCollations(spec: DocumentFilterSpec | null, entries: readonly CatalogEntry[]): Finding[] {
  if (spec === null || !new DocumentFilter(spec).holdsText) return [];
  const collated = entries.filter(({ type, options }) => type === 'collection' && isCollated(options));
  if (collated.length === 0) return [];
  return [
    blocker(
      'CollatedDocumentFilter',
      `documentFilter has string values, and ${collated.length} collections compare strings by a collation of their own`,
      'Leave these collections out, or filter by values that are not strings.',
      collated.slice(0, MAX_NAMED).map(({ ns }) => nsText(ns)),
    ),
  ];
}
