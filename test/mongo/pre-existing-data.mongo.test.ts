import { BSON, type Document } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { NamespaceFilterEntry } from '../../src/catalog/namespace-filter.js';
import type { AppError } from '../../src/errors.js';
import { MetadataStore } from '../../src/metadata/store.js';
import type { StartOptions } from '../../src/start/options.js';
import { type CompareOptions, compareClusters } from '../support/compare-clusters.js';
import { DEFAULT_START, MigrationHarness } from '../support/migration-harness.js';
import { sharedPair } from '../support/shared-servers.js';
import { isBlocked, METADATA_DB } from '../support/stored-migration.js';
import { within } from '../support/within.js';

const TEST_MS = 60_000;

const { pair, source, destination } = await sharedPair(test);

const SHOP: NamespaceFilterEntry = { database: 'shop', collections: ['orders', 'items', 'fresh', 'view', 'lateView'] };
const OPTIONS: StartOptions = { ...DEFAULT_START, includeNamespaces: [SHOP], preExistingDestinationData: true };
const isShop: CompareOptions['target'] = (db, coll) =>
  db === 'shop' && ['orders', 'items', 'fresh'].includes(coll) ? [db, coll] : undefined;
const isForeign = (db: string, coll: string) => isShop(db, coll) === undefined;

async function seed(): Promise<void> {
  const shop = source.db('shop');
  await shop.collection('orders').insertMany(Array.from({ length: 500 }, (_, n) => ({ n })));
  await shop.collection('orders').createIndex({ n: 1 }, { unique: true });
  await shop.collection('items').insertMany([{ n: 1 }, { n: 2 }]);
  await shop.createCollection('view', { viewOn: 'orders', pipeline: [] });
  await source.db('other').collection('c').insertOne({ n: 1 });
  // Somebody else's, in a database that is migrated into, and in ones of the names of the source's.
  for (const db of ['shop', 'other', 'foreign']) {
    const there = destination.db(db);
    await there.collection('theirs').insertMany([{ a: 1 }, { a: 2, b: { c: [1, 'x'] } }]);
    await there.collection('theirs').createIndex({ a: 1 }, { unique: true, expireAfterSeconds: 1_000_000 });
    await there.createCollection('capped', { capped: true, size: 8192, max: 3 });
    await there.collection('capped').insertMany([{ n: 1 }, { n: 2 }, { n: 3 }, { n: 4 }]);
    await there.createCollection('their view', { viewOn: 'theirs', pipeline: [{ $match: { a: 1 } }] });
    await there.createCollection('validated', { validator: { a: { $gt: 0 } }, validationAction: 'warn' });
  }
  await destination.db('shop').createCollection('lateView', { viewOn: 'theirs', pipeline: [] });
}

/** Everything on the destination that is not the migration's, byte for byte: catalog, indexes and documents. */
async function foreignBytes(): Promise<string[]> {
  const lines: string[] = [];
  const { databases } = await destination.db().admin().listDatabases({ nameOnly: true });
  const names = databases.map(({ name }) => name).filter((name) => !/^(admin|local|config|mongosync_)/.test(name));
  const hex = (doc: Document) => Buffer.from(BSON.serialize(doc)).toString('hex');
  for (const db of names.sort()) {
    for (const entry of await destination.db(db).listCollections().toArray()) {
      if (!isForeign(db, entry.name)) continue;
      lines.push(`${db}.${entry.name} ${hex(entry)}`);
      const isCollection = entry.type === 'collection';
      if (isCollection) {
        const indexes = await destination.db(db).collection(entry.name).listIndexes().toArray();
        lines.push(...indexes.map((index) => `${db}.${entry.name} index ${hex(index)}`));
      }
      const documents = await destination.db(db).collection(entry.name).find({}, { raw: true }).toArray();
      lines.push(...documents.map((doc) => `${db}.${entry.name} ${(doc as unknown as Buffer).toString('hex')}`));
    }
  }
  return lines.sort();
}

