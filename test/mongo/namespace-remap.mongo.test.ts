import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type CompareOptions, compareClusters } from '../support/compare-clusters.js';
import { DEFAULT_START, MigrationHarness } from '../support/migration-harness.js';
import { sharedPair } from '../support/shared-servers.js';
import { within } from '../support/within.js';

const TEST_MS = 60_000;

const { pair, source, destination } = await sharedPair(test);

/** Two databases become one, two change places, one keeps its name. */
const REMAP = {
  namespaceRemap: [
    { from: 'accounts', to: 'sales' },
    { from: 'a', to: 'b' },
    { from: 'b', to: 'a' },
  ],
};
const NAMES: Readonly<Record<string, string>> = { accounts: 'sales', a: 'b', b: 'a' };
const target: CompareOptions['target'] = (db, coll) => [NAMES[db] ?? db, coll];

async function seed(): Promise<void> {
  await source
    .db('accounts')
    .collection('open')
    .insertMany([{ n: 1 }, { n: 2 }]);
  await source.db('accounts').collection('open').createIndex({ n: 1 }, { unique: true });
  await source.db('accounts').createCollection('view', { viewOn: 'open', pipeline: [{ $match: { n: 1 } }] });
  await source.db('accounts').createCollection('capped', { capped: true, size: 4096 });
  await source
    .db('accounts')
    .collection('capped')
    .insertMany([{ n: 1 }, { n: 2 }]);
  await source
    .db('sales')
    .collection('orders')
    .insertMany([{ n: 3 }]);
  await source.db('sales').createCollection('salesView', { viewOn: 'orders', pipeline: [] });
  await source.db('a').collection('same').insertOne({ was: 'a' });
  await source.db('b').collection('same').insertOne({ was: 'b' });
  await source.db('plain').collection('c').insertOne({ n: 1 });
}

async function change(): Promise<void> {
  const accounts = source.db('accounts');
  await accounts.collection('open').updateOne({ n: 1 }, { $set: { seen: true } });
  await accounts.collection('open').rename('closed');
  await accounts.collection('fresh').insertOne({ n: 1 });
  await accounts.collection('fresh').createIndex({ n: -1 });
  await accounts.command({ collMod: 'view', viewOn: 'closed', pipeline: [] });
  await accounts.createCollection('second', { viewOn: 'closed', pipeline: [{ $match: { n: 2 } }] });
  await accounts.command({ convertToCapped: 'closed', size: 65_536 });
  await accounts
    .collection('fresh')
    .aggregate([{ $out: { db: 'sales', coll: 'out' } }])
    .toArray();
  await source.db('admin').command({ renameCollection: 'a.same', to: 'plain.moved' });
  await source.db('a').collection('same').insertOne({ was: 'a again' });
  await source
    .db('b')
    .collection('same')
    .updateMany({}, { $set: { still: 'b' } });
  await source.db('plain').collection('c').drop();
  // With its key it does not fit into an event, so it is read from the source again.
  const big = { _id: 'k'.repeat(12_000), pad: 'x'.repeat(16_777_216 - 12_100) };
  await accounts.collection<{ _id: string }>('big').insertOne(big);
}

test('a database gets another name, and everything that happens in it follows', async () => {
  const migrate = async () => {
    await seed();
    await using harness = await MigrationHarness.open(pair);
    await harness.sync(REMAP);
    assert.ok(harness.migration.namespaces().some(({ namespace }) => namespace === 'accounts.open'));
    await change();
    await harness.commit();
    assert.equal(await compareClusters(source, destination, { target }), []);
    assert.is(await destination.db('accounts').collection('closed').countDocuments(), 0);
    assert.is(await destination.db('a').collection('same').countDocuments({ still: 'b' }), 1);
  };
  await within(TEST_MS, migrate(), 'the migration');
});

test('dropDatabase of one of two databases that become one drops its own collections only, also in the copy', async () => {
  const migrate = async () => {
    await seed();
    const filler = Array.from({ length: 20_000 }, (_, n) => ({ n, pad: 'x'.repeat(500) }));
    await source.db('accounts').collection('filler').insertMany(filler);
    await using harness = await MigrationHarness.open(pair, { loadLevel: 1 });
    await harness.migration.start({ ...DEFAULT_START, ...REMAP });
    await harness.until((snapshot) => (snapshot.copy?.copiedBytes ?? 0) > 0, 'the copy beginning');
    await harness.migration.pause();
    await change();
    await harness.migration.resume();
    await harness.caughtUp();
    await source.db('accounts').dropDatabase();
    await source.db('accounts').collection('anew').insertOne({ n: 1 });
    await harness.commit();
    assert.equal(await compareClusters(source, destination, { target }), []);
    const left = await destination.db('sales').listCollections({}, { nameOnly: true }).toArray();
    assert.equal(
      left
        .map(({ name }) => name)
        .filter((name) => !name.startsWith('system.'))
        .sort(),
      ['anew', 'orders', 'out', 'salesView'],
    );
  };
  await within(TEST_MS, migrate(), 'the migration');
});

