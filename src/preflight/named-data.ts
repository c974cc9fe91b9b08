import { type CatalogEntry, listCollections, listDatabases } from '../cluster/catalog.js';
import type { Cluster } from '../cluster/cluster.js';
import { isCollated } from '../cluster/collection-spec.js';
import { DocumentFilter, type DocumentFilterSpec } from '../cluster/document-filter.js';
import { nsText } from '../cluster/namespace.js';
import type { NamespaceFilterEntry } from '../cluster/namespace-filter.js';
import type { Scope } from '../cluster/scope.js';
import { blocker, type Finding, warning } from './finding.js';
import { listMigrated } from './places.js';

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

const MAX_NAMED = 20;

/** What the source's namespaces have against the names and values in the options. Reads its catalog only. */
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
  const databases = await listDatabases(source, signal);
  const known = new Map<string, readonly CatalogEntry[]>();
  const namesSome = async (part: NamespaceFilterEntry): Promise<boolean> => {
    const filter = scope.namedBy(part);
    await filter.learn(
      databases.map((db) => ({ db, coll: '' })),
      signal,
    );
    for (const db of databases) {
      if (!(await filter.includesSomeOf(db, signal))) continue;
      const entries = known.get(db) ?? (await listCollections(source, db, signal));
      known.set(db, entries);
      const { collections } = part;
      const candidates = entries
        .map(({ ns }) => ns)
        .filter(({ coll }) => collections[0] === undefined || collections.includes(coll));
      await filter.learn(candidates, signal);
      for (const ns of candidates) if (await filter.includes(ns, signal)) return true;
    }
    return false;
  };
  const findings: Finding[] = [];
  for (const field of ['includeNamespaces', 'excludeNamespaces'] as const) {
    for (const [i, entry] of scope.entries[field].entries()) {
      const missing: string[] = [];
      for (const part of partsOf(entry)) if (!(await namesSome(part))) missing.push(partText(part));
      if (missing.length > 0) findings.push(nothingNamed(`${field}[${i}]`, missing));
    }
  }
  return findings;
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
    `${field} names what is not on the source: ${missing.slice(0, MAX_NAMED).join(', ')}`,
    'Correct the name if it is misspelt; nothing is wrong if it is yet to come.',
    missing.slice(0, MAX_NAMED),
  );
}

function checkRemap(remap: NamedData['namespaceRemap'], databases: readonly string[]): Finding[] {
  return remap.flatMap(({ from }, i) =>
    databases.includes(from)
      ? []
      : [
          warning(
            'RemapNotFound',
            `namespaceRemap[${i}].from names a database that the source does not have, or that is not migrated: ${from}`,
            'Correct the name if it is misspelt; nothing is wrong if it is yet to come.',
            [from],
          ),
        ],
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
      `copyInNaturalOrder names what is not on the source: ${missing.slice(0, MAX_NAMED).join(', ')}`,
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
      `documentFilter compares texts, and ${collated.length} collections compare them by a collation of their own`,
      'Leave these collections out, or filter by values that are not strings.',
      collated.slice(0, MAX_NAMED).map(({ ns }) => nsText(ns)),
    ),
  ];
}
