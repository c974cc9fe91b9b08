import type { Document } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { AppError } from '../../src/errors.js';
import { assertEqualClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS, holdCommands } from '../support/fail-points.js';
import { DEFAULT_START, MigrationHarness } from '../support/migration-harness.js';
import { sharedPair } from '../support/shared-servers.js';
import { METADATA_DB, storedWhen } from '../support/stored-migration.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 90_000;
const HOLD_MS = 2000;

const { pair, source, destination } = await sharedPair(test, {
  setParameters: { ...FAIL_POINTS, ttlMonitorSleepSecs: '1' },
});

/** Somebody who passes the write block writes to the destination. */
async function foreign(command: Document): Promise<void> {
  const reply = await destination.db('shop').command({ ...command, mayBypassWriteBlocking: true });
  assert.is(reply['writeErrors'], undefined);
}

const numbers = (count: number) => Array.from({ length: count }, (_, n) => ({ _id: n, n }));
const mismatchesOf = (harness: MigrationHarness) => harness.snapshot.verification?.mismatches ?? new Map();

test('a write of somebody else after everything was compared, while options are restored, fails the commit', async () => {
  const shop = source.db('shop');
  await shop.createCollection('log', { capped: true, size: 10_000 });
  await shop.collection<{ _id: number }>('items').insertMany(numbers(100));
  await shop.collection('items').createIndex({ n: 1 }, { unique: true });
  const work = async () => {
    await using harness = await MigrationHarness.open(pair);
    await harness.sync();
    await holdCommands(destination, { commands: ['collMod'] }, HOLD_MS);
    await harness.migration.commit();
    await storedWhen(destination, 'restoring', (record) => record['commit']?.step === 'restore');
    await foreign({ update: 'items', updates: [{ q: { _id: 7 }, u: { $set: { n: 'forged' } } }] });
    const error = await harness.failure();
    assert.is(error.code, 'VerificationFailed', error.message);
    assert.match(error.message, /1 document differs: shop\.items 1; among them shop\.items 7 \(content\)/);
    assert.equal([error.metadata['documents'], error.metadata['namespaces']], ['1', 'shop.items: 1']);
    assert.not.ok(harness.snapshot.canWrite);
  };
  await within(TEST_MS, work(), 'the failing commit');
});

for (const filtered of [false, true]) {
  test(`so does one to a capped collection, ${filtered ? 'under a filter, too' : 'of its order alone'}`, async () => {
    const shop = source.db('shop');
    await shop.createCollection('log', { capped: true, size: 10_000 });
    await shop.collection<{ _id: number }>('log').insertMany([1, 2, 3].map((n) => ({ _id: n, tenant: 1 })));
    const work = async () => {
      await using harness = await MigrationHarness.open(pair);
      await harness.sync(filtered ? { documentFilter: { field: 'tenant', matchValues: [1] } } : {});
      await holdCommands(destination, { commands: ['collMod'] }, HOLD_MS);
      await harness.migration.commit();
      await storedWhen(destination, 'restoring', (record) => record['commit']?.step === 'restore');
      await foreign({ delete: 'log', deletes: [{ q: { _id: 1 }, limit: 1 }] });
      await foreign({ insert: 'log', documents: [{ _id: 1, tenant: 1 }] });
      const error = await harness.failure();
      assert.is(error.code, 'VerificationFailed', error.message);
      assert.match(error.message, /capped collection shop\.log or their order differ/);
      assert.not.ok(harness.snapshot.canWrite);
    };
    await within(TEST_MS, work(), 'the failing commit');
  });
}

test('a document that came without a change event is found by the numbers of documents', async () => {
  await source.db('shop').collection<{ _id: number }>('items').insertMany(numbers(100));
  const work = async () => {
    await using harness = await MigrationHarness.open(pair);
    await harness.sync();
    const op = { op: 'i', ns: 'shop.items', o: { _id: 'untold' } };
    await source.db('admin').command({ applyOps: [op] });
    await harness.migration.commit();
    const error = await harness.failure();
    assert.is(error.code, 'VerificationFailed', error.message);
    assert.match(error.message, /document counts differ in shop\.items/);
  };
  await within(TEST_MS, work(), 'the failing commit');
});

test('where the source is blocked, and expires nothing, collections with TTL are counted, too', async () => {
  const items = source.db('shop').collection<{ _id: number }>('items');
  await items.insertMany(numbers(100));
  await items.createIndex({ at: 1 }, { expireAfterSeconds: 3600 });
  const work = async () => {
    await using harness = await MigrationHarness.open(pair);
    await harness.sync({ enableUserWriteBlocking: 'sourceAndDestination' });
    await source.db('admin').command({ applyOps: [{ op: 'i', ns: 'shop.items', o: { _id: 'untold' } }] });
    await harness.migration.commit();
    const error = await harness.failure();
    assert.match(error.message, /document counts differ in shop\.items/);
  };
  await within(TEST_MS, work(), 'the failing commit');
});

test('only what an index really expires may be missing on the source', async () => {
  const shop = source.db('shop');
  await shop.createCollection('partial');
  await shop
    .collection('partial')
    .createIndex({ at: 1 }, { expireAfterSeconds: 0, partialFilterExpression: { kind: 'session' } });
  const work = async () => {
    await using harness = await MigrationHarness.open(pair);
    await harness.sync();
    const at = new Date(0);
    await foreign({
      insert: 'partial',
      documents: [
        { _id: 'expired', at, kind: 'session' },
        { _id: 'kept', at, kind: 'order' },
      ],
    });
    await eventually(
      30_000,
      async () => mismatchesOf(harness).get('shop.partial') === 1,
      'the one that does not expire',
    );
    const stored = await destination.db(METADATA_DB).collection('mismatches').find().toArray();
    assert.equal(
      stored.map(({ kind }) => kind),
      ['extra'],
    );
  };
  await within(TEST_MS, work(), 'the migration');
});

