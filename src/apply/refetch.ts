import { type Doc, decodeOrdered, survivesDecoding, type Timestamp } from '../cluster/bson.js';
import { findByUuid } from '../cluster/catalog.js';
import type { Cluster } from '../cluster/cluster.js';
import type { DocumentFilter } from '../cluster/document-filter.js';
import { Code, codeOf } from '../cluster/errors.js';
import type { Namespace } from '../cluster/namespace.js';
import { rawBatches } from '../cluster/raw-cursor.js';
import { uuidFrom } from '../cluster/raw-writes.js';
import { AppError } from '../errors.js';
import { metrics } from '../metrics.js';
import type { Operation } from './operation.js';

const IDS_PER_READ = 1000;

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
  { filter, readTime, onStateGone }: Refetching,
  signal: AbortSignal,
): AsyncGenerator<Buffer[] | 'gone'> {
  const first = operations[0];
  if (first === undefined) return;
  const { collection } = first;
  metrics.refetches.add(operations.length);
  let ns: Namespace = collection.sourceNs;
  for (let from = 0; from < operations.length; from += IDS_PER_READ) {
    const ids = operations.slice(from, from + IDS_PER_READ).map((each) => idOf(each));
    for (;;) {
      try {
        const byId = new Map([['_id', { $in: ids }]]);
        const command = {
          find: ns.coll,
          filter: filter?.query(byId) ?? byId,
          ...(source.isAtLeast(6) ? { collectionUUID: uuidFrom(Buffer.from(collection.id, 'hex')) } : {}),
          // A capped collection takes no snapshot reads; under a filter it is copied again at the commit.
          readConcern: readConcernOf(collection.capped ? undefined : readTime(), source.now),
        };
        for await (const batch of rawBatches(source, { db: ns.db, command }, signal)) yield batch.documents;
        break;
      } catch (error) {
        const code = codeOf(error);
        if (readTime() !== undefined && (code === Code.SnapshotTooOld || code === Code.SnapshotUnavailable)) {
          await onStateGone(signal);
          continue;
        }
        if (code !== Code.CollectionUUIDMismatch && code !== Code.NamespaceNotFound && code !== Code.QueryPlanKilled)
          throw error;
        const renamed = await findByUuid(source, uuidFrom(Buffer.from(collection.id, 'hex')), ns.db, signal);
        if (renamed === undefined) {
          yield 'gone';
          return;
        }
        ns = renamed;
      }
    }
  }
}

function readConcernOf(at: Timestamp | undefined, now: Timestamp | undefined): Doc {
  if (at !== undefined) return { level: 'snapshot', atClusterTime: at };
  return { level: 'majority', ...(now === undefined ? {} : { afterClusterTime: now }) };
}

function idOf(operation: Operation): unknown {
  if (!survivesDecoding(operation.id)) {
    throw new AppError(
      'DocumentNotCarried',
      `a document of ${operation.collection.name} must be read again, but its _id cannot be sent in a query without change`,
    );
  }
  return decodeOrdered(operation.id).get('_id');
}
