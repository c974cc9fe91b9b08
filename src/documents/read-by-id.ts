/** Reads documents by `_id`, also while their collection is renamed. */
import type { Binary, Doc, OrderedDoc, Timestamp } from '../bson/bson.js';
import { queryValue } from '../bson/carried-value.js';
import { findByUuid } from '../catalog/catalog.js';
import { type Namespace, nsText } from '../catalog/namespace.js';
import type { Cluster } from '../cluster/cluster.js';
import { Code, codeOf, isMoved } from '../cluster/errors.js';
import { AppError } from '../errors.js';
import { inChunks } from '../lib/in-chunks.js';
import type { DocumentFilter } from './document-filter.js';
import { rawBatches } from './raw-cursor.js';

/** A collection of a cluster: by UUID, and where it was last seen. */
export interface CollectionAt {
  readonly ns: Namespace;
  /** Undefined before 6.0 where a rename cannot have happened; reads cannot be guarded by it there. */
  readonly uuid: Binary | undefined;
  /** Only documents that it lets through count. */
  readonly filter?: DocumentFilter | undefined;
  /** As of when; without it: now. */
  readonly as?: ReadTime;
}

/** The time as of which documents are read. */
export interface ReadTime {
  /** Undefined: now. */
  readonly time: () => Timestamp | undefined;
  /** The cluster no longer has its state as of that time: from now on `time` gives none. */
  readonly onStateGone: (signal: AbortSignal) => Promise<void>;
}

/** Bounds of one read: a command must stay below 16 MB, and an `_id` may have any size. */
const MAX_IDS = 1000;
const MAX_ID_BYTES = 4 * 1024 * 1024;

/**
 * Documents with these `_id`s (raw `{_id: …}`) as they are now, in raw batches and no particular order; follows a
 * rename. `gone`, and no more: the collection was dropped. Errors: DocumentNotCarried.
 */
export async function* readByIds(
  cluster: Cluster,
  collection: CollectionAt,
  ids: readonly Buffer[],
  signal: AbortSignal,
): AsyncGenerator<Buffer[] | 'gone'> {
  let at = collection;
  for (const some of inChunks(ids, MAX_IDS, MAX_ID_BYTES, (id) => id.length)) {
    const named: OrderedDoc = new Map([['_id', { $in: some.map((id) => valueInQuery(id, at.ns)) }]]);
    for (;;) {
      try {
        const cursor = { db: at.ns.db, command: findCommand(cluster, at, named) };
        for await (const batch of rawBatches(cluster, cursor, signal)) yield batch.documents;
        break;
      } catch (error) {
        if (at.as?.time() !== undefined && isStateGone(error)) {
          await at.as.onStateGone(signal);
          continue;
        }
        if (at.uuid === undefined || !isMoved(error)) throw error;
        const renamed = await findByUuid(cluster, at.uuid, at.ns.db, signal);
        if (renamed === undefined) {
          yield 'gone';
          return;
        }
        at = { ...at, ns: renamed };
      }
    }
  }
}

function valueInQuery(id: Buffer, ns: Namespace): unknown {
  const value = queryValue(id);
  if (value !== undefined) return value;
  throw new AppError(
    'DocumentNotCarried',
    `a document of ${nsText(ns)} has an _id that this driver cannot send in a query`,
  );
}

function findCommand(cluster: Cluster, { ns, uuid, filter, as }: CollectionAt, named: OrderedDoc): Doc {
  const time = as?.time();
  const now = cluster.now === undefined ? {} : { afterClusterTime: cluster.now };
  return {
    find: ns.coll,
    filter: filter?.query(named) ?? named,
    ...(uuid !== undefined && cluster.isAtLeast(6) ? { collectionUUID: uuid } : {}),
    readConcern: time === undefined ? { level: 'majority', ...now } : { level: 'snapshot', atClusterTime: time },
  };
}

function isStateGone(error: unknown): boolean {
  const code = codeOf(error);
  return code === Code.SnapshotTooOld || code === Code.SnapshotUnavailable;
}
