import { Decimal128, Double, Long, type MongoClient, ObjectId } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { assertEqualClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS, holdStreams } from '../support/fail-points.js';
import { startProxiedSet } from '../support/fault-proxy.js';
import { HeldLanes } from '../support/held-lanes.js';
import { MigrationHarness } from '../support/migration-harness.js';
import { ReplicaSet } from '../support/replica-set.js';
import { atEnd } from '../support/shared-servers.js';
import { METADATA_DB, resetClusters, storedMigration, storedWhen } from '../support/stored-migration.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 120_000;

interface Item {
  readonly _id: number;
  readonly n?: number;
}

const sourceSet = await ReplicaSet.start({ name: 'source', setParameters: FAIL_POINTS });
atEnd(test, () => sourceSet.remove());
const behind = await startProxiedSet({ name: 'destination', setParameters: FAIL_POINTS });
atEnd(test, async () => await behind[Symbol.asyncDispose]());
const { proxy } = behind;
const ends = { source: sourceSet, destination: behind.set };
const source: MongoClient = await sourceSet.connect();
/** Past the proxy, so that no rule meets with what a test does itself. */
const destination: MongoClient = await behind.connectPast();
const items = source.db('shop').collection<Item>('items');

test.before.each(async () => {
  proxy.clear();
  await resetClusters(source, destination);
});

/** Commands of the migration, and of nobody else. */
const ours = { appName: 'mongoferry' } as const;

/** Resolves once the migration has renewed its lease so many times: time enough for all that it does by itself. */
async function renewed(times = 2): Promise<void> {
  const rule = proxy.delay({ ...ours, command: 'update', db: METADATA_DB, collection: 'lease', times }, 0);
  await rule.hit(times - 1);
}

test('what a DDL event is about to change is stored first: a restart in the middle of it completes it', async () => {
  const migrate = async (): Promise<void> => {
    await items.insertOne({ _id: 1 });
    {
      await using harness = await MigrationHarness.open(ends);
      await harness.sync();
      const rule = proxy.loseAnswer({ ...ours, command: 'renameCollection' });
      // What it tries again after the lost answer does not arrive.
      proxy.drop({ ...ours, command: 'renameCollection', times: 1000 });
      await items.rename('stock');
      await items.insertOne({ _id: 2 });
      await rule.answerLost();
      const ddl = await destination.db(METADATA_DB).collection('ddl').findOne();
      assert.ok(ddl?.['intent']?.event, 'the event is stored before its command');
    }
    proxy.clear();
    await using harness = await MigrationHarness.open(ends);
    await harness.commit();
    await assertEqualClusters(source, destination);
  };
  await within(TEST_MS, migrate(), 'the migration');
});

/** `_id`s of several types, in no order. */
function mixedId(n: number): unknown {
  const values = [n, `s${n}`, new ObjectId(), Long.fromNumber(n + 100_000), new Double(n + 0.5), { n }, new Date(n)];
  return [...values, Decimal128.fromString(`${n}.25`)][n % 8];
}

test('a collection of many ranges arrives whole: each document is in exactly one of them', async () => {
  const migrate = async (): Promise<void> => {
    const many = source.db('shop').collection<{ _id: unknown; pad: string }>('many');
    await many.insertMany(Array.from({ length: 4000 }, (_, n) => ({ _id: mixedId(n), pad: 'x'.repeat(200) })));
    await using harness = await MigrationHarness.open(ends, { disableVerification: true }, { partitionBytes: 50_000 });
    await harness.sync();
    const partitions = await destination.db(METADATA_DB).collection('partitions').find().toArray();
    assert.ok(partitions.length >= 10, `${partitions.length} ranges`);
    assert.is(
      partitions.reduce((sum, { documents }) => sum + Number(documents), 0),
      4000,
    );
    await harness.commit();
    await assertEqualClusters(source, destination);
  };
  await within(TEST_MS, migrate(), 'the migration');
});

test('changes that a lane has in flight when the process stops are applied by the next one, whatever was stored', async () => {
  const migrate = async (): Promise<void> => {
    await items.insertOne({ _id: 1 });
    const lanes = new HeldLanes();
    const isHeld = { collection: 'items', id: 2 };
    {
      await using harness = await MigrationHarness.open(ends, { disableVerification: true }, lanes.hooks);
      await harness.sync();
      const lane = lanes.hold('before', ({ collection }) => collection.ns.coll === isHeld.collection);
      // With so many changes at once that one lane does not suffice for them.
      await source.withSession((session) =>
        session.withTransaction(async () => {
          const many = Array.from({ length: 3000 }, (_, n) => ({ _id: n }));
          await source.db('shop').collection<Item>('many').insertMany(many, { session });
          await items.insertOne({ _id: isHeld.id }, { session });
        }),
      );
      await lane.entered;
      // Later changes, on all the other lanes, and the checkpoints that follow.
      const others = Array.from({ length: 50 }, (_, n) => ({ _id: n }));
      await source.db('shop').collection<Item>('others').insertMany(others);
      const copied = destination.db('shop').collection('others');
      await eventually(TEST_MS, async () => (await copied.countDocuments()) > 0, 'others being applied');
      await renewed();
    }
    await using harness = await MigrationHarness.open(ends, { disableVerification: true });
    await harness.commit();
    await assertEqualClusters(source, destination);
  };
  await within(TEST_MS, migrate(), 'the migration');
});

