/** Decides whether a change of the source after the commit time is expected, or fails the commit. */
import { decodeOrdered, survivesDecoding } from '../bson/bson.js';
import { isIgnored, type Namespace, nsText } from '../catalog/namespace.js';
import { hasExpired, ttlRules } from '../catalog/ttl.js';
import type { Cluster } from '../cluster/cluster.js';
import { AppError } from '../errors.js';
import type { CollectionMap, MigratedCollection } from '../metadata/collections.js';

/** A change of the source after the commit time. */
export interface LateEvent {
  readonly operation: string;
  readonly ns: Namespace;
  readonly collection: string | undefined;
  /** `{_id: …}` raw. */
  readonly id: Buffer | undefined;
  /** Seconds since the epoch. */
  readonly seconds: number;
}

/**
 * Judges a change that was made on the source after the commit time. Expiry goes on there by itself, so the delete of a
 * document that a TTL index had expired is expected; any other change would be lost, and fails the commit by name.
 * Errors: SourceModifiedAfterCommit.
 */
export async function judgeLateEvent(
  destination: Cluster,
  collections: CollectionMap,
  event: LateEvent,
  signal: AbortSignal,
): Promise<void> {
  if (isIgnored(event.ns)) return;
  const collection = event.collection === undefined ? undefined : collections.get(event.collection);
  if (
    event.operation === 'delete' &&
    collection !== undefined &&
    event.id !== undefined &&
    (await hadExpired(destination, collection, event.id, event.seconds, signal))
  )
    return;
  throw new AppError(
    'SourceModifiedAfterCommit',
    `${event.operation} of ${nsText(event.ns)} was made on the source after the commit was called, and is not on the destination. Start a new migration, and stop all writes to the source before its commit`,
  );
}

/** Whether expiry explains the delete: judged on the destination's copy, which is as it was at the commit time. */
async function hadExpired(
  destination: Cluster,
  collection: MigratedCollection,
  id: Buffer,
  seconds: number,
  signal: AbortSignal,
): Promise<boolean> {
  const rules = ttlRules(collection.options, collection.indexes);
  if (rules.length === 0 || !survivesDecoding(id)) return false;
  const raw = await findById(destination, collection.ns, id, signal);
  return raw !== undefined && hasExpired({ cluster: destination, ns: collection.ns }, raw, rules, seconds, signal);
}

/** What the other copy of a document tells of its delete. */
export type ExpiryTrace = 'none' | 'expired' | 'gone' | 'current';

/**
 * As `hadExpired` for a source that was given up: its other copy is in use, so it may be gone, or may have been changed
 * since. `none`: nothing of the collection expires.
 */
export async function traceOfExpiry(
  other: Cluster,
  collection: MigratedCollection,
  id: Buffer,
  seconds: number,
  signal: AbortSignal,
): Promise<ExpiryTrace> {
  const rules = ttlRules(collection.options, collection.indexes);
  if (rules.length === 0 || !survivesDecoding(id)) return 'none';
  const raw = await findById(other, collection.ns, id, signal);
  if (raw === undefined) return 'gone';
  const at = { cluster: other, ns: collection.ns };
  return (await hasExpired(at, raw, rules, seconds, signal)) ? 'expired' : 'current';
}

async function findById(cluster: Cluster, ns: Namespace, id: Buffer, signal: AbortSignal): Promise<Buffer | undefined> {
  const command = {
    find: ns.coll,
    filter: Object.fromEntries(decodeOrdered(id)),
    limit: 1,
    readConcern: { level: 'majority' },
  };
  const reply = await cluster.read(`reading ${nsText(ns)}`, ns.db, command, signal, { firstBatch: true });
  return (reply['cursor'] as { firstBatch: Buffer[] }).firstBatch[0];
}