const CLASHES: readonly (readonly [what: string, provoke: () => Promise<unknown>, name: string, text: RegExp])[] = [
  [
    'of collections',
    () => source.db('sales').collection('open').insertOne({}),
    'NamespacesClash',
    /accounts\.open and sales\.open \(sales\.open\)/,
  ],
  [
    'of a view and a collection',
    () => source.db('sales').collection('view').insertOne({}),
    'NamespacesClash',
    /accounts\.view and sales\.view \(sales\.view\)/,
  ],
];

for (const [what, provoke, name, text] of CLASHES) {
  test(`a clash ${what} is found before anything is copied, at check and at start`, async () => {
    const check = async () => {
      await seed();
      await provoke();
      await using harness = await MigrationHarness.open(pair);
      const [found] = await harness.migration.check({ ...DEFAULT_START, ...REMAP });
      assert.equal([found?.name, found?.severity], [name, 'blocker']);
      assert.match(found?.description ?? '', text);
      const error = await harness.migration.start({ ...DEFAULT_START, ...REMAP }).then(
        () => undefined,
        (reason: unknown) => reason as { code: string },
      );
      assert.is(error?.code, name);
    };
    await within(TEST_MS, check(), 'the check');
  });
}

test('names of databases that would differ in case only are found, and so is a swap that is none', async () => {
  const check = async () => {
    await seed();
    await using harness = await MigrationHarness.open(pair);
    const names = async (namespaceRemap: { from: string; to: string }[]) =>
      (await harness.migration.check({ ...DEFAULT_START, namespaceRemap })).map((each) => each.name);
    assert.equal(await names([{ from: 'accounts', to: 'Sales' }]), ['NamesDifferOnlyInCase', 'ShortOplogWindow']);
    assert.equal(await names([{ from: 'a', to: 'b' }]), ['NamespacesClash', 'ShortOplogWindow']);
    assert.equal(await names(REMAP.namespaceRemap), ['ShortOplogWindow']);
  };
  await within(TEST_MS, check(), 'the checks');
});

test('a remap of what is not there is told', async () => {
  const check = async () => {
    await seed();
    await using harness = await MigrationHarness.open(pair);
    const namespaceRemap = [
      { from: 'acounts', to: 'elsewhere' },
      { from: 'accounts', to: 'books' },
    ];
    const found = await harness.migration.check({ ...DEFAULT_START, namespaceRemap });
    const told = found.filter(({ name }) => name === 'RemapNotFound');
    assert.equal(
      told.map(({ severity, namespaces }) => [severity, ...namespaces]),
      [['warning', 'acounts']],
    );
  };
  await within(TEST_MS, check(), 'the check');
});

test('a database that comes to differ in case only from one that is remapped fails the migration by name', async () => {
  const migrate = async () => {
    await seed();
    await using harness = await MigrationHarness.open(pair);
    await harness.sync({ namespaceRemap: [{ from: 'accounts', to: 'Books' }] });
    await source.db('books').collection('new').insertOne({ n: 1 });
    const error = await harness.failure();
    assert.is(error.code, 'UnsupportedChange');
    assert.match(error.message, /books\.new.*differs only in case/);
  };
  await within(TEST_MS, migrate(), 'the failure');
});

const LATE_CLASHES: readonly (readonly [what: string, provoke: () => Promise<unknown>])[] = [
  ['a collection is created', () => source.db('sales').createCollection('open')],
  ['a view is created', () => source.db('sales').createCollection('open', { viewOn: 'orders', pipeline: [] })],
  ['a collection is renamed', () => source.db('sales').collection('orders').rename('open')],
];

for (const [what, provoke] of LATE_CLASHES) {
  test(`a clash that comes about when ${what} fails the migration by name`, async () => {
    const migrate = async () => {
      await seed();
      await using harness = await MigrationHarness.open(pair);
      await harness.sync(REMAP);
      await provoke();
      const error = await harness.failure();
      assert.is(error.code, 'UnsupportedChange');
      assert.match(error.message, /accounts\.open/);
      assert.match(error.message, /sales\.open/);
    };
    await within(TEST_MS, migrate(), 'the failure');
  });
}

test.run();
