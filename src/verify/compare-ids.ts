import type { Cluster } from '../cluster/cluster.js';
import type { DocumentFilter } from '../cluster/document-filter.js';
import { idDocument } from '../cluster/raw-document.js';
import { uuidFrom } from '../cluster/raw-writes.js';
import { type CollectionAt, isQueryable, readByIds } from '../cluster/read-by-id.js';
import type { MigratedCollection } from '../metadata/collections.js';
import { type DifferenceKind, fingerprint, kindOf } from './difference.js';

const IDS_PER_READ = 500;

/** The two clusters to compare, and which of the source's documents count. */
export interface Pair {
  readonly source: Cluster;
  readonly destination: Cluster;
  /** Undefined: all of them. */
  readonly filter?: DocumentFilter | undefined;
}

/** The outcome of comparing some documents. Ids are raw `{_id: …}`. */
export interface IdComparison {
  readonly differing: Buffer[];
  /** Their `_id` would change in a query (invalid UTF-8 and the like), so they cannot be asked for. */
  readonly unreadable: Buffer[];
}

/** A collection as it is to be found on the source. */
export function onSource(collection: MigratedCollection, { source, filter }: Pair): CollectionAt {
  return {
    filter,
    ns: collection.sourceNs,
    uuid: source.isAtLeast(6) ? uuidFrom(Buffer.from(collection.id, 'hex')) : undefined,
  };
}

export function onDestination(collection: MigratedCollection): CollectionAt {
  return { ns: collection.ns, uuid: collection.destinationUuid };
}

/**
 * Reads documents by `_id` on both sides, as they are now, and compares their bytes. `gone`: the collection is not on
 * one of the sides (any more), which the catalog's own comparison judges.
 */
export async function compareIds(
  pair: Pair,
  collection: MigratedCollection,
  ids: readonly Buffer[],
  signal: AbortSignal,
): Promise<IdComparison | 'gone'> {
  const readable = ids.filter(isQueryable);
  const unreadable = ids.filter((id) => !isQueryable(id));
  const differing: Buffer[] = [];
  for (let from = 0; from < readable.length; from += IDS_PER_READ) {
    const slice = readable.slice(from, from + IDS_PER_READ);
    const [source, destination] = await Promise.all([
      fingerprints(pair.source, onSource(collection, pair), slice, signal),
      fingerprints(pair.destination, onDestination(collection), slice, signal),
    ]);
    if (source === 'gone' || destination === 'gone') return 'gone';
    for (const [key, { id, print }] of source) {
      if (destination.get(key)?.print.equals(print) !== true) differing.push(id);
      destination.delete(key);
    }
    for (const { id } of destination.values()) differing.push(id);
  }
  return { differing, unreadable };
}

type Prints = Map<string, { readonly id: Buffer; readonly print: Buffer }>;

async function fingerprints(
  cluster: Cluster,
  collection: CollectionAt,
  ids: readonly Buffer[],
  signal: AbortSignal,
): Promise<Prints | 'gone'> {
  return cluster.attempt(`reading ${collection.ns.db}.${collection.ns.coll} to compare it`, signal, async () => {
    const prints: Prints = new Map();
    for await (const documents of readByIds(cluster, collection, ids, signal)) {
      if (documents === 'gone') return 'gone';
      for (const doc of documents) {
        const id = Buffer.from(idDocument(doc) ?? doc);
        prints.set(id.toString('latin1'), { id, print: fingerprint(doc) });
      }
    }
    return prints;
  });
}

/**
 * Whether change events tell all that happens to a collection. Before 5.0 a capped one evicts without events, and under
 * a filter its order is not that of the events: such ones are copied again at the commit, and compared then.
 */
export function isFollowed(collection: MigratedCollection, { source, filter }: Pair): boolean {
  return !collection.capped || (source.isAtLeast(5) && filter === undefined);
}

/** Reads one document on both sides again and tells how it differs; undefined when it does not any more. */
export async function differenceOf(
  pair: Pair,
  collection: MigratedCollection,
  id: Buffer,
  signal: AbortSignal,
): Promise<{ readonly kind: DifferenceKind; readonly destination: Buffer | undefined } | undefined> {
  const [source, destination] = await Promise.all([
    readOne(pair.source, onSource(collection, pair), id, signal),
    readOne(pair.destination, onDestination(collection), id, signal),
  ]);
  if (source === destination || (source !== undefined && destination?.equals(source) === true)) return undefined;
  return { kind: kindOf(source, destination), destination };
}

/** The document whose `_id` has just these bytes: one that is only equal to it is another document. */
async function readOne(
  cluster: Cluster,
  collection: CollectionAt,
  id: Buffer,
  signal: AbortSignal,
): Promise<Buffer | undefined> {
  return cluster.attempt(`reading a document of ${collection.ns.db}.${collection.ns.coll}`, signal, async () => {
    for await (const documents of readByIds(cluster, collection, [id], signal)) {
      if (documents === 'gone') return undefined;
      const found = documents.find((doc) => idDocument(doc)?.equals(id) === true);
      if (found !== undefined) return Buffer.from(found);
    }
    return undefined;
  });
}
