/** Finds the index that supports a shard key. */
import type { OrderedDoc } from '../bson/bson.js';
import { numberOf } from './collection-spec.js';

/**
 * The first of some indexes that a server takes for a shard key: the key is a prefix of the index's, which is neither
 * sparse nor partial nor hidden, and compares texts plainly. Source: MongoDB manual, "Shard Key Indexes".
 */
export function supportingIndex(key: OrderedDoc, indexes: readonly OrderedDoc[]): OrderedDoc | undefined {
  return indexes.find((spec) => supportsKey(key, spec));
}

/** Whether `_id` alone, ascending, is the key: every collection has its index. */
export function isIdKey(key: OrderedDoc): boolean {
  return key.size === 1 && key.has('_id') && numericSign(key.get('_id')) === 1;
}

/** Whether a key has a hashed field. */
export function isHashedKey(key: OrderedDoc): boolean {
  return [...key.values()].includes('hashed');
}

/** Whether two key patterns are one to the server: the same fields, in one order, with equal values. */
export function sameKey(a: OrderedDoc, b: OrderedDoc): boolean {
  return a.size === b.size && isKeyPrefix(a, b);
}

/** As above, of one index. */
export function supportsKey(key: OrderedDoc, spec: OrderedDoc): boolean {
  const pattern = spec.get('key');
  if (!(pattern instanceof Map) || !isKeyPrefix(key, pattern as OrderedDoc)) return false;
  if (spec.get('sparse') === true || spec.has('partialFilterExpression') || spec.get('hidden') === true) return false;
  // In a collated collection an index of simple collation says nothing of one, and a collated one does.
  const collation = spec.get('collation');
  return !(collation instanceof Map) || collation.get('locale') === 'simple';
}

/** Whether a shard key is the beginning of an index's pattern. */
export function isKeyPrefix(key: OrderedDoc, pattern: OrderedDoc): boolean {
  const fields = [...pattern];
  return [...key].every(([field, value], index) => {
    const other = fields[index];
    return other !== undefined && other[0] === field && directionOf(other[1]) === directionOf(value);
  });
}

function directionOf(value: unknown): string {
  return typeof value === 'string' ? value : String(numericSign(value));
}

function numericSign(value: unknown): number {
  return Math.sign(numberOf(value));
}
