import type { Db } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { assertEqualClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS } from '../support/fail-points.js';
import { MigrationHarness } from '../support/migration-harness.js';
import { refusal } from '../support/refusal.js';
import { sharedPair } from '../support/shared-servers.js';
import { isBlocked } from '../support/stored-migration.js';
import { within } from '../support/within.js';

const TEST_MS = 120_000;
const REVERSIBLE = { enableUserWriteBlocking: true, reversible: true } as const;
const FAR_AWAY = new Date('2199-01-01T00:00:00Z');

const { pair, source: one, destination: two } = await sharedPair(test, { setParameters: FAIL_POINTS });

interface Item {
  _id: number;
  sku: number;
  a?: number;
}

/** Everything that is held back during a migration, and some that is not. */
async function seed(db: Db): Promise<void> {
  const items = db.collection<Item>('items');
  await items.insertMany(Array.from({ length: 200 }, (_, n) => ({ _id: n, sku: n, at: FAR_AWAY })));
  await items.createIndex({ sku: 1 }, { unique: true });
  await items.createIndex({ at: 1 }, { expireAfterSeconds: 3600 });
  await items.createIndex({ h: 1 }, { hidden: true });
  await items.createIndex({ p: 1 }, { sparse: true });
  await db.command({ collMod: 'items', index: { name: 'p_1', prepareUnique: true } });
  await items.createIndex({ t: 1 }, { expireAfterSeconds: 7200 });
  await items.createIndex({ g: 1 }, { hidden: true });
  await db.createCollection('recent', { capped: true, size: 4096, max: 50 });
  await db.collection('recent').insertMany(Array.from({ length: 30 }, (_, n) => ({ n })));
  await db.createCollection('log', { capped: true, size: 8192 });
  await db.collection('log').insertMany(Array.from({ length: 10 }, (_, n) => ({ n })));
  await db.createCollection('days', { clusteredIndex: { key: { _id: 1 }, unique: true }, expireAfterSeconds: 3600 });
  await db.collection<{ _id: Date }>('days').insertOne({ _id: FAR_AWAY });
  await db.createCollection('weeks', { clusteredIndex: { key: { _id: 1 }, unique: true }, expireAfterSeconds: 7200 });
  await items.createIndex({ q: 1 }, { sparse: true });
  await db.command({ collMod: 'items', index: { name: 'q_1', prepareUnique: true } });
  await db.createCollection('images', { changeStreamPreAndPostImages: { enabled: true } });
  await db.collection('images').insertOne({ a: 1 });
  await db.createCollection('words', { collation: { locale: 'en', strength: 2 } });
  await db.collection('words').insertOne({ w: 'a' });
  await db.createCollection('checked', { validator: { a: { $gt: 0 } } });
  await db.collection('checked').insertOne({ a: 1 });
  await db.collection('doomed').insertOne({ a: 1 });
  await db.collection('moving').insertOne({ a: 1 });
  await db.createCollection('cheap', { viewOn: 'items', pipeline: [{ $match: { sku: 1 } }] });
}

/** What the owner does after a commit: documents and every kind of DDL. `n`: which commit it was. */
async function own(db: Db, n: number): Promise<void> {
  const items = db.collection<Item>('items');
  await items.insertOne({ _id: 1000 + n, sku: 1000 + n });
  await items.updateMany({ _id: { $lt: 20 } }, { $inc: { a: 1 } });
  await items.replaceOne({ _id: 30 }, { sku: 5000 + n });
  await items.deleteOne({ _id: 40 + n });
  await db.collection('recent').insertMany(Array.from({ length: 60 }, (_, i) => ({ n, i })));
  await db.collection('log').insertMany(Array.from({ length: 300 }, (_, i) => ({ n, i })));
  await db.collection('words').insertMany([{ w: 'A' }, { w: 'b' }]);
  await db.collection('images').updateOne({ a: 1 }, { $set: { n } });
  // New ones of each kind that is held back.
  const made = db.collection(`made${n}`);
  await made.insertMany([{ u: 1 }, { u: 2 }]);
  await made.createIndex({ u: 1 }, { unique: true });
  await made.createIndex({ at: 1 }, { expireAfterSeconds: 60 * n });
  await made.createIndex({ h: 1 }, { hidden: true });
  await db.createCollection(`capped${n}`, { capped: true, size: 4096 * n, max: 10 });
  await db.collection(`capped${n}`).insertOne({ n });
  await db.createCollection(`view${n}`, { viewOn: `made${n}`, pipeline: [] });
  await db.collection(n === 1 ? 'moving' : `moved${n - 1}`).rename(`moved${n}`);
  await items.createIndex({ [`k${n}`]: 1 }, { unique: true, sparse: true });
  if (n > 1) await items.dropIndex(`k${n - 1}_1`);
  await db.collection(`moved${n}`).insertOne({ n });
}