async function change(): Promise<void> {
  const shop = source.db('shop');
  await shop.collection('orders').updateMany({ n: { $lt: 50 } }, { $set: { seen: true } });
  await shop.collection('fresh').insertOne({ n: 1 });
  await shop.collection('items').drop();
  await shop.createCollection('lateView', { viewOn: 'orders', pipeline: [] });
  await shop.command({ collMod: 'view', viewOn: 'fresh', pipeline: [] });
  await shop.dropCollection('view');
  await shop.dropCollection('lateView');
  await shop.createCollection('lateView', { viewOn: 'orders', pipeline: [] });
  await source.db('other').collection('theirs').insertOne({ not: 'followed' });
  await source.db('other').dropDatabase();
  await shop.collection('theirs').insertOne({ n: 'not followed' });
  await shop.collection('theirs').drop();
}

for (const moment of ['in the steady state', 'in the middle of the copy'] as const) {
  test(`data of others stays byte for byte, whatever happens on the source ${moment}`, async () => {
    const migrate = async () => {
      await seed();
      const before = await foreignBytes();
      assert.ok(before.length > 30);
      await using harness = await MigrationHarness.open(pair, { loadLevel: 1 });
      if (moment === 'in the steady state') await harness.sync(OPTIONS);
      else {
        const filler = Array.from({ length: 10_000 }, (_, n) => ({ n: n + 1000, pad: 'x'.repeat(500) }));
        await source.db('shop').collection('orders').insertMany(filler);
        await harness.migration.start(OPTIONS);
        await harness.until((snapshot) => (snapshot.copy?.copiedBytes ?? 0) > 0, 'the copy beginning');
        await harness.migration.pause();
      }
      assert.is(await isBlocked(destination), false, 'nobody is blocked by default');
      await change();
      await destination.db('elsewhere').collection('late').insertOne({ written: 'meanwhile' });
      await destination.db('shop').collection('late').insertOne({ written: 'meanwhile' });
      if (moment === 'in the middle of the copy') await harness.migration.resume();
      await harness.commit();
      assert.equal(await compareClusters(source, destination, { target: isShop, isForeign }), []);
      const after = await foreignBytes();
      assert.equal(
        after.filter((line) => !line.includes('.late ')),
        before,
      );
      assert.is(await destination.db('shop').collection('late').countDocuments(), 1);
    };
    await within(TEST_MS, migrate(), 'the migration');
  });
}

test('the start says ATTENTION, goes at load level 2 unless told otherwise, and warns of views once and for all', async () => {
  const migrate = async () => {
    await seed();
    await using first = await MigrationHarness.open(pair, { loadLevelIsDefault: true });
    await first.sync(OPTIONS);
    assert.ok(
      first.logLines.some((line) => line.includes('ATTENTION! Data migration to a non-empty cluster is allowed')),
    );
    const started = first.logLines.find((line) => line.includes('Started the migration'));
    assert.match(started ?? '', /"loadLevel":2/);
    const skipped = /1 views are not migrated.*: shop\.view\./;
    assert.is(first.snapshot.warnings.filter((warning) => skipped.test(warning)).length, 1);
    assert.ok(first.logLines.some((line) => skipped.test(line)));
    await first.stop();
    await using second = await MigrationHarness.open(pair);
    assert.is(second.snapshot.warnings.filter((warning) => skipped.test(warning)).length, 1, 'after a restart, too');
    await second.commit();
    assert.is(second.snapshot.warnings.filter((warning) => skipped.test(warning)).length, 1);
  };
  await within(TEST_MS, migrate(), 'the migration');
});

