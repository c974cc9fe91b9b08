import {
  Binary,
  BSON,
  Code,
  DBRef,
  Decimal128,
  Double,
  Int32,
  Long,
  MaxKey,
  MinKey,
  ObjectId,
  Timestamp,
} from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decodeOrdered, encode, survivesDecoding } from '../../../src/bson/bson.js';
import { findField, holdsEmptyTimestamp, idDocument, needsLiteralReplacement } from '../../../src/bson/raw-document.js';

/** Raw BSON of fields given as [type, name, value bytes], as no encoder would write it. */
function rawDoc(...fields: readonly (readonly [number, string, Buffer])[]): Buffer {
  const body = Buffer.concat(
    fields.map(([type, name, value]) =>
      Buffer.concat([Buffer.from([type]), Buffer.from(`${name}\0`, 'latin1'), value]),
    ),
  );
  const length = Buffer.alloc(4);
  length.writeInt32LE(body.length + 5);
  return Buffer.concat([length, body, Buffer.from([0])]);
}

const INT_ONE = Buffer.from([1, 0, 0, 0]);
const EMPTY_TIMESTAMP = Buffer.alloc(8);

const EVERY_TYPE = {
  _id: new ObjectId(),
  double: new Double(-0),
  string: 'ü',
  doc: { b: 1, a: { deep: [1, { x: 2 }] } },
  array: [1, 'two', null],
  binary: new Binary(Buffer.from([1, 2, 3]), 4),
  bool: true,
  date: new Date(0),
  nothing: null,
  regex: /a\/b/i,
  code: new Code('x'),
  scoped: new Code('x', { y: 1 }),
  ref: new DBRef('c', new ObjectId()),
  int: new Int32(1),
  timestamp: new Timestamp({ t: 1, i: 2 }),
  long: Long.fromNumber(2 ** 40),
  decimal: Decimal128.fromString('1.10'),
  min: new MinKey(),
  max: new MaxKey(),
};

test('a field is found behind a value of every type', () => {
  const raw = Buffer.from(BSON.serialize({ ...EVERY_TYPE, last: 7 }));
  const field = findField(raw, 'last');
  assert.ok(field);
  assert.is(field.type, 0x10);
  assert.is(raw.readInt32LE(field.start), 7);
});

test('decoding and encoding keeps every type, the order of fields and integer-like names', () => {
  const raw = Buffer.from(BSON.serialize(EVERY_TYPE));
  assert.ok(encode(decodeOrdered(raw)).equals(raw));
  const numeric = rawDoc(
    [0x10, 'b', INT_ONE],
    [0x10, '2', INT_ONE],
    [0x10, '1', INT_ONE],
    [0x10, '__proto__', INT_ONE],
  );
  assert.equal([...decodeOrdered(numeric).keys()], ['b', '2', '1', '__proto__']);
  assert.ok(survivesDecoding(numeric));
});

test('what a decoder damages is known to be damaged', () => {
  const date = Buffer.alloc(8);
  date.writeBigInt64LE(9_000_000_000_000_000n);
  assert.not(survivesDecoding(rawDoc([0x09, '_id', date])), 'a date beyond JavaScript');
  assert.not(survivesDecoding(rawDoc([0x10, 'a', INT_ONE], [0x10, 'a', INT_ONE])), 'a name that occurs twice');
});

test('the _id is cut out with its type and bytes', () => {
  const raw = rawDoc([0x10, 'a', INT_ONE], [0x01, '_id', EMPTY_TIMESTAMP]);
  assert.ok(idDocument(raw)?.equals(rawDoc([0x01, '_id', EMPTY_TIMESTAMP])));
  assert.is(idDocument(rawDoc([0x10, 'a', INT_ONE])), undefined);
});

test('an empty timestamp counts only at the top level and not as _id', () => {
  assert.ok(holdsEmptyTimestamp(rawDoc([0x11, 'ts', EMPTY_TIMESTAMP])));
  assert.not(holdsEmptyTimestamp(rawDoc([0x11, '_id', EMPTY_TIMESTAMP])));
  assert.not(holdsEmptyTimestamp(rawDoc([0x03, 'sub', rawDoc([0x11, 'ts', EMPTY_TIMESTAMP])])));
  assert.not(holdsEmptyTimestamp(rawDoc([0x01, 'zero', EMPTY_TIMESTAMP])));
  assert.not(holdsEmptyTimestamp(rawDoc([0x11, 'ts', Buffer.from([1, 0, 0, 0, 0, 0, 0, 0])])));
});

test('a replacement needs the literal form for names with $ and names that occur twice', () => {
  assert.ok(needsLiteralReplacement(rawDoc([0x10, '_id', INT_ONE], [0x10, '$a', INT_ONE])));
  assert.ok(needsLiteralReplacement(rawDoc([0x10, 'a', INT_ONE], [0x10, 'a', INT_ONE])));
  assert.not(needsLiteralReplacement(rawDoc([0x10, 'a', INT_ONE], [0x10, 'b$', INT_ONE])));
});

test.run();
