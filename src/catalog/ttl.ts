/** Decides whether a document had expired by a given time. */
import { decodeOrdered, type OrderedDoc } from '../bson/bson.js';
import { queryValue } from '../bson/carried-value.js';
import { idDocument } from '../bson/raw-document.js';
import type { Cluster } from '../cluster/cluster.js';
import { collectionTtl, numberOf } from './collection-spec.js';
import { type Namespace, nsText } from './namespace.js';

/** After how many seconds the date in a field makes a document expire. */
export interface TtlRule {
  readonly field: string;
  readonly afterSeconds: number;
  /** Of a partial index: only documents that match it are in the index, by its collation, and expire. */
  readonly partial?: { readonly filter: OrderedDoc; readonly collation: unknown };
}

/**
 * The expiry rules of a collection: of its TTL indexes, and its own when it is clustered. An index of several fields
 * expires nothing. Source: MongoDB manual, "TTL Indexes".
 */
export function ttlRules(options: OrderedDoc, indexes: readonly OrderedDoc[]): TtlRule[] {
  const rules: TtlRule[] = [];
  const own = collectionTtl(options);
  if (own !== undefined) rules.push({ field: '_id', afterSeconds: numberOf(own) });
  for (const spec of indexes) {
    const after = spec.get('expireAfterSeconds');
    const [field, ...others] = (spec.get('key') as OrderedDoc).keys();
    if (after === undefined || field === undefined || others.length > 0) continue;
    const filter = spec.get('partialFilterExpression');
    const collation = spec.get('collation') ?? { locale: 'simple' };
    const partial = filter instanceof Map ? { partial: { filter, collation } } : {};
    rules.push({ field, afterSeconds: numberOf(after), ...partial });
  }
  return rules;
}

/**
 * Whether a document (raw, as `cluster` has it in `ns`) had expired by the end of a second (since the epoch; events'
 * times are cut off to whole ones): an array expires by any of its dates. Whether a partial index has the document is
 * asked of the cluster.
 */
export async function hasExpired(
  { cluster, ns }: { readonly cluster: Cluster; readonly ns: Namespace },
  doc: Buffer,
  rules: readonly TtlRule[],
  seconds: number,
  signal: AbortSignal,
): Promise<boolean> {
  const fields = decodeOrdered(doc);
  for (const rule of rules.filter((each) => isOver(fields, each, seconds))) {
    if (rule.partial === undefined || (await isIndexed(cluster, ns, doc, rule.partial, signal))) return true;
  }
  return false;
}

function isOver(doc: OrderedDoc, { field, afterSeconds }: TtlRule, seconds: number): boolean {
  return datesAt(doc, field.split('.')).some((date) => date.getTime() / 1000 + afterSeconds < seconds + 1);
}

async function isIndexed(
  cluster: Cluster,
  ns: Namespace,
  doc: Buffer,
  { filter, collation }: NonNullable<TtlRule['partial']>,
  signal: AbortSignal,
): Promise<boolean> {
  const id = idDocument(doc);
  const value = id === undefined ? undefined : queryValue(id);
  if (id === undefined || value === undefined) return false;
  const command = {
    find: ns.coll,
    filter: { $and: [{ _id: { $eq: value } }, filter] },
    collation,
    projection: { _id: 1 },
    readConcern: { level: 'majority' },
  };
  const reply = await cluster.read(`reading ${nsText(ns)}`, ns.db, command, signal, { firstBatch: true });
  const found = (reply['cursor'] as { firstBatch: Buffer[] }).firstBatch;
  return found.some((each) => each.equals(id));
}

function datesAt(value: unknown, path: readonly string[]): Date[] {
  if (Array.isArray(value)) return value.flatMap((each) => datesAt(each, path));
  const [name, ...rest] = path;
  if (name === undefined) return value instanceof Date ? [value] : [];
  return value instanceof Map ? datesAt(value.get(name), rest) : [];
}