const TAKEN: readonly (readonly [what: string, provoke: () => Promise<unknown>, name: string, namespaces: string[]])[] =
  [
    [
      'a collection of the same name',
      () => destination.db('shop').collection('orders').insertOne({ theirs: 1 }),
      'DestinationNamespaceExists',
      ['shop.orders'],
    ],
    [
      'a view of the same name',
      () => destination.db('shop').createCollection('items', { viewOn: 'theirs', pipeline: [] }),
      'DestinationNamespaceExists',
      ['shop.items'],
    ],
    [
      'a database that differs in case',
      async () => {
        await destination.db('shop').dropDatabase();
        await destination.db('Shop').collection('theirs').insertOne({ theirs: 1 });
      },
      'NamesDifferOnlyInCase',
      ['shop', 'Shop'],
    ],
  ];

for (const [what, provoke, name, namespaces] of TAKEN) {
  test(`${what} on the destination is found at check and refuses the start`, async () => {
    const check = async () => {
      await seed();
      await provoke();
      await using harness = await MigrationHarness.open(pair);
      const [found, ...more] = await harness.migration.check(OPTIONS);
      assert.equal([found?.name, found?.severity, found?.namespaces], [name, 'blocker', namespaces]);
      assert.equal(
        more.map((each) => each.name),
        ['ViewsNotMigrated', 'FilterEntryNotFound', 'ShortOplogWindow'],
      );
      const before = await foreignBytes();
      const error = await harness.migration.start(OPTIONS).then(
        () => undefined,
        (reason: unknown) => reason as { code: string },
      );
      assert.is(error?.code, name);
      assert.is(harness.snapshot.state, 'IDLE');
      assert.equal(await foreignBytes(), before);
    };
    await within(TEST_MS, check(), 'the check');
  });
}

test('a name that others take between the start and the catalog fails the migration before anything is written', async () => {
  const migrate = async () => {
    await seed();
    await source.db('shop').collection('fresh').insertOne({ n: 1 });
    const options: StartOptions = { ...OPTIONS, namespaceRemap: [{ from: 'shop', to: 'store' }] };
    await using harness = await MigrationHarness.open(pair);
    const { loadCollections } = MetadataStore.prototype;
    MetadataStore.prototype.loadCollections = async function load(...args) {
      MetadataStore.prototype.loadCollections = loadCollections;
      await destination.db('store').createCollection('fresh', { validator: { theirs: 1 } });
      return loadCollections.apply(this, args);
    };
    let error: AppError;
    try {
      await harness.migration.start(options);
      error = await harness.failure();
    } finally {
      MetadataStore.prototype.loadCollections = loadCollections;
    }
    assert.is(error.code, 'DestinationModified');
    assert.match(error.message, /store\.fresh/);
    assert.match(error.message, /it was not so when the start was accepted/);
  };
  await within(TEST_MS, migrate(), 'the failure');
});

test('a collection that comes into being under a name that others have fails the migration, and leaves theirs alone', async () => {
  const migrate = async () => {
    await seed();
    await destination.db('shop').createCollection('fresh');
    await destination.db('shop').collection('fresh').createIndex({ theirs: 1 });
    await using harness = await MigrationHarness.open(pair);
    await harness.sync(OPTIONS);
    await source.db('shop').collection('fresh').insertOne({ n: 1 });
    const error = await harness.failure();
    assert.is(error.code, 'DestinationModified');
    assert.match(error.message, /someone else created shop\.fresh on the destination/);
    assert.is((await destination.db('shop').collection('fresh').indexes()).length, 2);
    assert.is(await destination.db('shop').collection('fresh').countDocuments(), 0);
  };
  await within(TEST_MS, migrate(), 'the failure');
});

