/** Acceptance tests of the router: documents pass byte for byte, and each to the shard where the server looks for it. */
import { Binary, BSON, Decimal128, Double, Int32, Long, MaxKey, MinKey, ObjectId, Timestamp } from 'mongodb';
import type { Test } from 'uvu';
import * as assert from 'uvu/assert';
import { hashedValue } from './router/hashed-value.js';
import { bigintOf, fieldOf } from './router/raw-values.js';
import { admin, freshDatabase, type RouterBed, range, through } from './router-suite.js';
import { documentOfSize, nested, part, rawDocument, rawInsert } from './seed-data-raw.js';
import { compareSharded, documentsByShard } from './sharded-documents.js';

/** Values of all kinds that a key may have. */
const KEYS: readonly unknown[] = [
  0,
  new Int32(-7),
  new Double(3.7),
  new Double(-3.7),
  new Double(Number.NaN),
  new Double(1e300),
  Long.fromString('9007199254740993'),
  Long.MIN_VALUE,
  Decimal128.fromString('2.5'),
  Decimal128.fromString('3.5'),
  Decimal128.fromString('-1E+3'),
  Decimal128.fromString('Infinity'),
  '',
  'text',
  'Grüße',
  null,
  true,
  false,
  new Date(0),
  new Date(1_700_000_000_000),
  new ObjectId('0123456789abcdef01234567'),
  new Binary(Buffer.from([1, 2, 3])),
  new Binary(Buffer.from('00112233445566778899aabbccddeeff', 'hex'), 4),
  new Timestamp({ t: 1, i: 2 }),
  new MinKey(),
  new MaxKey(),
  { a: 1, b: { c: 'x' } },
  { b: new Double(1), a: [1, 'two', { three: 3 }] },
];

/** Documents that do not survive decoding and encoding: names twice, integer-like names out of order, numbers of all types. */
function oddDocuments(): Buffer[] {
  return range(0, 400).map((index) =>
    rawDocument([
      part('_id', new Int32(index)),
      part('2', new Double(1)),
      part('1', Long.fromNumber(1)),
      part('k', index % 2 === 0 ? new Double(index) : new Int32(index)),
      part('twice', 1),
      part('twice', 'two'),
      nested('nested', [part('z', 1), part('10', new Int32(1)), part('9', new Double(0)), part('z', null)]),
    ]),
  );
}

/** Registers them. */
export function valueTests(test: Test, bed: RouterBed): void {
  test(through(bed, 'a hashed key’s chunk is found as the server hashes it'), async () => {
    const db = await freshDatabase(bed, 'hashes');
    const c = db.collection('c');
    await c.insertMany(KEYS.map((v, order) => ({ order, v })));
    const $project = { order: 1, v: 1, hash: { $toHashedIndexKey: '$v' } };
    for (const { order, hash } of await c.aggregate([{ $project }], { promoteLongs: false }).toArray()) {
      const value = fieldOf(Buffer.from(BSON.serialize({ v: KEYS[order] })), 'v');
      assert.ok(value);
      assert.is(String(bigintOf(hashedValue(value))), String(hash), `value ${order}`);
    }
    await admin(bed, { shardCollection: 'hashes.h', key: { v: 'hashed' } });
    const h = db.collection('h');
    const values = KEYS.map((v, order) => ({ order, v })).filter(({ v }) => !Array.isArray(v));
    await h.insertMany(values);
    const parts = await documentsByShard(bed.cluster, 'hashes.h');
    assert.is(
      parts.reduce((sum, { owned }) => sum + owned.length, 0),
      values.length,
    );
    assert.ok(parts.every(({ owned, orphans }) => owned.length > 0 && orphans.length === 0));
    for (const { order, v } of values) {
      const found = await h.find({ v: { $eq: v } }).toArray();
      assert.ok(
        found.some((each) => each.order === order),
        `value ${order}`,
      );
    }
  });

  test(through(bed, 'batches and documents as large as can be pass'), async () => {
    const db = await freshDatabase(bed, 'large');
    await admin(bed, { shardCollection: 'large.c', key: { _id: 'hashed' } });
    for (const name of ['c', 'unsharded']) {
      await rawInsert(bed.client, 'large', name, [documentOfSize(0, 16 * 1024 * 1024)]);
      const documents = range(1, 8).map((id) => documentOfSize(id, 3 * 1024 * 1024));
      await rawInsert(bed.client, 'large', name, documents);
      const lengths = (await db.collection(name).find({}, { raw: true }).toArray()).map((raw) => raw.length);
      assert.equal(
        lengths.sort((a, b) => a - b),
        [...documents.map(({ length }) => length), 16 * 1024 * 1024],
      );
      assert.is((await db.collection(name).find({}, { raw: true }).sort({ _id: 1 }).toArray()).length, 8);
    }
    await db.dropDatabase();
  });

  test(through(bed, 'documents pass byte for byte, whatever their fields are'), async () => {
    await freshDatabase(bed, 'bytes');
    await admin(bed, { shardCollection: 'bytes.c', key: { _id: 'hashed' } });
    const documents = oddDocuments();
    await rawInsert(bed.client, 'bytes', 'c', documents);
    assert.equal(await compareSharded(bed.cluster, 'bytes.c', documents), []);
    assert.is((await compareSharded(bed.cluster, 'bytes.c', documents.slice(1))).length, 2);
  });
}
