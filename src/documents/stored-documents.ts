/** Finds the documents that the destination has already, to spare writing them again. */
import { decodeOrdered, survivesDecoding } from '../bson/bson.js';
import { queryValue } from '../bson/carried-value.js';
import { idDocument } from '../bson/raw-document.js';
import { nsText } from '../catalog/namespace.js';
import type { Cluster } from '../cluster/cluster.js';
import { isMoved } from '../cluster/errors.js';
import { rawBatches } from './raw-cursor.js';
import { type CollectionAt, readByIds } from './read-by-id.js';

/** What of some documents is on a cluster. */
export interface StoredDocuments {
  /** Those that a majority does not have byte for byte, in the order given. */
  readonly others: readonly Buffer[];
  /** How many documents were met. */
  readonly found: number;
}

/** Documents to be looked for. */
export interface LookedFor {
  readonly documents: readonly Buffer[];
  /** Whether they follow each other by `_id`, in the collection's own order, with few others in between. */
  readonly isRun: boolean;
}

/** Below it, a scan saves nothing. */
const MIN_RUN = 10;

/**
 * Finds which of these documents a majority has byte for byte: reading them costs a fraction of writing what is there
 * already. An `_id` that is only equal (1 and 1.0, or by collation) counts as another document; one that no query can
 * hold is not looked for.
 */
export async function findStored(
  cluster: Cluster,
  target: CollectionAt,
  { documents, isRun }: LookedFor,
  signal: AbortSignal,
): Promise<StoredDocuments> {
  const wanted = new Map<string, Buffer[]>();
  const ids: Buffer[] = [];
  for (const doc of documents) {
    const id = idDocument(doc);
    if (id === undefined) continue;
    ids.push(id);
    const known = wanted.get(keyOf(id));
    if (known === undefined) wanted.set(keyOf(id), [doc]);
    else known.push(doc);
  }
  return cluster.attempt(`comparing with ${nsText(target.ns)}`, signal, async () => {
    const same = new Set<Buffer>();
    let found = 0;
    for await (const stored of storedAmong(cluster, target, { ids, isRun }, signal)) {
      found += stored.length;
      for (const each of stored) {
        const id = idDocument(each);
        for (const doc of id === undefined ? [] : (wanted.get(keyOf(id)) ?? [])) if (doc.equals(each)) same.add(doc);
      }
    }
    return { others: same.size === 0 ? documents : documents.filter((doc) => !same.has(doc)), found };
  });
}

/** Nothing where the collection is gone: the next write tells that. */
async function* storedAmong(
  cluster: Cluster,
  target: CollectionAt,
  { ids, isRun }: { readonly ids: readonly Buffer[]; readonly isRun: boolean },
  signal: AbortSignal,
): AsyncGenerator<readonly Buffer[]> {
  const [first, last] = [ids[0], ids.at(-1)];
  if (first === undefined || last === undefined) return;
  const isScan = isRun && ids.length >= MIN_RUN && survivesDecoding(first) && survivesDecoding(last);
  if (isScan) yield* scan(cluster, target, { first, last }, signal);
  const named = (isScan ? [last] : ids).filter((id) => queryValue(id) !== undefined);
  for await (const batch of readByIds(cluster, target, named, signal)) if (batch !== 'gone') yield batch;
}

/** From the first `_id` to before the last one. */
async function* scan(
  cluster: Cluster,
  { ns, uuid }: CollectionAt,
  { first, last }: { readonly first: Buffer; readonly last: Buffer },
  signal: AbortSignal,
): AsyncGenerator<readonly Buffer[]> {
  const command = {
    find: ns.coll,
    hint: { _id: 1 },
    min: decodeOrdered(first),
    max: decodeOrdered(last),
    ...(uuid !== undefined && cluster.isAtLeast(6) ? { collectionUUID: uuid } : {}),
    readConcern: { level: 'majority', ...(cluster.now === undefined ? {} : { afterClusterTime: cluster.now }) },
  };
  try {
    for await (const { documents } of rawBatches(cluster, { db: ns.db, command }, signal)) yield documents;
  } catch (error) {
    if (!isMoved(error)) throw error;
  }
}

function keyOf(id: Buffer): string {
  return id.toString('latin1');
}
