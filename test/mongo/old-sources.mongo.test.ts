import {
  type CreateCollectionOptions,
  type Db,
  Decimal128,
  type Document,
  Double,
  Long,
  type MongoClient,
} from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { compareClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS, holdCommands } from '../support/fail-points.js';
import { withClient } from '../support/ferry-client.js';
import { FerryProcess } from '../support/ferry-process.js';

import { DEFAULT_START, MigrationHarness } from '../support/migration-harness.js';
import { type ReplicaSetPair, startPair } from '../support/replica-set.js';
import { seedBulk } from '../support/seed-data-bulk.js';
import { seedCollated, seedIndexes, seedNames } from '../support/seed-data-catalog.js';
import { LARGEST_DOCUMENT_BYTES, seedLargest, seedValues } from '../support/seed-data-documents.js';
import { resetClusters, storedWhen } from '../support/stored-migration.js';
import { within } from '../support/within.js';
import { DDL_KINDS, Workload } from '../support/workload.js';
import { COLLECTIONS } from '../support/workload-turn.js';

/** The first use of an old server fetches it. */
const TEST_MS = 300_000;
const HOLD_MS = 3000;
const DATABASES = ['work0', 'work1'] as const;

/** Every collection of the workload, since creating one later is a change of the catalog. */
async function prepare(client: MongoClient): Promise<void> {
  for (const name of DATABASES) {
    const db = client.db(name);
    for (const coll of COLLECTIONS.filter((each) => each !== 'collated')) await db.createCollection(coll);
    await db.createCollection('collated', { collation: { locale: 'de', strength: 2 } });
    await db.createCollection('capped', { capped: true, size: 40_960, max: 200 });
  }
  const [first] = DATABASES;
  await client.db(first).collection('unique').createIndex({ u: 1 }, { unique: true });
  await client.db(first).collection('plain').createIndex({ a: 1, '0': -1 });
}

/** Documents of the largest size, by an insert and by an update of one, and its removal. */
async function writeLargest(client: MongoClient): Promise<void> {
  const large = client.db('large').collection<{ _id: number | string; pad?: string }>('documents');
  const overhead = 4 + 1 + 4 + 4 + 1 + 4 + 4 + 1 + 1;
  await large.insertOne({ _id: 5, pad: 'x'.repeat(LARGEST_DOCUMENT_BYTES - overhead) });
  await large.updateOne({ _id: 3.5 }, { $set: { pad: 'y'.repeat(15_000_000) } });
  await large.updateOne({ _id: 1 }, { $unset: { pad: '' } });
  await large.replaceOne({ _id: 4 }, { pad: 'z'.repeat(12_000_000) });
  await large.deleteOne({ _id: 'two' });
}

for (const version of ['4.4', '5.0'] as const) {
  test(`from ${version}: everything under a workload of documents, over kills (-9), a pause and the commit`, async () => {
    const migrate = async () => {
      await using pair = await startPair({ source: { version } });
      const source = await pair.source.connect();
      await seedValues(source, { count: 2000, bytes: 200, dollarNames: version !== '4.4' });
      await seedIndexes(source);
      await seedCollated(source);
      await seedNames(source);
      await seedLargest(source);
      await seedBulk(source, { collections: 1, documents: 40_000, documentBytes: 500, indexes: 1 });
      await prepare(source);
      const workload = new Workload({ client: source, seed: 44, databases: [...DATABASES], without: DDL_KINDS });
      await workload.run({ operations: 600 });
      await using ferry = await FerryProcess.between(pair);
      await withClient(ferry, (client) => client.start());
      for (let kill = 0; kill < 4; kill++) {
        await workload.run({ operations: 100 + kill * 150 });
        await ferry.kill();
        await ferry.restart();
      }
      await withClient(ferry, async (client) => {
        await client.waitForCanCommit(120_000);
        await workload.run({ operations: 400 });
        await client.pause();
        await workload.run({ operations: 400 });
        await client.resume();
        // By itself the default is another one than on later sources.
        await client.start({ buildIndexes: 'beforeDataCopy' });
        await client.waitForCanCommit(120_000);
      });
      const report = await workload.run({ operations: 500 });
      assert.ok((report.done['update'] ?? 0) > 100 && (report.done['transaction'] ?? 0) > 10, JSON.stringify(report));
      await writeLargest(source);
      await withClient(ferry, (client) => client.commitAndWait(120_000));
      assert.equal(await compareClusters(source, await pair.destination.connect()), []);
    };
    await within(TEST_MS, migrate(), `the migration from ${version}`);
  });
}

