/** Decides whether a late event concerns a document that the document filter includes. */
import { decodeOrdered, type OrderedDoc, survivesDecoding } from '../bson/bson.js';
import { type Namespace, nsText } from '../catalog/namespace.js';
import type { Cluster } from '../cluster/cluster.js';
import type { DocumentFilter } from '../documents/document-filter.js';
import type { CollectionMap } from '../metadata/collections.js';
import type { LateEvent } from './late-events.js';

const CRUD = new Set(['insert', 'update', 'replace', 'delete']);

/**
 * Whether a change made after the commit time concerns a document of the migration: then it is judged as without a
 * filter. A document on the destination, which has the state of the commit time, was within the filter then; one that
 * is found on the source now has come into it since. Other tenants may go on writing.
 *
 * Always where that cannot be told: capped collections, whose documents go by eviction, too, and `_id`s that cannot be
 * sent without change. The change stream leaves out inserts outside the filter.
 */
export async function concernsFilter(
  clusters: { readonly source: Cluster; readonly destination: Cluster; readonly collections: CollectionMap },
  filter: DocumentFilter,
  event: LateEvent,
  signal: AbortSignal,
): Promise<boolean> {
  const { source, destination, collections } = clusters;
  const collection = event.collection === undefined ? undefined : collections.get(event.collection);
  if (!CRUD.has(event.operation) || event.operation === 'insert' || collection === undefined) return true;
  if (collection.capped || event.id === undefined || !survivesDecoding(event.id)) return true;
  const id = decodeOrdered(event.id);
  if (await exists(destination, collection.ns, id, signal)) return true;
  if (event.operation === 'delete') return false;
  return exists(source, event.ns, filter.query(id), signal);
}

async function exists(cluster: Cluster, ns: Namespace, filter: OrderedDoc, signal: AbortSignal): Promise<boolean> {
  const { now } = cluster;
  const command = {
    find: ns.coll,
    filter,
    projection: { _id: 1 },
    limit: 1,
    singleBatch: true,
    readConcern: { level: 'majority', ...(now === undefined ? {} : { afterClusterTime: now }) },
  };
  const reply = await cluster.read(`reading ${nsText(ns)}`, ns.db, command, signal, { firstBatch: true });
  return (reply['cursor'] as { firstBatch: Buffer[] }).firstBatch.length > 0;
}
