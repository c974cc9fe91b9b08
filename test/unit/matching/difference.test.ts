import { Decimal128, Double, Int32, Long } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encode } from '../../../src/bson/bson.js';
import { fingerprint, firstDifference, kindOf } from '../../../src/matching/difference.js';

const doc = (fields: Record<string, unknown>): Buffer => encode({ _id: 1, ...fields });

const KINDS: readonly [kind: string, source: Buffer | undefined, destination: Buffer | undefined][] = [
  ['missing', doc({}), undefined],
  ['extra', undefined, doc({})],
  ['fieldOrder', doc({ a: 1, b: { c: 1, d: 2 } }), doc({ b: { d: 2, c: 1 }, a: 1 })],
  ['type', doc({ a: new Int32(1) }), doc({ a: Long.fromNumber(1) })],
  ['type', doc({ a: [new Double(2)] }), doc({ a: [Decimal128.fromString('2')] })],
  ['content', doc({ a: 1 }), doc({ a: 2 })],
  ['content', doc({ a: 1 }), doc({ a: '1' })],
  ['content', doc({ a: [1, 2] }), doc({ a: [2, 1] })],
];

for (const [kind, source, destination] of KINDS) {
  test(`a difference of the kind "${kind}" is told as such`, () => {
    assert.is(kindOf(source, destination), kind);
  });
}

const FIELDS: readonly [field: string, source: Buffer | undefined, destination: Buffer | undefined][] = [
  ['b', doc({ a: 1, b: { c: 1 }, d: 1 }), doc({ a: 1, b: { c: 2 }, d: 2 })],
  ['a', doc({ a: new Int32(1) }), doc({ a: Long.fromNumber(1) })],
  ['b', doc({ a: 1, b: 1 }), doc({ a: 1 })],
  ['b', doc({ a: 1 }), doc({ b: 1, a: 1 })],
  ['a', doc({ a: 1, b: 1 }), doc({ b: 1, a: 1 })],
  ['ähnlich', doc({ ähnlich: 1 }), doc({ ähnlich: 2 })],
  ['x'.repeat(200), doc({ ['x'.repeat(1000)]: 1 }), doc({})],
  ['', undefined, doc({ a: 1 })],
  ['', doc({ a: 1 }), undefined],
];

for (const [field, source, destination] of FIELDS) {
  test(`the first field that differs is told: "${field.slice(0, 10)}"`, () => {
    assert.is(firstDifference(source, destination), field);
  });
}

test('large documents are not decoded: how they differ is not worth holding up everything else', () => {
  const list = Array.from({ length: 900_000 }, (_, n) => n);
  const [source, destination] = [doc({ list, last: 1 }), doc({ list, last: Long.fromNumber(1) })];
  const started = performance.now();
  assert.is(kindOf(source, destination), 'content');
  assert.ok(performance.now() - started < 100);
});

test('documents are held as they are while they are small, else as a digest; equal only for equal ones', () => {
  const small = doc({ a: 'x' });
  const large = doc({ a: 'x'.repeat(10_000) });
  assert.ok(fingerprint(small).equals(small));
  assert.is(fingerprint(large).length, 32);
  assert.ok(fingerprint(large).equals(fingerprint(Buffer.from(large))));
  assert.not.ok(fingerprint(large).equals(fingerprint(doc({ a: `${'x'.repeat(9_999)}y` }))));
});

test.run();
