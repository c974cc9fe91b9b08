/** Compares single documents by `_id` on both sides. */
import { idDocument } from '../bson/raw-document.js';
import { uuidFrom } from '../bson/uuid.js';
import type { Cluster } from '../cluster/cluster.js';
import type { DocumentFilter } from '../documents/document-filter.js';
import { type CollectionAt, readByIds } from '../documents/read-by-id.js';
import { inChunks } from '../lib/in-chunks.js';
import type { MigratedCollection } from '../metadata/collections.js';
import { type Difference, fingerprint, firstDifference, kindOf } from './difference.js';
import { idKey } from './id-key.js';

const IDS_PER_READ = 500;
/** Of their ids, which may be megabytes each. */
const BYTES_PER_READ = 4 * 1024 * 1024;

/** The two clusters to compare, and which of the source's documents count. */
export interface Pair {
  readonly source: Cluster;
  readonly destination: Cluster;
  /** Undefined: all of them. */
  readonly filter?: DocumentFilter | undefined;
}

/** A collection as it is to be found on the source. */
export function onSource(collection: MigratedCollection, { source, filter }: Pair): CollectionAt {
  return {
    filter,
    ns: collection.sourceNs,
    uuid: source.isAtLeast(6) ? uuidFrom(Buffer.from(collection.id, 'hex')) : undefined,
  };
}

/** The same on the destination, which is older than 6.0 only where no migration could have been. */
export function onDestination(collection: MigratedCollection, { destination }: Pair): CollectionAt {
  return { ns: collection.ns, uuid: destination.isAtLeast(6) ? collection.destinationUuid : undefined };
}

/**
 * Reads documents by `_id` on both sides, as they are now, and compares their bytes. Resolves with those that differ
 * (raw `{_id: …}`). `gone`: the collection is not on one of the sides (any more), which the catalog's own comparison
 * judges.
 */
export async function compareIds(
  pair: Pair,
  collection: MigratedCollection,
  ids: readonly Buffer[],
  signal: AbortSignal,
): Promise<Buffer[] | 'gone'> {
  const differing: Buffer[] = [];
  for (const slice of inChunks(ids, IDS_PER_READ, BYTES_PER_READ, (id) => id.length)) {
    const [source, destination] = await Promise.all([
      fingerprints(pair.source, onSource(collection, pair), slice, signal),
      fingerprints(pair.destination, onDestination(collection, pair), slice, signal),
    ]);
    if (source === 'gone' || destination === 'gone') return 'gone';
    for (const [key, { id, print }] of source) {
      if (destination.get(key)?.print.equals(print) !== true) differing.push(id);
      destination.delete(key);
    }
    for (const { id } of destination.values()) differing.push(id);
  }
  return differing;
}

type Prints = Map<string, { readonly id: Buffer; readonly print: Buffer }>;

async function fingerprints(
  cluster: Cluster,
  collection: CollectionAt,
  ids: readonly Buffer[],
  signal: AbortSignal,
): Promise<Prints | 'gone'> {
  return cluster.attempt(`reading ${collection.ns.db}.${collection.ns.coll} to compare it`, signal, async () => {
    const met = new Map<string, { readonly id: Buffer; readonly prints: Buffer[] }>();
    for await (const documents of readByIds(cluster, collection, ids, signal)) {
      if (documents === 'gone') return 'gone';
      for (const doc of documents) {
        const id = Buffer.from(idDocument(doc) ?? doc);
        const key = idKey(id);
        const known = met.get(key);
        if (known === undefined) met.set(key, { id, prints: [fingerprint(doc)] });
        else known.prints.push(fingerprint(doc));
      }
    }
    return new Map([...met].map(([key, { id, prints }]) => [key, { id, print: together(prints) }]));
  });
}

/** One fingerprint for all documents with one `_id`, of which each shard may have one: the same in whatever order they come. */
function together(prints: readonly Buffer[]): Buffer {
  const [first = Buffer.alloc(0), ...others] = prints;
  return others.length === 0 ? first : fingerprint(Buffer.concat([...prints].sort(Buffer.compare)));
}

/**
 * Whether change events tell all that happens to a collection. Before 5.0 a capped one evicts without events, and under
 * a filter its order is not that of the events: such ones are copied again at the commit, and compared then.
 */
