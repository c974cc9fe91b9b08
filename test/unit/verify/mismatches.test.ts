import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encode } from '../../../src/bson/bson.js';
import type { MigratedCollection } from '../../../src/metadata/collections.js';
import { MemoryVerificationState } from '../../../src/verify/memory-state.js';
import { Mismatches } from '../../../src/verify/mismatches.js';
import { migratedCollection } from '../../support/migrated-collection.js';
import { eventually } from '../../support/within.js';

const { signal } = new AbortController();
const collection = (id: string, coll: string) => migratedCollection({ id, ns: { db: 'shop', coll } });
const ORDERS = collection('a'.repeat(32), 'orders');
const CARTS = collection('b'.repeat(32), 'carts');
const ids = (from: number, to: number): Buffer[] =>
  Array.from({ length: to - from }, (_, n) => encode({ _id: from + n }));

async function add(mismatches: Mismatches, to: MigratedCollection, of: readonly Buffer[]): Promise<void> {
  await mismatches.add(
    to,
    of.map((id) => ({ collection: to.id, id, kind: 'missing', field: '' })),
    signal,
  );
}

test('more than fit into memory are counted exactly, found again one by one, and gone once they are equal', async () => {
  const state = new MemoryVerificationState();
  const mismatches = new Mismatches(state, 10);
  await add(mismatches, ORDERS, ids(0, 25));
  await add(mismatches, ORDERS, ids(20, 30));
  assert.equal([mismatches.total, mismatches.counts.get('shop.orders')], [30, 30]);
  await mismatches.resolve(ORDERS.id, ids(5, 40), signal);
  assert.equal([mismatches.total, mismatches.counts.get('shop.orders')], [5, 5]);
  await mismatches.resolve(ORDERS.id, ids(0, 5), signal);
  assert.equal([mismatches.total, (await state.mismatches('', 100)).length], [0, 0]);
});

test('another process counts all that are stored', async () => {
  const state = new MemoryVerificationState();
  await add(new Mismatches(state), ORDERS, ids(0, 2500));
  const mismatches = new Mismatches(state, 10);
  await mismatches.load(signal);
  assert.is(mismatches.total, 2500);
  assert.match(mismatches.text, /^2500 documents differ: shop\.orders 2500$/);
});

test('those of a collection that is gone are forgotten together', async () => {
  const mismatches = new Mismatches(new MemoryVerificationState(), 10);
  await add(mismatches, ORDERS, ids(0, 1500));
  await add(mismatches, CARTS, ids(0, 3));
  await mismatches.forget(ORDERS.id, signal);
  assert.equal([mismatches.total, mismatches.collections], [3, [CARTS.id]]);
});

test('one that is found again under another name of its collection is counted once', async () => {
  const mismatches = new Mismatches(new MemoryVerificationState());
  await add(mismatches, ORDERS, ids(0, 2));
  await add(mismatches, collection(ORDERS.id, 'renamed'), ids(1, 2));
  assert.equal(
    [...mismatches.counts],
    [
      ['shop.orders', 1],
      ['shop.renamed', 1],
    ],
  );
});

test('one that is found again is no news, and keeps the time when it was found first', async () => {
  const state = new MemoryVerificationState();
  const mismatches = new Mismatches(state);
  const [id] = ids(0, 1) as [Buffer];
  const found = (kind: 'missing' | 'content') =>
    mismatches.add(ORDERS, [{ collection: ORDERS.id, id, kind, field: '' }], signal);
  assert.is((await found('missing')).length, 1);
  const [first] = await state.mismatches('', 1);
  await eventually(1000, () => Date.now() > (first?.foundAt.getTime() ?? 0), 'a later time');
  assert.equal(await found('content'), []);
  assert.equal(await state.mismatches('', 1), [{ ...first, kind: 'content' }]);
});

test.run();
