/** Migrations from 4.4 and 5.0 that more than one test file runs, each with versions of its own. */
import type { Db, MongoClient } from 'mongodb';
import * as assert from 'uvu/assert';
import { compareClusters } from './compare-clusters.js';
import { FAIL_POINTS, holdCommands } from './fail-points.js';
import { withClient } from './ferry-client.js';
import { FerryProcess } from './ferry-process.js';

import { DEFAULT_START, MigrationHarness } from './migration-harness.js';
import { type ReplicaSetPair, startPair } from './replica-set.js';
import { seedBulk } from './seed-data-bulk.js';
import { seedCollated, seedIndexes, seedNames } from './seed-data-catalog.js';
import { LARGEST_DOCUMENT_BYTES, seedLargest, seedValues } from './seed-data-documents.js';
import { resetClusters, storedWhen } from './stored-migration.js';
import { DDL_KINDS, Workload } from './workload.js';
import { COLLECTIONS } from './workload-turn.js';

/** Of the servers before 6.0, those that tests migrate from. */
export type OldVersion = '4.4' | '5.0';

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

/**
 * Everything under a workload of documents, over kills (-9), a pause and the commit; then compares. `size`: 1 for all
 * that there is time for, less for that part of the documents and operations.
 */
export async function migrateEverything(version: OldVersion, size = 1): Promise<void> {
  await using pair = await startPair({ source: { version } });
  const source = await pair.source.connect();
  await seedValues(source, { count: 2000 * size, bytes: 200, dollarNames: version !== '4.4' });
  await seedIndexes(source);
  await seedCollated(source);
  await seedNames(source);
  await seedLargest(source);
  await seedBulk(source, { collections: 1, documents: 40_000 * size, documentBytes: 500, indexes: 1 });
  await prepare(source);
  const workload = new Workload({ client: source, seed: 44, databases: [...DATABASES], without: DDL_KINDS });
  await workload.run({ operations: 600 * size });
  await using ferry = await FerryProcess.between(pair);
  await withClient(ferry, (client) => client.start());
  for (let kill = 0; kill < 4 * size; kill++) {
    await workload.run({ operations: 100 + kill * 150 });
    await ferry.kill();
    await ferry.restart();
  }
  await withClient(ferry, async (client) => {
    await client.waitForCanCommit(120_000);
    await workload.run({ operations: 400 * size });
    await client.pause();
    await workload.run({ operations: 400 * size });
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

/** A database of two collections, alone on its cluster. */
export async function seedShop(client: MongoClient): Promise<Db> {
  await resetClusters(client);
  const db = client.db('shop');
  await db.collection('a').insertOne({ x: 1 });
  await db.collection('b').insertOne({ x: 1 });
  await db.collection('b').createIndex({ y: 1 }, { name: 'old index' });
  return db;
}

/** Makes each change of the catalog, and a late write, in a migration of its own: each must be told by name. */
export async function changeCatalog(version: OldVersion): Promise<void> {
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
}

/** A random workload with DDL in a migration to 6.0.27; then compares. `before` and `during`: its operations. */
export async function migrateToLatest(plan: {
  readonly source: '6.0' | '6.0.27';
  readonly before: number;
  readonly during: number;
}): Promise<void> {
  await using pair = await startPair({ source: { version: plan.source }, destination: { version: '6.0.27' } });
  const source = await pair.source.connect();
  const workload = new Workload({ client: source, seed: 27 });
  await workload.prepare();
  await workload.run({ operations: plan.before });
  await using harness = await MigrationHarness.open(pair);
  await harness.migration.start(DEFAULT_START);
  await workload.run({ operations: plan.during });
  await harness.commit();
  assert.equal(await compareClusters(source, await pair.destination.connect()), []);
}