export function isFollowed(
  collection: MigratedCollection,
  { source, filter }: Pick<Pair, 'source' | 'filter'>,
): boolean {
  return !collection.capped || (source.isAtLeast(5) && filter === undefined);
}

/** Documents (raw `{_id: …}`) that differ, by where they are. */
export interface DifferingIds {
  /** On the source only. */
  readonly missing: Buffer[];
  /** On the destination only. */
  readonly extra: Buffer[];
  /** On both sides, with other bytes. */
  readonly changed: Buffer[];
}

/** Reads documents on both sides again and tells where they are; those that are equal by now are left out. */
export async function differingIds(
  pair: Pair,
  collection: MigratedCollection,
  ids: readonly Buffer[],
  signal: AbortSignal,
): Promise<DifferingIds> {
  const result: DifferingIds = { missing: [], extra: [], changed: [] };
  for (const slice of inChunks(ids, IDS_PER_READ, BYTES_PER_READ, (id) => id.length)) {
    const [source, destination] = await Promise.all([
      fingerprints(pair.source, onSource(collection, pair), slice, signal),
      fingerprints(pair.destination, onDestination(collection, pair), slice, signal),
    ]);
    for (const [key, id] of new Map(slice.map((each) => [idKey(each), each]))) {
      const there = source === 'gone' ? undefined : source.get(key)?.print;
      const here = destination === 'gone' ? undefined : destination.get(key)?.print;
      if (there === undefined && here === undefined) continue;
      if (there === undefined) result.extra.push(id);
      else if (here === undefined) result.missing.push(id);
      else if (!there.equals(here)) result.changed.push(id);
    }
  }
  return result;
}

/** How the document of an `_id` differs, by its bytes; undefined when it does not any more. */
export async function differenceOf(
  pair: Pair,
  collection: MigratedCollection,
  id: Buffer,
  signal: AbortSignal,
): Promise<Pick<Difference, 'kind' | 'field'> | undefined> {
  const [source, destination] = await Promise.all([
    readAll(pair.source, onSource(collection, pair), id, signal),
    readAll(pair.destination, onDestination(collection, pair), id, signal),
  ]);
  // On sharded clusters there may be several.
  const there = source.filter((doc) => !destination.some((each) => each.equals(doc)))[0];
  const here = destination.filter((doc) => !source.some((each) => each.equals(doc)))[0];
  if (there === undefined && here === undefined) return undefined;
  return { kind: kindOf(there, here), field: firstDifference(there, here) };
}

/** Of documents with these `_id`s, byte for byte, those that pass a test; none where the collection is gone. */
export async function selectIds(
  cluster: Cluster,
  collection: CollectionAt,
  ids: readonly Buffer[],
  passes: (doc: Buffer) => Promise<boolean>,
  signal: AbortSignal,
): Promise<Buffer[]> {
  const wanted = new Map(ids.map((id) => [idKey(id), id]));
  return cluster.attempt(`reading documents of ${collection.ns.db}.${collection.ns.coll}`, signal, async () => {
    const passing = new Map<string, Buffer>();
    for await (const documents of readByIds(cluster, collection, ids, signal)) {
      if (documents === 'gone') return [];
      for (const doc of documents) {
        const key = idKey(idDocument(doc) ?? doc);
        const id = wanted.get(key);
        if (id !== undefined && (await passes(doc))) passing.set(key, id);
      }
    }
    return [...passing.values()];
  });
}

/** The documents whose `_id` has just these bytes: one that is only equal to it is another document. */
async function readAll(
  cluster: Cluster,
  collection: CollectionAt,
  id: Buffer,
  signal: AbortSignal,
): Promise<readonly Buffer[]> {
  return cluster.attempt(`reading a document of ${collection.ns.db}.${collection.ns.coll}`, signal, async () => {
    const found: Buffer[] = [];
    for await (const documents of readByIds(cluster, collection, [id], signal)) {
      if (documents === 'gone') return [];
      found.push(...documents.filter((doc) => idDocument(doc)?.equals(id) === true).map((doc) => Buffer.from(doc)));
    }
    return found;
  });
}
