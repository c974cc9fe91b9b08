import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Decimal128, encode, Long } from '../../../src/bson/bson.js';
import { DocumentFilter } from '../../../src/documents/document-filter.js';

const filterOn = (field: string, ...matchValues: unknown[]): DocumentFilter =>
  new DocumentFilter({ field, matchValues });
const delta = (diff: object): Buffer => encode({ $v: 2, diff });

test('values of Extended JSON keep their types in queries', () => {
  const filter = filterOn('a', { $numberLong: '9007199254740993' }, { $numberDecimal: '1.10' }, 'x');
  const { $in } = filter.query().get('a') as { $in: unknown[] };
  assert.ok(($in[0] as Long).equals(Long.fromString('9007199254740993')));
  assert.is(($in[1] as Decimal128).toString(), '1.10');
  assert.ok(filter.holdsText);
  assert.not.ok(filterOn('a', 1, { $oid: '0'.repeat(24) }, true).holdsText);
});

test('names that objects treat in their own way are plain names', () => {
  assert.equal([...filterOn('__proto__', 1).query().keys()], ['__proto__']);
});

const TOUCHING: readonly object[] = [
  { u: { a: 1 } },
  { i: { b: 1, a: 2 } },
  { d: { a: false } },
  { sa: { u: { x: 1 } } },
  { sb: { u: { a: 1 } }, u: { a: 1 } },
  { z: { unknown: true } },
  { z: { a: 1 } },
];

for (const diff of TOUCHING) {
  test(`a delta that may change the field: ${JSON.stringify(diff)}`, () => {
    assert.ok(filterOn('a', 1).isTouchedBy(delta(diff)));
  });
}

const OTHER: readonly object[] = [
  { u: { b: 'a' } },
  { sb: { u: { a: 1 } } },
  { u: { ab: 1 }, d: { ba: false } },
  { i: { sa: 1 } },
  {},
];

for (const diff of OTHER) {
  test(`a delta that cannot: ${JSON.stringify(diff)}`, () => {
    assert.not.ok(filterOn('a', 1).isTouchedBy(delta(diff)));
  });
}

test('what is no delta counts as a change', () => {
  assert.ok(filterOn('a', 1).isTouchedBy(encode({ $set: { b: 1 } })));
});

test('names beyond ASCII are told apart', () => {
  const filter = filterOn('ключ', 1);
  assert.ok(filter.isTouchedBy(delta({ u: { ключ: 1 } })));
  assert.not.ok(filter.isTouchedBy(delta({ u: { ключи: 'ключ' } })));
});

test.run();