/** What the owner does once: takes away, and changes, what had been held back. */
async function change(db: Db): Promise<void> {
  const items = db.collection('items');
  await db.collection('doomed').drop();
  // An expiry, a uniqueness and a hiding that must not stay from before.
  await items.dropIndex('t_1');
  await items.createIndex({ t: 1 });
  await items.dropIndex('sku_1');
  await items.createIndex({ sku: 1 });
  await db.command({ collMod: 'items', index: { name: 'g_1', hidden: false } });
  await db.command({ collMod: 'items', index: { name: 'at_1', expireAfterSeconds: 77 } });
  await db.command({ collMod: 'items', index: { name: 'p_1', prepareUnique: false } });
  await db.command({ collMod: 'recent', cappedSize: 8192, cappedMax: 40 });
  await db.command({ collMod: 'days', expireAfterSeconds: 'off' });
  await db.command({ collMod: 'images', changeStreamPreAndPostImages: { enabled: false } });
  await db.command({ collMod: 'checked', validator: { a: { $gt: -5 } }, validationLevel: 'moderate' });
  await db.command({ collMod: 'cheap', viewOn: 'items', pipeline: [] });
}

test('a migration goes to and fro, three times, with everything its owners do in between', async () => {
  const migrate = async () => {
    await seed(one.db('shop'));
    await using harness = await MigrationHarness.open(pair);
    await harness.sync(REVERSIBLE);
    const { direction } = harness.snapshot;
    await harness.commit();
    await assertEqualClusters(one, two);
    assert.equal([await isBlocked(one), await isBlocked(two)], [true, false]);
    assert.ok(harness.snapshot.canWrite);

    await own(two.db('shop'), 1);
    await change(two.db('shop'));
    await harness.reverse();
    assert.equal(harness.snapshot.direction, { source: direction?.destination, destination: direction?.source });
    assert.equal([await isBlocked(one), await isBlocked(two)], [true, false], 'the new destination stays blocked');
    assert.not(harness.snapshot.canWrite);
    await two.db('shop').collection<Item>('items').insertOne({ _id: -1, sku: -1 });
    await harness.caughtUp();
    await harness.commit();
    await assertEqualClusters(one, two);
    assert.equal([await isBlocked(one), await isBlocked(two)], [false, true]);

    await own(one.db('shop'), 2);
    await harness.reverse();
    await harness.commit();
    await assertEqualClusters(one, two);
    assert.equal([await isBlocked(one), await isBlocked(two)], [true, false]);

    await own(two.db('shop'), 3);
    await two.db('shop2').collection('c').insertOne({ a: 1 });
    await harness.reverse();
    await harness.commit();
    await assertEqualClusters(one, two);
    assert.equal([await isBlocked(one), await isBlocked(two)], [false, true]);
    await one.db('admin').command({ setUserWriteBlockMode: 1, global: false });
  };
  await within(TEST_MS, migrate(), 'the migrations');
});

test('an old source that was written to cannot become the destination; the migration stays committed', async () => {
  const refuse = async () => {
    const items = one.db('shop').collection<Item>('items');
    await items.insertOne({ _id: 1, sku: 1 });
    await using harness = await MigrationHarness.open(pair);
    await harness.sync(REVERSIBLE);
    await harness.commit();
    await one.db('admin').command({ setUserWriteBlockMode: 1, global: false });
    await items.insertOne({ _id: 2, sku: 2 });
    const error = await refusal(harness.migration.reverse());
    assert.is(error.code, 'ReverseSourceModified', error.message);
    assert.match(error.message, /insert of shop\.items/);
    assert.is(harness.snapshot.state, 'COMMITTED');
    assert.not(await isBlocked(one), 'whoever lifted the block finds it lifted');
    assert.is((await refusal(harness.migration.reverse())).code, 'ReverseSourceModified', 'and again');
    await two.db('shop').collection('items').insertOne({ by: 'the owner' });
  };
  await within(TEST_MS, refuse(), 'the refusal');
});

test('a migration that is not reversible is not reversed', async () => {
  const refuse = async () => {
    await using harness = await MigrationHarness.open(pair);
    await harness.sync({ enableUserWriteBlocking: true });
    await harness.commit();
    const error = await refusal(harness.migration.reverse());
    assert.is(error.code, 'InvalidStateTransition');
    assert.match(error.message, /not started with reversible/);
    assert.is(harness.snapshot.state, 'COMMITTED');
  };
  await within(TEST_MS, refuse(), 'the refusal');
});

test.run();
