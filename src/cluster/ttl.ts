import type { OrderedDoc } from './bson.js';
import { collectionTtl, numberOf } from './collection-spec.js';

/** After how many seconds the date in a field makes a document expire. */
export interface TtlRule {
  readonly field: string;
  readonly afterSeconds: number;
}

/** The expiry rules of a collection: of its TTL indexes, and its own when it is clustered. */
export function ttlRules(options: OrderedDoc, indexes: readonly OrderedDoc[]): TtlRule[] {
  const rules: TtlRule[] = [];
  const own = collectionTtl(options);
  if (own !== undefined) rules.push({ field: '_id', afterSeconds: numberOf(own) });
  for (const spec of indexes) {
    const after = spec.get('expireAfterSeconds');
    const [field] = (spec.get('key') as OrderedDoc).keys();
    if (after !== undefined && field !== undefined) rules.push({ field, afterSeconds: numberOf(after) });
  }
  return rules;
}

/**
 * Whether a document had expired by the end of a second (since the epoch; events' times are cut off to whole ones): an
 * array expires by any of its dates.
 */
export function hasExpired(doc: OrderedDoc, rules: readonly TtlRule[], seconds: number): boolean {
  return rules.some((rule) =>
    datesAt(doc, rule.field.split('.')).some((date) => date.getTime() / 1000 + rule.afterSeconds < seconds + 1),
  );
}

function datesAt(value: unknown, path: readonly string[]): Date[] {
  if (Array.isArray(value)) return value.flatMap((each) => datesAt(each, path));
  const [name, ...rest] = path;
  if (name === undefined) return value instanceof Date ? [value] : [];
  return value instanceof Map ? datesAt(value.get(name), rest) : [];
}
