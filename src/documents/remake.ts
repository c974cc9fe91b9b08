/** Writes all documents of some `_id`s again, as the source has them now. */
import { idDocument } from '../bson/raw-document.js';
import type { Cluster } from '../cluster/cluster.js';
import { sleep } from '../lib/signals.js';
import { type DocumentWriter, duplicateIds, type WriteTarget } from './document-writer.js';
import { type CollectionAt, readByIds } from './read-by-id.js';

/** Documents to be written again. */
export interface Remade {
  /** Where the source has them. */
  readonly at: CollectionAt;
  readonly target: WriteTarget;
  /** Raw `{_id: …}`. */
  readonly ids: readonly Buffer[];
}

const MAX_TRIES = 10;
const AGAIN_MS = 50;

/**
 * Deletes what the destination has under these `_id`s, on every shard, and writes what the source has under them now;
 * nothing where the collection is gone. Whatever has changed since an earlier reading is replayed over it. Call while
 * nothing else is written under them.
 *
 * A document whose shard key value changes is deleted on one shard and inserted on another: a reading of both may meet it
 * twice, or not at all. Met twice, it is read again; not met, the events of its move are still to come. Errors:
 * DuplicateIds when there are two of one `_id` each time, and the destination would have to keep them on one shard.
 */
export async function remakeDocuments(
  { source, writer }: { readonly source: Cluster; readonly writer: DocumentWriter },
  { at, target, ids }: Remade,
  signal: AbortSignal,
): Promise<void> {
  let left = ids;
  for (let tries = 1; ; tries++) {
    // Deleted first: a document under an `_id` that is only equal must not stay.
    await writer.clear(target, left, signal);
    const taken: Buffer[] = [];
    for await (const documents of readByIds(source, at, left, signal)) {
      if (documents === 'gone') return;
      const { first, second } = byId(documents, target);
      taken.push(...second, ...(await writer.putUnlessTaken(target, first, signal)));
    }
    if (taken.length === 0) return;
    if (tries === MAX_TRIES) throw duplicateIds(target);
    left = taken.flatMap((each) => idDocument(each) ?? []);
    await sleep(AGAIN_MS, signal);
  }
}

/** On a destination that is not sharded, an `_id` is there once. */
function byId(documents: readonly Buffer[], { keyPaths }: WriteTarget): { first: Buffer[]; second: Buffer[] } {
  const met = new Set<string>();
  const first: Buffer[] = [];
  const second: Buffer[] = [];
  for (const doc of documents) {
    const id = idDocument(doc)?.toString('latin1');
    if (id === undefined) continue;
    (keyPaths.destination.length === 0 && met.has(id) ? second : first).push(doc);
    met.add(id);
  }
  return { first, second };
}
