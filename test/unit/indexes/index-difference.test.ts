import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decodeOrdered, encode, type OrderedDoc } from '../../../src/bson/bson.js';
import { indexName } from '../../../src/catalog/index-spec.js';
import { compareIndexes } from '../../../src/indexes/index-difference.js';

function index(name: string, key: Record<string, unknown>, options: Record<string, unknown> = {}): OrderedDoc {
  return decodeOrdered(encode({ v: 2, key, name, ...options }));
}

function names(
  wanted: readonly OrderedDoc[],
  actual: readonly OrderedDoc[],
  more: { expiring?: string[]; wants?: (spec: OrderedDoc) => boolean } = {},
): { missing: string[]; surplus: string[] } {
  const expiring = new Set(more.expiring);
  const { missing, surplus } = compareIndexes({
    wanted,
    actual,
    expiring,
    kept: [],
    wants: more.wants ?? (() => true),
  });
  return { missing: missing.map(indexName), surplus: surplus.map(indexName) };
}

const isNotHashed = (spec: OrderedDoc): boolean => indexName(spec) !== 'hashed';

test('what is missing is built, what is not wanted is dropped, and one of another key is both', () => {
  const kept = index('a_1', { a: 1 });
  assert.equal(names([kept], [kept]), { missing: [], surplus: [] });
  assert.equal(names([kept, index('b_1', { b: 1 })], [kept]), { missing: ['b_1'], surplus: [] });
  assert.equal(names([kept], [kept, index('c_1', { c: 1 })]), { missing: [], surplus: ['c_1'] });
  assert.equal(names([index('x', { a: 1, b: 1 })], [index('x', { b: 1, a: 1 })]), { missing: ['x'], surplus: ['x'] });
});

test('an index that expires documents there is built anew unless the source has an expiry as well', () => {
  const expiring = index('at_1', { at: 1 }, { expireAfterSeconds: 5 });
  const relaxed = index('at_1', { at: 1 });
  assert.equal(names([relaxed], [expiring]), { missing: ['at_1'], surplus: ['at_1'] });
  assert.equal(names([relaxed], [expiring], { expiring: ['at_1'] }), { missing: [], surplus: [] });
});

test('an index that the migration does not build stays, unless its name is needed', () => {
  const other = index('hashed', { a: 'hashed' });
  assert.equal(names([], [other], { wants: isNotHashed }), { missing: [], surplus: [] });
  const taken = index('hashed', { a: 1 });
  assert.equal(names([taken], [other], { wants: isNotHashed }), { missing: ['hashed'], surplus: ['hashed'] });
});

test.run();