test('dropDatabase on the source leaves what others have in that database, under another name, too', async () => {
  const migrate = async () => {
    await seed();
    await source.db('mine').collection('orders').insertOne({ n: 1 });
    await source.db('mine').collection('items').insertOne({ n: 2 });
    const before = await foreignBytes();
    const options: StartOptions = {
      ...OPTIONS,
      includeNamespaces: [SHOP, { database: 'mine', collections: [] }],
      namespaceRemap: [{ from: 'mine', to: 'foreign' }],
    };
    await using harness = await MigrationHarness.open(pair);
    await harness.sync(options);
    await source.db('shop').dropDatabase();
    await source.db('mine').dropDatabase();
    await source.db('mine').collection('again').insertOne({ n: 3 });
    await harness.commit();
    const after = (await foreignBytes()).filter((line) => !line.startsWith('foreign.again '));
    assert.equal(
      after.filter((line) => !line.includes('.again index')),
      before,
    );
    assert.is(await destination.db('foreign').collection('again').countDocuments(), 1);
    assert.is(await destination.db('foreign').collection('orders').countDocuments(), 0);
    const left = await destination.db('shop').listCollections({}, { nameOnly: true }).toArray();
    assert.not.ok(left.some(({ name }) => name === 'orders' || name === 'items'));
  };
  await within(TEST_MS, migrate(), 'the migration');
});

/** Runs `work` on the source in a commit, once it has taken its time and before it hands over. */
async function commitWith(harness: MigrationHarness, work: () => Promise<unknown>): Promise<void> {
  const { updateMigration } = MetadataStore.prototype;
  MetadataStore.prototype.updateMigration = async function update(...args) {
    if (args[0].commit?.step === 'restore') await work();
    await updateMigration.apply(this, args);
  };
  try {
    await harness.caughtUp();
    await harness.migration.commit();
    await harness.until(({ state, failure }) => state === 'COMMITTED' || failure !== undefined, 'the end');
  } finally {
    MetadataStore.prototype.updateMigration = updateMigration;
  }
}

test('what happens to views after the commit time is no late write, and views created meanwhile are told', async () => {
  const migrate = async () => {
    await seed();
    const shop = source.db('shop');
    // The start warns of it.
    await shop.collection<{ _id: string }>('system.js').insertOne({ _id: 'f' });
    await using harness = await MigrationHarness.open(pair);
    await harness.sync(OPTIONS);
    await shop.createCollection('lateView', { viewOn: 'orders', pipeline: [] });
    for (const told of [/system\.js/, /1 views are not migrated/, /shop\.lateView was created .* and is not migrated/])
      await harness.until(({ warnings }) => warnings.some((text) => told.test(text)), String(told));
    await commitWith(harness, async () => {
      await shop.command({ collMod: 'view', viewOn: 'items', pipeline: [] });
      await shop.dropCollection('lateView');
      await shop.createCollection('lateView', { viewOn: 'orders', pipeline: [] });
    });
    assert.is(harness.snapshot.state, 'COMMITTED', harness.snapshot.failure?.description);
    const stored = await destination.db(METADATA_DB).collection('migration').findOne();
    assert.ok((stored?.['warnings'] ?? []).some((text: string) => text.includes('system.js')));
  };
  await within(TEST_MS, migrate(), 'the migration');
});

test('a time-series collection after the commit time, which looks like a view, fails the commit', async () => {
  const migrate = async () => {
    await seed();
    await using harness = await MigrationHarness.open(pair);
    await harness.sync({ ...OPTIONS, includeNamespaces: [{ database: 'shop', collections: [] }] });
    await commitWith(harness, () => source.db('shop').createCollection('series', { timeseries: { timeField: 'at' } }));
    assert.is(harness.snapshot.failure?.error, 'SourceModifiedAfterCommit');
  };
  await within(TEST_MS, migrate(), 'the migration');
});

test('write blocking of the destination may be asked for, and is lifted at the commit', async () => {
  const migrate = async () => {
    await seed();
    const before = await foreignBytes();
    await using harness = await MigrationHarness.open(pair);
    await harness.sync({ ...OPTIONS, enableUserWriteBlocking: 'destinationOnly' });
    assert.is(await isBlocked(destination), true);
    await harness.commit();
    assert.is(await isBlocked(destination), false);
    assert.equal(await compareClusters(source, destination, { target: isShop, isForeign }), []);
    assert.equal(await foreignBytes(), before);
  };
  await within(TEST_MS, migrate(), 'the migration');
});

test.run();