test('what a lane has written without telling so is applied once more by the next process, to the same end', async () => {
  const migrate = async (): Promise<void> => {
    await items.insertMany([{ _id: 1, n: 1 }]);
    const lanes = new HeldLanes();
    {
      await using harness = await MigrationHarness.open(ends, { disableVerification: true }, lanes.hooks);
      await harness.sync();
      const lane = lanes.hold('after', ({ collection }) => collection.ns.coll === 'items');
      await items.bulkWrite([
        { insertOne: { document: { _id: 2 } } },
        { updateOne: { filter: { _id: 1 }, update: { $inc: { n: 1 } } } },
        { insertOne: { document: { _id: 3 } } },
        { deleteOne: { filter: { _id: 3 } } },
      ]);
      await lane.entered;
    }
    await using harness = await MigrationHarness.open(ends, { disableVerification: true });
    await harness.commit();
    await assertEqualClusters(source, destination);
  };
  await within(TEST_MS, migrate(), 'the migration');
});

test('a commit waits for what the lanes have in flight', async () => {
  const migrate = async (): Promise<void> => {
    await items.insertOne({ _id: 1 });
    const lanes = new HeldLanes();
    await using harness = await MigrationHarness.open(ends, { disableVerification: true }, lanes.hooks);
    await harness.sync();
    const lane = lanes.hold('before', ({ collection }) => collection.ns.coll === 'items');
    await items.insertOne({ _id: 2 });
    await lane.entered;
    await harness.migration.commit();
    await storedWhen(destination, 'the commit time', ({ commit }) => commit?.time !== undefined);
    await renewed();
    assert.is((await storedMigration(destination))?.['commit']?.step, 'drain');
    assert.ok(lane.isHeld);
    lane.release();
    await harness.until(({ state }) => state === 'COMMITTED', 'COMMITTED');
    await assertEqualClusters(source, destination);
  };
  await within(TEST_MS, migrate(), 'the migration');
});

test('no index is built before what was written during the copy has been applied', async () => {
  const migrate = async (): Promise<void> => {
    // Smaller collections get theirs while they are empty.
    await items.insertMany(Array.from({ length: 1500 }, (_, n) => ({ _id: n, n })));
    await items.createIndex({ n: 1 });
    const lanes = new HeldLanes();
    const copying = proxy.hold({ ...ours, command: 'insert', db: 'shop' }, { cutClient: false });
    const lane = lanes.hold('before', ({ collection }) => collection.ns.coll === 'items');
    await using harness = await MigrationHarness.open(ends, {}, lanes.hooks);
    const syncing = harness.sync();
    syncing.catch(() => undefined);
    const insert = await copying.held();
    await items.updateOne({ _id: 1 }, { $set: { n: 2 } });
    const builds = proxy.delay({ ...ours, command: 'createIndexes', db: 'shop', times: 100 }, 0);
    await insert.deliver();
    await lane.entered;
    await renewed();
    assert.is(builds.hits.length, 0, 'no build yet');
    lane.release();
    await syncing;
    assert.ok(builds.hits.length > 0);
    await harness.commit();
    await assertEqualClusters(source, destination);
  };
  await within(TEST_MS, migrate(), 'the migration');
});

test('a commit ends only after a last look at what the source wrote since its time', async () => {
  const migrate = async (): Promise<void> => {
    await items.insertOne({ _id: 1, n: 1 });
    await items.createIndex({ n: 1 }, { unique: true });
    // The verification has reasons of its own to wait for the stream.
    await using harness = await MigrationHarness.open(ends, { disableVerification: true });
    await harness.sync();
    await harness.caughtUp();
    const restoring = proxy.hold({ ...ours, command: 'collMod', db: 'shop' }, { cutClient: false });
    await harness.migration.commit();
    const collMod = await restoring.held();
    await storedWhen(destination, 'the restoring', ({ commit }) => commit?.step === 'restore');
    // Nothing of the stream arrives before the write that is late has been made, and for a while after.
    const letStreamsGo = await holdStreams(source);
    await items.insertOne({ _id: 2, n: 2 });
    await collMod.deliver();
    await renewed();
    const record = await storedMigration(destination);
    await letStreamsGo();
    assert.equal([record?.['commit']?.step, record?.['canWrite']], ['restore', false]);
    const error = await harness.failure();
    assert.is(error.code, 'SourceModifiedAfterCommit', error.message);
  };
  await within(TEST_MS, migrate(), 'the commit');
});

test('after the point of no return nothing is applied any more, also while canWrite is still false', async () => {
  const migrate = async (): Promise<void> => {
    await items.insertOne({ _id: 1 });
    {
      await using harness = await MigrationHarness.open(ends);
      await harness.sync();
      await harness.caughtUp();
      const isOpening = ({ body }: { body: () => object }): boolean =>
        'global' in body() && body()['global' as never] === false;
      const opening = proxy.drop({ ...ours, command: 'setUserWriteBlockMode', times: 1000, where: isOpening });
      await harness.migration.commit();
      await opening.hit();
    }
    const record = await storedMigration(destination);
    assert.equal([record?.['commit']?.step, record?.['canWrite']], ['handover', false]);
    await items.insertOne({ _id: 2 });
    await items.updateOne({ _id: 1 }, { $set: { n: 1 } });
    proxy.clear();
    await using harness = await MigrationHarness.open(ends);
    await harness.until(({ state }) => state === 'COMMITTED', 'COMMITTED');
    assert.equal(await destination.db('shop').collection<Item>('items').find().toArray(), [{ _id: 1 }]);
  };
  await within(TEST_MS, migrate(), 'the commit');
});

test.run();
