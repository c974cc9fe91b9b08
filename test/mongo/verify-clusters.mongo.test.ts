/** Two clusters that are compared while they change. With more documents than are kept in memory: verify-clusters.long. */
import { Decimal128, Double, Int32, Long } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { follow, seedBoth } from '../support/following.js';
import { startPair } from '../support/replica-set.js';
import { seedValues } from '../support/seed-data-documents.js';
import { sharedPair } from '../support/shared-servers.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 60_000;

const { pair, source, destination } = await sharedPair(test);

for (const version of ['4.4', '5.0'] as const) {
  test(`a destination of ${version} is followed: what changes there alone is found`, async () => {
    const work = async () => {
      await using old = await startPair({ source: { version }, destination: { version } });
      const [from, to] = await Promise.all([old.source.connect(), old.destination.connect()]);
      await seedBoth([from, to]);
      for (const client of [from, to]) {
        const log = await client.db('shop').createCollection<{ _id: number }>('log', { capped: true, size: 10_000 });
        await log.insertMany([{ _id: 1 }, { _id: 2 }]);
      }
      const following = follow(old);
      await eventually(30_000, async () => following.phase() === 'stream hashing', 'the first comparison');
      await to
        .db('shop')
        .collection<{ _id: number }>('items')
        .updateOne({ _id: 7 }, { $set: { n: 'seven' } });
      following.stopped.resolve();
      assert.equal(await following.found, ['shop.items content']);
    };
    await within(TEST_MS, work(), 'the comparison');
  });
}

const MOVES: readonly [what: string, move: () => Promise<unknown>, found: readonly string[]][] = [
  [
    'renamed on both sides',
    () => Promise.all([source, destination].map((each) => each.db('shop').renameCollection('items', 'goods'))),
    ['shop.goods unverified'],
  ],
  [
    'renamed on the source',
    () => source.db('shop').renameCollection('items', 'goods'),
    ['shop.goods missing', 'shop.items extra'],
  ],
  [
    'renamed on the destination',
    () => destination.db('shop').renameCollection('items', 'goods'),
    ['shop.goods extra', 'shop.items missing'],
  ],
  ['dropped on the source', () => source.db('shop').dropCollection('items'), ['shop.items extra']],
  ['dropped on the destination', () => destination.db('shop').dropCollection('items'), ['shop.items missing']],
  [
    'dropped on both sides',
    () => Promise.all([source, destination].map((each) => each.db('shop').dropCollection('items'))),
    [],
  ],
];

for (const [what, move, found] of MOVES) {
  test(`a collection that is ${what} before it was compared ends no comparison and hides nothing`, async () => {
    const work = async () => {
      await seedBoth([source, destination], ['items', 'others']);
      const following = follow(pair);
      await eventually(30_000, async () => following.phase() !== undefined, 'the catalogs having been compared');
      assert.is(following.phase(), 'initial hashing');
      await move();
      following.stopped.resolve();
      assert.equal(await following.found, [...found]);
    };
    await within(TEST_MS, work(), 'the comparison');
  });
}

test('documents with every kind of _id and of value are compared: all are equal, then none', async () => {
  const work = async () => {
    for (const client of [source, destination]) await seedValues(client, { count: 500, bytes: 100 });
    const following = follow(pair);
    await eventually(30_000, async () => following.phase() === 'stream hashing', 'the first comparison');
    following.stopped.resolve();
    assert.equal(await following.found, []);
    const names = ['ids', 'other ids', 'types', 'names'];
    const values = destination.db('values');
    let documents = 0;
    for (const name of names) {
      await values.collection(name).updateMany({}, { $set: { damaged: true } });
      documents += await values.collection(name).countDocuments();
    }
    const again = follow(pair);
    again.stopped.resolve();
    const found = await again.found;
    assert.equal([...new Set(found)], names.map((name) => `values.${name} content`).sort());
    assert.is(found.length, documents);
  };
  await within(TEST_MS, work(), 'the comparison');
});

/** `_id`s that are equal for the server, of other bytes. */
const TWINS: readonly [unknown, unknown][] = [
  [new Int32(1), Long.fromNumber(1)],
  [new Double(2), new Int32(2)],
  [new Decimal128('3'), new Decimal128('3.00')],
  [new Double(0), new Double(-0)],
  [new Double(Number.NaN), new Decimal128('NaN')],
  [{ a: new Int32(5) }, { a: new Double(5) }],
  [`text ${'x'.repeat(100_000)} 1`, `text ${'x'.repeat(100_000)} 2`],
  [
    { a: 1, b: 2 },
    { b: 2, a: 1 },
  ],
  ['straße', 'STRASSE'],
];

for (const collation of [undefined, { locale: 'de', strength: 1 }]) {
  test(`an _id that is only equal is another one, ${collation ? 'with' : 'without'} a collation`, async () => {
    const work = async () => {
      for (const [index, client] of [source, destination].entries()) {
        const coll = await client
          .db('shop')
          .createCollection<{ _id: unknown }>('twins', collation ? { collation } : {});
        await coll.insertMany([...TWINS.map((each) => ({ _id: each[index] })), { _id: 'same' }]);
      }
      const following = follow(pair);
      await eventually(30_000, async () => following.phase() === 'stream hashing', 'the first comparison');
      following.stopped.resolve();
      assert.equal(await following.found, [
        ...TWINS.map(() => 'shop.twins extra'),
        ...TWINS.map(() => 'shop.twins missing'),
      ]);
    };
    await within(TEST_MS, work(), 'the comparison');
  });
}

test.run();
