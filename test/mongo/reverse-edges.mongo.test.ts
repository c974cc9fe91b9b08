import type { MongoClient } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { assertEqualClusters, compareClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS, refuseCommands, releaseCommands } from '../support/fail-points.js';
import { MigrationHarness } from '../support/migration-harness.js';
import { refusal } from '../support/refusal.js';
import { sharedPair } from '../support/shared-servers.js';
import { isBlocked, setExpiry } from '../support/stored-migration.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 90_000;
const REVERSIBLE = { enableUserWriteBlocking: true, reversible: true } as const;
const LONG_AGO = new Date('2001-01-01T00:00:00Z');
const FAR_AWAY = new Date('2199-01-01T00:00:00Z');
const OPLOG_LOST = 286;

const setParameters = { ...FAIL_POINTS, ttlMonitorSleepSecs: '1' };
const { pair, source: one, destination: two } = await sharedPair(test, { setParameters });

test.before.each(async () => {
  await Promise.all([setExpiry(one, true), setExpiry(two, true)]);
});

interface Session {
  _id: number;
  at: Date;
  a?: number;
}

test('what expires on an old source whose block was lifted is no modification, and comes back from the other side', async () => {
  const reverse = async () => {
    await Promise.all([setExpiry(one, false), setExpiry(two, false)]);
    const sessions = one.db('shop').collection<Session>('sessions');
    await sessions.createIndex({ at: 1 }, { expireAfterSeconds: 10 });
    await sessions.insertMany([1, 2, 3, 4].map((n) => ({ _id: n, at: n === 4 ? FAR_AWAY : LONG_AGO })));
    await using harness = await MigrationHarness.open(pair);
    await harness.sync(REVERSIBLE);
    await harness.commit();
    const owned = two.db('shop').collection<Session>('sessions');
    // 1: changed, and still expired; 2: prolonged, so that nothing tells its expiry any more; 3: gone here, too.
    await owned.updateOne({ _id: 1 }, { $set: { a: 1 } });
    await owned.updateOne({ _id: 2 }, { $set: { at: FAR_AWAY } });
    await owned.deleteOne({ _id: 3 });
    await one.db('admin').command({ setUserWriteBlockMode: 1, global: false });
    await setExpiry(one, true);
    await eventually(20_000, async () => (await sessions.countDocuments()) === 1, 'expiry on the old source');
    await setExpiry(one, false);
    await harness.reverse();
    assert.ok(await isBlocked(one), 'blocked again');
    await harness.commit();
    await assertEqualClusters(one, two);
    const ids = (await sessions.find().sort({ _id: 1 }).toArray()).map(({ _id, a }) => [_id, a]);
    assert.equal(ids, [
      [1, 1],
      [2, undefined],
      [4, undefined],
    ]);
  };
  await within(TEST_MS, reverse(), 'the reversal');
});

test('a delete on the old source of what had not expired is a modification', async () => {
  const refuse = async () => {
    const sessions = one.db('shop').collection<Session>('sessions');
    await sessions.createIndex({ at: 1 }, { expireAfterSeconds: 10 });
    await sessions.insertMany([1, 2].map((n) => ({ _id: n, at: FAR_AWAY })));
    await using harness = await MigrationHarness.open(pair);
    await harness.sync(REVERSIBLE);
    await harness.commit();
    await two
      .db('shop')
      .collection<Session>('sessions')
      .updateOne({ _id: 2 }, { $set: { a: 1 } });
    await one.db('admin').command({ setUserWriteBlockMode: 1, global: false });
    await sessions.deleteOne({ _id: 1 });
    const error = await refusal(harness.migration.reverse());
    assert.is(error.code, 'ReverseSourceModified', error.message);
    assert.match(error.message, /delete of shop\.sessions/);
    assert.is(harness.snapshot.state, 'COMMITTED');
  };
  await within(TEST_MS, refuse(), 'the refusal');
});

for (const [which, client] of [
  ['old source', () => one],
  ['new source', () => two],
] as const) {
  test(`an oplog of the ${which} that no longer reaches back to the commit refuses the reversal`, async () => {
    const refuse = async () => {
      await one.db('shop').collection('items').insertOne({ a: 1 });
      await using harness = await MigrationHarness.open(pair);
      await harness.sync(REVERSIBLE);
      await harness.commit();
      await refuseCommands(client(), { commands: ['aggregate'] }, OPLOG_LOST);
      const error = await refusal(harness.migration.reverse());
      assert.is(error.code, 'ReverseOplogRolledOver', error.message);
      assert.is(harness.snapshot.state, 'COMMITTED');
      await releaseCommands(client());
      await harness.reverse();
      await harness.commit();
      await assertEqualClusters(one, two);
    };
    await within(TEST_MS, refuse(), 'the refusal');
  });
}

