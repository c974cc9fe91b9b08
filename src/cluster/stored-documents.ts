import { queryValue } from './carried-value.js';
import type { Cluster } from './cluster.js';
import { nsText } from './namespace.js';
import { idDocument } from './raw-document.js';
import { type CollectionAt, readByIds } from './read-by-id.js';

/** What of some documents is on a cluster. */
export interface StoredDocuments {
  /** Those that a majority does not have byte for byte, in the order given. */
  readonly others: readonly Buffer[];
  /** How many `_id`s were found, whatever their documents hold. */
  readonly found: number;
}

/**
 * Looks which of these documents a majority has as they are: reading them costs a fraction of writing what is there
 * already. An `_id` that is only equal (1 and 1.0, or by collation) counts as another document; one that no query can
 * hold is not looked for.
 */
export async function findStored(
  cluster: Cluster,
  target: CollectionAt,
  documents: readonly Buffer[],
  signal: AbortSignal,
): Promise<StoredDocuments> {
  const ids = documents.map((doc) => idDocument(doc));
  const asked = ids.filter((id): id is Buffer => id !== undefined && queryValue(id) !== undefined);
  if (asked.length === 0) return { others: documents, found: 0 };
  return cluster.attempt(`comparing with ${nsText(target.ns)}`, signal, async () => {
    const wanted = new Map(documents.map((doc, index) => [keyOf(ids[index]), doc]));
    const same = new Set<Buffer>();
    let found = 0;
    for await (const batch of readByIds(cluster, target, asked, signal)) {
      // The next write tells that the collection is gone.
      if (batch === 'gone') break;
      found += batch.length;
      for (const stored of batch) {
        const doc = wanted.get(keyOf(idDocument(stored)));
        if (doc?.equals(stored) === true) same.add(doc);
      }
    }
    return { others: documents.filter((doc) => !same.has(doc)), found };
  });
}

function keyOf(id: Buffer | undefined): string {
  return id?.toString('latin1') ?? '';
}
