import * as fc from 'fast-check';
import { BSON, Decimal128, Double, Int32, Long, ObjectId } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type DocumentKey, documentKey, idOfKey, laneOf } from '../../../src/bson/document-key.js';

function keyOf(id: unknown): DocumentKey {
  return documentKey(Buffer.from(BSON.serialize({ _id: id })));
}

const rawOf = (doc: object): Buffer => Buffer.from(BSON.serialize(doc));

test('the _id of a key is found by its name, wherever it stands', async () => {
  const anyId = fc.oneof(fc.integer(), fc.string(), fc.boolean(), fc.constant(null), fc.record({ _id: fc.integer() }));
  const name = fc.stringMatching(/^[a-z_][a-zA-Z_.]{0,8}$/).filter((each) => each !== '_id');
  await fc.assert(
    fc.property(anyId, fc.dictionary(name, anyId, { maxKeys: 3 }), (id, shardKey) => {
      const [alone, whole] = [rawOf({ _id: id }), rawOf({ ...shardKey, _id: id })];
      assert.is(documentKey(whole).text, documentKey(alone).text, 'all of one _id share a lane');
      assert.is(documentKey(whole).holdsText, documentKey(alone).holdsText);
      assert.ok(idOfKey(whole)?.equals(alone));
    }),
  );
});

test('two documents with one _id are told apart by their whole keys, equal numbers are not', () => {
  const key = (doc: object): DocumentKey => documentKey(rawOf(doc));
  assert.is.not(key({ a: 95, _id: 1 }).identity, key({ a: 96, _id: 1 }).identity);
  assert.is.not(key({ a: 1, _id: 1 }).identity, key({ b: 1, _id: 1 }).identity);
  assert.is.not(key({ a: 1, _id: 1 }).identity, key({ _id: 1 }).identity);
  assert.is(key({ a: new Double(95), _id: 1 }).identity, key({ a: Long.fromNumber(95), _id: new Int32(1) }).identity);
  assert.not.ok(key({ a: Decimal128.fromString('0.1'), _id: 1 }).exact, 'what may be two keys is not joined');
  assert.is(key({ _id: 1 }).identity, key({ _id: 1 }).text);
});

test('a key without an _id is none', () => {
  assert.throws(() => documentKey(rawOf({ a: 1 })), /no _id/);
  assert.is(idOfKey(rawOf({ a: 1 })), undefined);
});

test('equal numbers of every type are one key', () => {
  const ones = [
    new Int32(1),
    Long.fromNumber(1),
    new Double(1),
    Decimal128.fromString('1'),
    Decimal128.fromString('1.0'),
    Decimal128.fromString('10E-1'),
  ];
  assert.is(new Set(ones.map((each) => keyOf(each).text)).size, 1);
  assert.is(keyOf(new Double(-0)).text, keyOf(new Int32(0)).text);
  assert.is(keyOf(new Double(Number.NaN)).text, keyOf(Decimal128.fromString('NaN')).text);
  assert.is(keyOf(new Double(0.5)).text, keyOf(Decimal128.fromString('0.50')).text);
});

test('whole numbers beyond the precision of doubles are told apart, and meet their equals', () => {
  const even = Long.fromString('9007199254740992');
  const odd = Long.fromString('9007199254740993');
  assert.is.not(keyOf(even).text, keyOf(odd).text);
  assert.is(keyOf(even).text, keyOf(new Double(2 ** 53)).text);
  assert.is(keyOf(odd).text, keyOf(Decimal128.fromString('9007199254740993')).text);
});

test('decimals that lose digits as doubles are not taken for exact', () => {
  assert.not(keyOf(Decimal128.fromString('0.1000000000000000000000000000000001')).exact);
  assert.ok(keyOf(new Double(0.1)).exact);
});

test('numbers inside documents are normalised, field order and names count', () => {
  assert.is(keyOf({ a: new Int32(1) }).text, keyOf({ a: Long.fromNumber(1) }).text);
  assert.is.not(keyOf({ a: 1, b: 2 }).text, keyOf({ b: 2, a: 1 }).text);
  assert.is.not(keyOf({ a: 'b', c: 'd' }).text, keyOf({ a: 'bc', '': 'd' }).text);
  assert.ok(keyOf({ a: 'x' }).holdsText);
  assert.not(keyOf(new ObjectId()).holdsText);
});

test('property: different integers, strings and object ids have different keys', async () => {
  const ids = fc.oneof(
    fc.maxSafeInteger(),
    fc.string(),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map((value) => Long.fromBigInt(value)),
  );
  await fc.assert(
    fc.property(ids, ids, (a, b) => {
      const same = String(a) === String(b) && (typeof a === 'string') === (typeof b === 'string');
      assert.is(keyOf(a).text === keyOf(b).text, same);
    }),
  );
});

test('property: a whole number is one key in every type, however many zeros a decimal is written with', async () => {
  const whole = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
  await fc.assert(
    fc.property(whole, fc.integer({ min: 0, max: 12 }), (value, zeros) => {
      const { text } = keyOf(Long.fromBigInt(value));
      assert.is(keyOf(Decimal128.fromString(`${value}.${'0'.repeat(zeros)}`)).text, text);
      assert.is(keyOf(Decimal128.fromString(`${value}${'0'.repeat(zeros)}E-${zeros}`)).text, text);
      const double = Number(value);
      if (BigInt(double) === value) assert.is(keyOf(new Double(double)).text, text);
    }),
  );
});

test('property: a lane is in range and depends on the text alone', async () => {
  await fc.assert(
    fc.property(fc.string(), fc.integer({ min: 1, max: 16 }), (text, lanes) => {
      const lane = laneOf(text, lanes);
      assert.ok(lane >= 0 && lane < lanes);
      assert.is(laneOf(text, lanes), lane);
    }),
  );
});

test.run();