const names = async (client: MongoClient, coll: string): Promise<string[]> =>
  (await client.db('shop').collection(coll).indexes()).map(({ name }) => String(name)).sort();

test('excludeHashed: each side keeps the hashed indexes of its own, however often the migration is reversed', async () => {
  const migrate = async () => {
    const db = one.db('shop');
    await db.collection('items').insertMany([{ f: 1 }, { f: 2 }]);
    await db.collection('items').createIndex({ f: 'hashed' });
    await db.collection('items').createIndex({ f: 1 });
    await db.collection('arrays').insertOne({ f: 1 });
    await db.collection('arrays').createIndex({ f: 'hashed' });
    await db.collection('clash').insertOne({ f: 1 });
    await db.collection('clash').createIndex({ f: 'hashed' }, { name: 'same' });
    await using harness = await MigrationHarness.open(pair);
    await harness.sync({ ...REVERSIBLE, buildIndexes: 'excludeHashed' });
    await harness.commit();
    assert.equal(await names(two, 'items'), ['_id_', 'f_1']);

    const owned = two.db('shop');
    await owned.collection('items').createIndex({ g: 'hashed' });
    await owned.collection('items').createIndex({ g: 1 });
    await owned.collection('items').rename('goods');
    await owned.collection('arrays').insertOne({ f: [1, 2] });
    await owned.collection('clash').createIndex({ g: 1 }, { name: 'same' });
    await harness.reverse();
    await harness.commit();
    assert.equal(await names(one, 'goods'), ['_id_', 'f_1', 'f_hashed', 'g_1']);
    assert.equal(await names(two, 'goods'), ['_id_', 'f_1', 'g_1', 'g_hashed']);
    assert.equal(await names(one, 'arrays'), ['_id_'], 'it does not take an array');
    assert.equal(await names(one, 'clash'), ['_id_', 'same']);
    const { warnings } = harness.snapshot;
    for (const lost of [/f_hashed of shop\.arrays/, /same of shop\.clash/])
      assert.ok(
        warnings.some((text) => lost.test(text)),
        warnings.join('\n'),
      );

    await one.db('shop').collection('goods').dropIndex('f_1');
    await one.db('shop').collection('goods').insertOne({ f: 3 });
    await harness.reverse();
    await harness.commit();
    assert.equal(await names(one, 'goods'), ['_id_', 'f_hashed', 'g_1']);
    assert.equal(await names(two, 'goods'), ['_id_', 'g_1', 'g_hashed']);
    const found = (await compareClusters(one, two)).filter((line) => !line.includes('hashed'));
    assert.equal(found, []);
  };
  await within(TEST_MS, migrate(), 'the migrations');
});

for (const buildIndexes of ['beforeDataCopy', 'excludeHashedAfterCopy']) {
  test(`${buildIndexes}: indexes made by the owner are there after the reversal`, async () => {
    const migrate = async () => {
      await one
        .db('shop')
        .collection('items')
        .insertMany([{ f: 1 }, { f: 2 }]);
      await one.db('shop').collection('items').createIndex({ f: 1 }, { unique: true });
      await using harness = await MigrationHarness.open(pair);
      await harness.sync({ ...REVERSIBLE, buildIndexes });
      await harness.commit();
      await two.db('shop').collection('items').createIndex({ g: 1 }, { expireAfterSeconds: 5 });
      await two.db('shop').collection('items').dropIndex('f_1');
      await two.db('shop').collection('more').createIndex({ h: 1 }, { unique: true });
      await harness.reverse();
      await harness.commit();
      await assertEqualClusters(one, two);
      assert.equal(await names(one, 'items'), ['_id_', 'g_1']);
    };
    await within(TEST_MS, migrate(), 'the migration');
  });
}

test('a pause and a restart of a reversed migration go on in its direction', async () => {
  const migrate = async () => {
    await one
      .db('shop')
      .collection('items')
      .insertMany([{ f: 1 }, { f: 2 }]);
    {
      await using harness = await MigrationHarness.open(pair);
      await harness.sync(REVERSIBLE);
      await harness.commit();
    }
    {
      await using harness = await MigrationHarness.open(pair);
      assert.is(harness.snapshot.state, 'COMMITTED');
      await harness.reverse();
      await harness.migration.pause();
      await two.db('shop').collection('items').insertOne({ f: 3 });
      await harness.migration.resume();
    }
    await using harness = await MigrationHarness.open(pair);
    await harness.caughtUp();
    await harness.commit();
    await assertEqualClusters(one, two);
    assert.is(await one.db('shop').collection('items').countDocuments(), 3);
  };
  await within(TEST_MS, migrate(), 'the migration');
});

test.run();
