import { AppError } from '../errors.js';
import type { Binary, OrderedDoc } from './bson.js';
import { queryValue } from './carried-value.js';
import { findByUuid } from './catalog.js';
import type { Cluster } from './cluster.js';
import type { DocumentFilter } from './document-filter.js';
import { isMoved } from './errors.js';
import { type Namespace, nsText } from './namespace.js';
import { rawBatches } from './raw-cursor.js';

/** A collection of a cluster: by UUID, and where it was last seen. */
export interface CollectionAt {
  readonly ns: Namespace;
  /** Undefined before 6.0, where reads cannot be guarded by it. */
  readonly uuid: Binary | undefined;
  /** Only documents that it lets through count. */
  readonly filter?: DocumentFilter | undefined;
}

/**
 * Documents with these `_id`s (raw `{_id: …}`; at most some thousands, and a few MB) as they are now, in raw batches
 * and no particular order; follows a rename. `gone`: the collection was dropped. Errors: DocumentNotCarried.
 */
export async function* readByIds(
  cluster: Cluster,
  collection: CollectionAt,
  ids: readonly Buffer[],
  signal: AbortSignal,
): AsyncGenerator<Buffer[] | 'gone'> {
  let { ns } = collection;
  const named: OrderedDoc = new Map([['_id', { $in: ids.map((id) => valueInQuery(id, ns)) }]]);
  for (;;) {
    try {
      const command = {
        find: ns.coll,
        filter: collection.filter?.query(named) ?? named,
        ...(collection.uuid === undefined ? {} : { collectionUUID: collection.uuid }),
        readConcern: { level: 'majority', ...(cluster.now === undefined ? {} : { afterClusterTime: cluster.now }) },
      };
      for await (const batch of rawBatches(cluster, { db: ns.db, command }, signal)) yield batch.documents;
      return;
    } catch (error) {
      if (collection.uuid === undefined || !isMoved(error)) throw error;
      const renamed = await findByUuid(cluster, collection.uuid, ns.db, signal);
      if (renamed === undefined) {
        yield 'gone';
        return;
      }
      ns = renamed;
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
