import * as fc from 'fast-check';
import { Timestamp } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encode } from '../../../src/bson/bson.js';
import { holdsEmptyTimestampAt } from '../../../src/bson/raw-document.js';
import { RawBatch } from '../../../src/documents/raw-batch.js';
import { rawArray } from '../../support/raw-replies.js';

const documentsOf = (texts: readonly string[]) => texts.map((text, _id) => encode({ _id, text }));

/** So many that the names of an array's elements have up to four digits. */
const texts = fc.array(fc.string(), { maxLength: 1200, size: 'max' });

test('a batch has the documents of its array, one by one and packed', async () => {
  const property = fc.property(texts, (some) => {
    const documents = documentsOf(some);
    const batch = new RawBatch(rawArray(documents));
    assert.is(batch.length, documents.length);
    assert.is(batch.bytes, Buffer.concat(documents).length);
    assert.is(
      batch.lastId?.toString('hex'),
      documents.length === 0 ? undefined : encode({ _id: documents.length - 1 }).toString('hex'),
    );
    assert.ok(batch.pack().equals(Buffer.concat(documents)));
    assert.ok(batch.documents.every((each, index) => each.equals(documents[index] as Buffer)));
    assert.ok(batch.pack().equals(Buffer.concat(documents)), 'packed twice');
  });
  await fc.assert(property, { numRuns: 50 });
});

test('packing leaves documents and _ids alone that somebody holds', () => {
  const documents = documentsOf(['a', 'bb', 'ccc']);
  const batch = new RawBatch(rawArray(documents));
  const [held, lastId] = [batch.documents, batch.lastId];
  batch.pack();
  assert.equal(held, documents);
  assert.equal(lastId, encode({ _id: 2 }));
  const other = new RawBatch(rawArray(documents));
  const ids = [other.firstId, other.lastId];
  other.pack();
  assert.equal(ids, [encode({ _id: 0 }), encode({ _id: 2 })]);
});

test('batches are equal when their documents and the order of these are', () => {
  const of = (...some: string[]) => new RawBatch(rawArray(documentsOf(some)));
  assert.ok(of('a', 'b').equals(of('a', 'b')));
  assert.not.ok(of('a', 'b').equals(of('a', 'c')));
  assert.not.ok(of('a', 'b').equals(of('a')));
  const packed = of('a', 'b');
  packed.pack();
  assert.not.ok(packed.equals(of('a', 'b')), 'a packed one is not compared');
});

test('a test of documents sees each of them, also once they are packed', () => {
  const documents = [
    encode({ _id: 1, a: 1 }),
    encode({ _id: 2, at: new Timestamp({ t: 0, i: 0 }) }),
    encode({ _id: 3 }),
  ];
  const batch = new RawBatch(rawArray(documents));
  assert.ok(batch.some(holdsEmptyTimestampAt));
  batch.pack();
  assert.ok(batch.some(holdsEmptyTimestampAt));
  assert.not.ok(new RawBatch(rawArray(documents.slice(2))).some(holdsEmptyTimestampAt));
});

test('few documents go into a message one by one, where the reply has them; many are packed', () => {
  const of = (count: number) => documentsOf(Array.from({ length: count }, (_, index) => `${index}`));
  for (const count of [1, 8, 9, 100]) {
    const array = rawArray(of(count));
    const batch = new RawBatch(array);
    const pieces = batch.pieces();
    assert.is(pieces.length, count <= 8 ? count : 1);
    assert.ok(Buffer.concat(pieces).equals(Buffer.concat(of(count))));
    assert.ok(pieces.every(({ buffer }) => buffer === array.buffer));
    assert.ok(Buffer.concat(batch.pieces()).equals(Buffer.concat(of(count))), 'sent again');
  }
});

test('of a batch whose memory was given back only how much it was can be asked', () => {
  const batch = new RawBatch(rawArray(documentsOf(['a', 'b'])));
  const { length, bytes } = batch;
  batch.free();
  assert.equal([batch.length, batch.bytes], [length, bytes]);
  const other = new RawBatch(rawArray(documentsOf(['a', 'b'])));
  const asked: (() => unknown)[] = [
    ...[() => batch.documents, () => batch.firstId, () => batch.lastId, () => batch.pack(), () => batch.pieces()],
    ...[() => batch.equals(other), () => other.equals(batch), () => batch.some(() => true)],
  ];
  for (const ask of asked) assert.throws(ask, /memory was given back/);
});

test('memory that somebody has views of is not given back', () => {
  const documents = documentsOf(['a', 'b']);
  const batch = new RawBatch(rawArray(documents));
  const held = batch.documents;
  batch.free();
  assert.equal(held, documents);
  assert.ok(batch.pack().equals(Buffer.concat(documents)));
});

test('an array of anything but documents is refused', () => {
  const array = Buffer.from('0c0000001030000100000000', 'hex');
  assert.throws(() => new RawBatch(array), /no document/);
});

test.run();