/** What ends the migration as soon as its event is read; how it is done, and what the failure must name. */
const TOLD: readonly (readonly [kind: string, change: (db: Db) => Promise<unknown>, names: RegExp])[] = [
  ['drop', (db) => db.dropCollection('b'), /^drop of shop\.b on the source during the migration: before 6\.0/],
  ['rename', (db) => db.renameCollection('b', 'c'), /^rename of shop\.b on the source/],
  ['dropDatabase', (db) => db.dropDatabase(), /^drop of shop\.[ab] on the source/],
  ['a new collection', (db) => db.collection('new').insertOne({ a: 1 }), /^creation of shop\.new on the source/],
  [
    '$out',
    (db) =>
      db
        .collection('a')
        .aggregate([{ $out: 'b' }])
        .toArray(),
    /^(rename|creation) of shop\.tmp\.agg_out\./,
  ],
];

/** A write after the commit time is found here, too: by the name of its collection. */
async function writeLate(pair: ReplicaSetPair, source: MongoClient, destination: MongoClient): Promise<void> {
  await resetClusters(destination);
  const db = await seedShop(source);
  await db.collection('b').createIndex({ z: 1 }, { hidden: true });
  await using harness = await MigrationHarness.open(pair);
  await harness.sync();
  await holdCommands(destination, { commands: ['collMod'], times: 1 }, HOLD_MS);
  await harness.migration.commit();
  await storedWhen(destination, 'the restoring', ({ commit }) => commit?.step === 'restore');
  await db.collection('a').updateOne({ x: 1 }, { $set: { x: 2 } });
  const error = await harness.failure();
  assert.is(error.code, 'SourceModifiedAfterCommit');
  assert.match(error.message, /^update of shop\.a was made on the source after/);
}

/** What only the comparison of the catalogs finds, at the commit at the latest. */
async function changeUntold(db: Db): Promise<void> {
  await db.collection('a').createIndex({ x: 1 }, { name: 'new index' });
  await db.collection('b').dropIndex('old index');
  await db.command({ collMod: 'b', validator: { x: { $gte: 0 } } });
  await db.createCollection('empty');
  await db.createCollection('seen', { viewOn: 'a', pipeline: [] });
}

async function seedShop(client: MongoClient): Promise<Db> {
  await resetClusters(client);
  const db = client.db('shop');
  await db.collection('a').insertOne({ x: 1 });
  await db.collection('b').insertOne({ x: 1 });
  await db.collection('b').createIndex({ y: 1 }, { name: 'old index' });
  return db;
}

for (const version of ['4.4', '5.0'] as const) {
  test(`from ${version}: each change of the catalog, and a late write, is told by name`, async () => {
    const migrate = async () => {
      await using pair = await startPair({ source: { version }, destination: { setParameters: FAIL_POINTS } });
      const [source, destination] = [await pair.source.connect(), await pair.destination.connect()];
      for (const [kind, change, names] of TOLD) {
        await resetClusters(destination);
        const db = await seedShop(source);
        await using harness = await MigrationHarness.open(pair);
        await harness.sync();
        await change(db);
        const error = await harness.failure();
        assert.is(error.code, 'UnsupportedChange', kind);
        assert.match(error.message, names);
      }
      await writeLate(pair, source, destination);
      await resetClusters(destination);
      const db = await seedShop(source);
      await using harness = await MigrationHarness.open(pair);
      await harness.sync();
      await changeUntold(db);
      await harness.migration.commit();
      const error = await harness.failure();
      assert.is(error.code, 'CatalogDiffers');
      for (const name of [
        'shop.a has different indexes (new index)',
        'shop.b has different indexes (old index)',
        'shop.b has different options',
        'shop.empty is new',
        'the view shop.seen is new',
      ])
        assert.ok(error.message.includes(name), `${name}: ${error.message}`);
      assert.not(harness.snapshot.canWrite);
    };
    await within(TEST_MS, migrate(), `the migrations from ${version}`);
  });

  test(`from ${version}: expiry goes on over the commit, old forms are carried`, async () => {
    const migrate = async () => {
      const setParameters = { ttlMonitorSleepSecs: '1' };
      await using pair = await startPair({ source: { version, setParameters } });
      const [source, destination] = [await pair.source.connect(), await pair.destination.connect()];
      const db = await seedShop(source);
      await seedOldForms(db, version);
      await using harness = await MigrationHarness.open(pair);
      assert.equal(
        (await harness.migration.check(DEFAULT_START))
          .map(({ name }) => name)
          .filter((name) => name !== 'ShortOplogWindow'),
        ['OptionNotCarried'],
      );
      for (const buildIndexes of ['afterDataCopy', 'excludeHashedAfterCopy']) {
        const error = await harness.migration.start({ ...DEFAULT_START, buildIndexes }).catch((reason) => reason);
        assert.is(error.code, 'OptionNotSupported');
      }
      await harness.sync();
      // The same start again, without and with what is the default here.
      await harness.migration.start(DEFAULT_START);
      await harness.migration.start({ ...DEFAULT_START, buildIndexes: 'beforeDataCopy' });
      const other = await harness.migration
        .start({ ...DEFAULT_START, buildIndexes: 'never' })
        .catch((reason) => reason);
      assert.is(other.code, 'OptionsDiffer');
      // Each second some of them expire, before, during and after the commit.
      const expiring = Array.from({ length: 12 }, (_, n) => ({ at: new Date(Date.now() - 60_000 + n * 700) }));
      await db.collection('expiring').insertMany(expiring);
      await harness.commit();
      const target = destination.db('shop');
      assert.equal(await optionsOf(target, 'b'), await optionsOf(db, 'b'));
      const indexes = await target.collection('old').indexes();
      const longest = version === '4.4' ? 2_147_483_647 : undefined;
      assert.is(indexes.find(({ name }) => name === 'never')?.['expireAfterSeconds'], longest);
      assert.is(indexes.find(({ name }) => name === 'fraction')?.['expireAfterSeconds'], 86_400);
      assert.is(indexes.find(({ name }) => name === 'unique')?.['unique'], true);
      const values = sparseValues(version);
      const isSparse = (n: number) => indexes.find(({ name }) => name === `sparse ${n}`)?.['sparse'] === true;
      assert.equal(
        values.map((_, n) => isSparse(n)),
        values.map((_, n) => n < values.length / 2),
      );
      assert.is(await target.collection('old').countDocuments(), 2);
    };
    await within(TEST_MS, migrate(), `the migration from ${version}`);
  });
}