test('what expiry explains is looked at again: a longer expiry makes it a difference', async () => {
  const shop = source.db('shop');
  await shop.createCollection('items');
  await shop.collection('items').createIndex({ at: 1 }, { expireAfterSeconds: 1, name: 'ttl' });
  const work = async () => {
    await using harness = await MigrationHarness.open(pair);
    await harness.sync();
    await foreign({ insert: 'items', documents: [{ _id: 1, at: new Date(Date.now() - 60_000) }] });
    const queue = destination.db(METADATA_DB).collection('verifyRecheck');
    await eventually(30_000, async () => (await queue.countDocuments()) === 1, 'it being stored');
    await eventually(30_000, async () => harness.snapshot.canCommit, 'expiry explaining it');
    assert.is(mismatchesOf(harness).size, 0);
    await shop.command({ collMod: 'items', index: { name: 'ttl', expireAfterSeconds: 36_000 } });
    await eventually(30_000, async () => mismatchesOf(harness).get('shop.items') === 1, 'the difference');
  };
  await within(TEST_MS, work(), 'the migration');
});

test('with buildIndexes "never", a source that has TTL collections already is refused by name', async () => {
  const shop = source.db('shop');
  await shop.collection('items').createIndex({ at: 1 }, { expireAfterSeconds: 3600 });
  await shop.createCollection('sessions', {
    clusteredIndex: { key: { _id: 1 }, unique: true },
    expireAfterSeconds: 3600,
  });
  const work = async () => {
    await using harness = await MigrationHarness.open(pair);
    const never = { ...DEFAULT_START, buildIndexes: 'never' } as const;
    const error = AppError.from(await harness.migration.start(never).catch((cause: unknown) => cause));
    assert.is(error.code, 'OptionNotSupported', error.message);
    assert.match(
      error.message,
      /buildIndexes "never" with verification does not permit TTL collections: .*shop\.items/,
    );
    assert.match(error.message, /shop\.sessions/);
    assert.is(harness.snapshot.state, 'IDLE');
    await harness.sync({ buildIndexes: 'never', verification: { enabled: false } });
  };
  await within(TEST_MS, work(), 'the start');
});

test('with buildIndexes "never", a TTL index that comes later fails the migration', async () => {
  await source.db('shop').collection<{ _id: number }>('items').insertMany(numbers(10));
  const work = async () => {
    await using harness = await MigrationHarness.open(pair);
    await harness.sync({ buildIndexes: 'never' });
    await source.db('shop').collection('items').createIndex({ at: 1 }, { expireAfterSeconds: 1 });
    const error = await harness.failure();
    assert.is(error.code, 'UnsupportedChange');
    assert.match(error.message, /shop\.items has become a TTL collection/);
  };
  await within(TEST_MS, work(), 'the failure');
});

test('a capped collection that somebody brought into another order is copied again by the commit', async () => {
  const shop = source.db('shop');
  await shop.createCollection('log', { capped: true, size: 10_000 });
  await shop.collection<{ _id: number }>('log').insertMany(numbers(5));
  const work = async () => {
    await using harness = await MigrationHarness.open(pair);
    await harness.sync();
    await foreign({ delete: 'log', deletes: [{ q: { _id: 1 }, limit: 1 }] });
    await foreign({ insert: 'log', documents: [{ _id: 1, n: 1 }] });
    await harness.commit();
  };
  await within(TEST_MS, work(), 'the migration');
  await assertEqualClusters(source, destination);
});

test('the order of capped collections is looked at while the migration runs, and mended', async () => {
  const shop = source.db('shop');
  await shop.createCollection('log', { capped: true, size: 10_000 });
  await shop.collection<{ _id: number }>('log').insertMany(numbers(5));
  const order = async () => {
    const documents = await destination.db('shop').collection('log').find().hint({ $natural: 1 }).toArray();
    return documents.map(({ _id }) => Number(_id));
  };
  const work = async () => {
    {
      await using harness = await MigrationHarness.open(pair);
      await harness.sync();
    }
    await foreign({ delete: 'log', deletes: [{ q: { _id: 1 }, limit: 1 }] });
    await foreign({ insert: 'log', documents: [{ _id: 1, n: 1 }] });
    assert.equal(await order(), [0, 2, 3, 4, 1]);
    await using harness = await MigrationHarness.open(pair);
    await harness.caughtUp();
    assert.equal(await order(), [0, 1, 2, 3, 4]);
    await harness.commit();
  };
  await within(TEST_MS, work(), 'the migration');
  await assertEqualClusters(source, destination);
});

test('mismatches of a collection go with it', async () => {
  await source.db('shop').collection<{ _id: number }>('items').insertMany(numbers(10));
  await source.db('shop').collection<{ _id: number }>('others').insertMany(numbers(10));
  const work = async () => {
    await using harness = await MigrationHarness.open(pair);
    await harness.sync();
    await foreign({ delete: 'items', deletes: [{ q: { _id: 7 }, limit: 1 }] });
    await eventually(30_000, async () => mismatchesOf(harness).get('shop.items') === 1, 'the mismatch');
    await source.db('shop').collection('items').drop();
    await harness.commit();
  };
  await within(TEST_MS, work(), 'the migration');
  await assertEqualClusters(source, destination);
});

test.run();
