import type { CatalogEntry } from '../cluster/catalog.js';
import type { Cluster } from '../cluster/cluster.js';
import { isCollated } from '../cluster/collection-spec.js';
import { DocumentFilter, type DocumentFilterSpec } from '../cluster/document-filter.js';
import { nsText } from '../cluster/namespace.js';
import type { Scope } from '../cluster/scope.js';
import { blocker, type Finding, warning } from './finding.js';
import { listMigrated } from './places.js';

/** `copyInNaturalOrder`: no collections means the whole database, database "." everything. */
export type NaturalOrderNames = readonly { readonly database: string; readonly collections: readonly string[] }[];

/** The options whose names and values meet the source's data. */
export interface NamedData {
  readonly copyInNaturalOrder: NaturalOrderNames;
  readonly documentFilter: DocumentFilterSpec | null;
  /** Only what is migrated counts. */
  readonly scope: Scope;
}

const MAX_NAMED = 20;

/** What the source's collections have against `copyInNaturalOrder` and `documentFilter`. Reads its catalog only. */
export async function checkNamedData(source: Cluster, options: NamedData, signal: AbortSignal): Promise<Finding[]> {
  const { copyInNaturalOrder, documentFilter, scope } = options;
  if (copyInNaturalOrder.length === 0 && documentFilter === null) return [];
  const { entries } = await listMigrated(source, scope, signal);
  return [...checkNames(copyInNaturalOrder, entries), ...checkCollations(documentFilter, entries)];
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
