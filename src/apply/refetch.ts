/** Reads documents from the source again, where their change events alone do not suffice. */
import type { Timestamp } from '../bson/bson.js';
import { uuidFrom } from '../bson/uuid.js';
import type { Cluster } from '../cluster/cluster.js';
import type { DocumentFilter } from '../documents/document-filter.js';
import { type CollectionAt, readByIds } from '../documents/read-by-id.js';
import { metrics } from '../metrics.js';
import type { Operation } from './operation.js';

/** How documents are read again. */
export interface Refetching {
  /** Only documents that it lets through. */
  readonly filter: DocumentFilter | undefined;
  /** The time as of which they are read; undefined: now. */
  readonly readTime: () => Timestamp | undefined;
  /** The source no longer has its state as of that time: from now on `readTime` gives none. */
  readonly onStateGone: (signal: AbortSignal) => Promise<void>;
}

/**
 * Reads documents from the source as they are now, in raw batches. `gone`: the collection was dropped meanwhile; its
 * drop event follows, so what the documents were no longer matters.
 *
 * A later state than the event's is sound: everything after the event is replayed over it (docs/04-apply.md).
 */
export async function* refetch(
  source: Cluster,
  operations: readonly Operation[],
  refetching: Refetching,
  signal: AbortSignal,
): AsyncGenerator<Buffer[] | 'gone'> {
  const first = operations[0];
  if (first === undefined) return;
  const at = whereToRead(first, refetching);
  const ids = operations.map(({ id }) => id);
  let readMs = 0;
  let asked = performance.now();
  for await (const documents of readByIds(source, at, ids, signal)) {
    readMs += performance.now() - asked;
    yield documents;
    asked = performance.now();
  }
  readMs += performance.now() - asked;
  metrics.refetches.add(operations.length);
  for (const _ of operations) metrics.refetchDuration.record(readMs / operations.length);
}

/** Where an operation's document is on the source, and as of which time it is read. */
export function whereToRead({ collection }: Operation, { filter, readTime, onStateGone }: Refetching): CollectionAt {
  return {
    ns: collection.sourceNs,
    uuid: uuidFrom(Buffer.from(collection.id, 'hex')),
    filter,
    // A capped collection takes no snapshot reads; under a filter it is copied again at the commit.
    ...(collection.capped ? {} : { as: { time: readTime, onStateGone } }),
  };
}
