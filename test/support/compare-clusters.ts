/** Compares two clusters, as the judge of what a migration promises. */
import type { Document, MongoClient } from 'mongodb';
import { type CatalogEntry, compareEntries, readCatalog } from './compare-clusters-catalog.js';
import { compareDocuments } from './compare-clusters-documents.js';

/** What {@link compareClusters} looks at. Default: everything. */
export interface CompareOptions {
  /** Databases left out on both sides, besides `admin`, `local`, `config` and those of sync tools. */
  readonly ignoreDatabases?: readonly string[];
  /** Whether capped collections must have their documents in the same natural order. Default true. */
  readonly cappedOrder?: boolean;
  /** Whether documents are compared, and not the catalog alone. Default true. */
  readonly documents?: boolean;
  /**
   * What a namespace of the source is called on the destination; undefined when it is not migrated. Default: all are,
   * by their own names.
   */
  readonly target?: (db: string, collection: string) => readonly [db: string, collection: string] | undefined;
  /** Whether a namespace of the destination is somebody else's, and so left out. Default: none is. */
  readonly isForeign?: (db: string, collection: string) => boolean;
  /** A query: only the source's documents that it finds must be on the destination. Default: all. */
  readonly documentFilter?: Document;
}

/** Two clusters are not equal; `differences` tells all, the message the first fifty. */
export class ClustersDifferError extends Error {
  override readonly name = 'ClustersDifferError';

  constructor(readonly differences: readonly string[]) {
    const shown = differences.slice(0, 50);
    const rest = differences.length - shown.length;
    super(`the clusters differ:\n  ${shown.join('\n  ')}${rest > 0 ? `\n  … and ${rest} more` : ''}`);
  }
}

const AT_A_TIME = 4;

/**
 * Compares what a migration promises to be equal: collections and views with all their options but the UUID, every
 * option of every index, and every document byte for byte. `system.*` is left out. Returns the differences as lines
 * for people, none when the clusters are equal. Both clusters must be at rest.
 */
export async function compareClusters(
  source: MongoClient,
  destination: MongoClient,
  options: CompareOptions = {},
): Promise<string[]> {
  const ignored = new Set(options.ignoreDatabases);
  const catalogs = await Promise.all([readCatalog(source, ignored), readCatalog(destination, ignored)]);
  const left = renamed(catalogs[0], options.target ?? ((db, collection) => [db, collection]));
  const right = new Map(
    [...catalogs[1]].filter(([, { db, collection }]) => options.isForeign?.(db, collection) !== true),
  );
  const differences: string[] = [];
  const common: { readonly a: CatalogEntry; readonly b: CatalogEntry }[] = [];
  for (const name of [...new Set([...left.keys(), ...right.keys()])].sort()) {
    const a = left.get(name);
    const b = right.get(name);
    if (a === undefined) differences.push(`${name}: only on the destination`);
    else if (b === undefined) differences.push(`${name}: missing on the destination`);
    else {
      differences.push(...compareEntries(a, b));
      if (a.type === 'collection' && b.type === 'collection') common.push({ a, b });
    }
  }
  if (options.documents === false) return differences;
  const inOrder = options.cappedOrder ?? true;
  const found = await mapLimited(common, AT_A_TIME, ({ a, b }) =>
    compareDocuments({
      source,
      destination,
      from: a,
      to: b,
      naturalOrder: a.capped && inOrder,
      filter: options.documentFilter,
    }),
  );
  return [...differences, ...found.flat()];
}

/** The source's catalog by the names on the destination. */
function renamed(
  catalog: ReadonlyMap<string, CatalogEntry>,
  target: NonNullable<CompareOptions['target']>,
): Map<string, CatalogEntry> {
  const result = new Map<string, CatalogEntry>();
  for (const entry of catalog.values()) {
    const name = target(entry.db, entry.collection);
    if (name !== undefined) result.set(name.join('.'), entry);
  }
  return result;
}

/** Throws {@link ClustersDifferError} unless {@link compareClusters} finds nothing. */
export async function assertEqualClusters(
  source: MongoClient,
  destination: MongoClient,
  options: CompareOptions = {},
): Promise<void> {
  const differences = await compareClusters(source, destination, options);
  if (differences.length > 0) throw new ClustersDifferError(differences);
}

async function mapLimited<T, R>(items: readonly T[], limit: number, work: (item: T) => Promise<R>): Promise<R[]> {
  const results = new Array<R>(items.length);
  let next = 0;
  const worker = async () => {
    for (let index = next++; index < items.length; index = next++) {
      const item = items[index];
      if (item !== undefined) results[index] = await work(item);
    }
  };
  await Promise.all(Array.from({ length: limit }, worker));
  return results;
}
