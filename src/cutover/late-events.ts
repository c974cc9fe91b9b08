import { decodeOrdered, type OrderedDoc, survivesDecoding } from '../cluster/bson.js';
import type { Cluster } from '../cluster/cluster.js';
import { collectionTtl, numberOf } from '../cluster/collection-spec.js';
import { isIgnored, type Namespace, nsText } from '../cluster/namespace.js';
import { AppError } from '../errors.js';
import type { CollectionMap, MigratedCollection } from '../metadata/collections.js';

/** A change of the source after the commit time. */
export interface LateEvent {
  readonly operation: string;
  readonly ns: Namespace;
  readonly collection: string | undefined;
  readonly key: Buffer | undefined;
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
    event.key !== undefined &&
    (await hadExpired(destination, collection, event.key, event.seconds, signal))
  )
    return;
  throw new AppError(
    'SourceModifiedAfterCommit',
    `${event.operation} of ${nsText(event.ns)} on the source after the commit was called: it is not on the destination. Stop all writes to the source before the commit, and migrate anew`,
  );
}

/** Judged on the destination's copy, which is as it was at the commit time. */
async function hadExpired(
  destination: Cluster,
  collection: MigratedCollection,
  key: Buffer,
  seconds: number,
  signal: AbortSignal,
): Promise<boolean> {
  const rules = ttlRules(collection);
  if (rules.length === 0 || !survivesDecoding(key)) return false;
  const command = {
    find: collection.ns.coll,
    filter: Object.fromEntries(decodeOrdered(key)),
    limit: 1,
    readConcern: { level: 'majority' },
  };
  const reply = await destination.read(`reading ${nsText(collection.ns)}`, collection.ns.db, command, signal, {
    firstBatch: true,
  });
  const [raw] = (reply['cursor'] as { firstBatch: Buffer[] }).firstBatch;
  if (raw === undefined) return false;
  const doc = decodeOrdered(raw);
  return rules.some((rule) =>
    // The event's time is cut off to whole seconds; the document may have expired later within its second.
    datesAt(doc, rule.field.split('.')).some((date) => date.getTime() / 1000 + rule.afterSeconds < seconds + 1),
  );
}

interface TtlRule {
  readonly field: string;
  readonly afterSeconds: number;
}

function ttlRules(collection: MigratedCollection): TtlRule[] {
  const rules: TtlRule[] = [];
  const own = collectionTtl(collection.options);
  if (own !== undefined) rules.push({ field: '_id', afterSeconds: numberOf(own) });
  for (const spec of collection.indexes) {
    const after = spec.get('expireAfterSeconds');
    const [field] = (spec.get('key') as OrderedDoc).keys();
    if (after !== undefined && field !== undefined) rules.push({ field, afterSeconds: numberOf(after) });
  }
  return rules;
}

/** The dates at a dotted path; an array expires by any of its dates. */
function datesAt(value: unknown, path: readonly string[]): Date[] {
  if (Array.isArray(value)) return value.flatMap((each) => datesAt(each, path));
  const [name, ...rest] = path;
  if (name === undefined) return value instanceof Date ? [value] : [];
  return value instanceof Map ? datesAt(value.get(name), rest) : [];
}