async function optionsOf(db: Db, name: string): Promise<unknown> {
  const [found] = await db.listCollections({ name }, { nameOnly: false }).toArray();
  return (found as Document | undefined)?.['options'];
}

/** Values that old servers keep: the first half they take for true, the rest for false. Later ones take only numbers. */
function sparseValues(version: string): readonly unknown[] {
  const [on, off] = version === '4.4' ? ['yes', null] : [0.5, Long.fromNumber(0)];
  return [1, new Double(1), -1, on, 0, new Double(0), off, Decimal128.fromString('0')];
}

/** What old servers hold and later ones refuse or read otherwise. */
async function seedOldForms(db: Db, version: string): Promise<void> {
  const at = new Date();
  await db.createCollection('pre', { recordPreImages: true } as CreateCollectionOptions);
  await db.collection('old').insertMany([
    { at, u: 1 },
    { at, u: 2 },
  ]);
  await db.collection('expiring').createIndex({ at: 1 }, { expireAfterSeconds: 60 });
  await db.command({
    createIndexes: 'old',
    indexes: [
      // 5.0.4 stores it as 0.
      ...(version === '4.4' ? [{ key: { at: 1 }, name: 'never', expireAfterSeconds: Number.NaN }] : []),
      { key: { at: -1 }, name: 'fraction', expireAfterSeconds: 86_400.5 },
      { key: { u: 1 }, name: 'unique', unique: 1 },
      { key: { v: 1 }, name: 'first version', v: 1 },
      ...sparseValues(version).map((sparse, n) => ({ key: { [`s${n}`]: 1 }, name: `sparse ${n}`, sparse })),
      { key: { b: 1 }, name: 'background', background: 1, sparse: new Double(1) },
    ],
  });
}

test('from 4.4: geoHaystack indexes, and a document filter, are refused at the start', async () => {
  const check = async () => {
    await using pair = await startPair({ source: { version: '4.4' } });
    const db = await seedShop(await pair.source.connect());
    await db.command({
      createIndexes: 'a',
      indexes: [{ key: { p: 'geoHaystack', q: 1 }, name: 'hay', bucketSize: 1 }],
    });
    await using harness = await MigrationHarness.open(pair);
    const found = await harness.migration.check({
      ...DEFAULT_START,
      documentFilter: { field: 'a', matchValues: [1] },
    });
    const blockers = found.filter(({ severity }) => severity === 'blocker');
    assert.equal(blockers.map(({ name }) => name).sort(), ['OptionNotSupported', 'UnsupportedIndex']);
    assert.equal(blockers.find(({ name }) => name === 'UnsupportedIndex')?.namespaces, ['shop.a']);
  };
  await within(TEST_MS, check(), 'the check');
});

for (const version of ['6.0', '6.0.27'] as const) {
  test(`from ${version === '6.0' ? '6.0.5' : version} to 6.0.27`, async () => {
    const migrate = async () => {
      await using pair = await startPair({ source: { version }, destination: { version: '6.0.27' } });
      const source = await pair.source.connect();
      const workload = new Workload({ client: source, seed: 27 });
      await workload.prepare();
      await workload.run({ operations: 400 });
      await using harness = await MigrationHarness.open(pair);
      await harness.migration.start(DEFAULT_START);
      await workload.run({ operations: 600 });
      await harness.commit();
      assert.equal(await compareClusters(source, await pair.destination.connect()), []);
    };
    await within(TEST_MS, migrate(), 'the migration');
  });
}

test.run();
