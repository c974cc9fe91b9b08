import type { Db } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { assertEqualClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS, holdCommands, releaseCommands } from '../support/fail-points.js';
import { DEFAULT_START, MigrationHarness } from '../support/migration-harness.js';
import { sharedPair } from '../support/shared-servers.js';
import { within } from '../support/within.js';

const TEST_MS = 60_000;
const HOLD_MS = 1500;
/** The only mode in which anybody else can write to the destination before canWrite. */
const UNBLOCKED = { ...DEFAULT_START, enableUserWriteBlocking: 'none' };

const { pair, source, destination } = await sharedPair(test, { setParameters: FAIL_POINTS });

test.before.each(async () => {
  const items = source.db('shop').collection<{ _id: number }>('items');
  await items.insertMany([{ _id: 1 }, { _id: 2 }]);
});

/** What somebody does to the destination, and the change of the source that meets it. */
interface Meddling {
  readonly name: string;
  readonly onDestination: (db: Db) => Promise<unknown>;
  readonly onSource: (db: Db) => Promise<unknown>;
  /** The namespace that the failure must name. */
  readonly names: string;
  /** What must still be there afterwards. */
  readonly spared?: string;
}

const insert = (coll: string) => (db: Db) => db.collection(coll).insertOne({ by: 'somebody' });
const rename = (from: string, to: string) => (db: Db) => db.collection(from).rename(to);
const drop = (coll: string) => (db: Db) => db.collection(coll).drop();
const update = (db: Db) =>
  db.collection<{ _id: number; a?: number }>('items').updateOne({ _id: 1 }, { $set: { a: 1 } });

const MEDDLINGS: readonly Meddling[] = [
  {
    name: 'a foreign collection where the source creates one',
    onDestination: insert('new'),
    onSource: (db) => db.createCollection('new'),
    names: 'shop.new',
    spared: 'new',
  },
  {
    name: 'a foreign collection where the source creates one by an insert',
    onDestination: insert('new'),
    onSource: insert('new'),
    names: 'shop.new',
    spared: 'new',
  },
  {
    name: 'a foreign collection where the source renames one to',
    onDestination: insert('new'),
    onSource: rename('items', 'new'),
    names: 'shop.new',
    spared: 'new',
  },
  {
    name: 'one of ours renamed, then changed on the source',
    onDestination: rename('items', 'aside'),
    onSource: update,
    names: 'shop.items',
    spared: 'aside',
  },
  {
    name: 'one of ours renamed, then renamed on the source',
    onDestination: rename('items', 'aside'),
    onSource: rename('items', 'new'),
    names: 'shop.items',
    spared: 'aside',
  },
  {
    name: 'one of ours dropped, then written on the source',
    onDestination: drop('items'),
    onSource: insert('items'),
    names: 'shop.items',
  },
  {
    name: 'one of ours dropped and made anew, then written on the source',
    onDestination: async (db) => [await db.collection('items').drop(), await insert('items')(db)],
    onSource: insert('items'),
    names: 'shop.items',
    spared: 'items',
  },
];

async function meddle({ onDestination, onSource, names, spared }: Meddling): Promise<void> {
  await using harness = await MigrationHarness.open(pair);
  await harness.sync(UNBLOCKED);
  await onDestination(destination.db('shop'));
  await onSource(source.db('shop'));
  const error = await harness.failure();
  assert.is(error.code, 'DestinationModified', error.message);
  assert.ok(error.message.includes(names), error.message);
  assert.not.ok(harness.snapshot.canWrite);
  if (spared === undefined) return;
  const [left] = await destination.db('shop').listCollections({ name: spared }).toArray();
  assert.ok(left, `${spared} of the destination is somebody else's, and must be left alone`);
  if (spared === 'new' || spared === 'items')
    assert.is(await destination.db('shop').collection(spared).countDocuments(), 1);
}

for (const meddling of MEDDLINGS) {
  test(`none: ${meddling.name}: DestinationModified`, async () => {
    await within(TEST_MS, meddle(meddling), meddling.name);
  });
}

const atCommit: readonly (readonly [string, (db: Db) => Promise<unknown>])[] = [
  ['dropped', drop('items')],
  ['renamed', rename('items', 'aside')],
  [
    'made anew',
    async (db) => [await db.collection('items').drop(), await db.collection('items').createIndex({ a: 1 })],
  ],
];

for (const [how, onDestination] of atCommit) {
  test(`none: one of ours ${how}, with no change on the source: DestinationModified at the commit`, async () => {
    const commit = async () => {
      await source.db('shop').collection('items').createIndex({ a: 1 }, { unique: true, sparse: true });
      await using harness = await MigrationHarness.open(pair);
      await harness.sync(UNBLOCKED);
      await onDestination(destination.db('shop'));
      await harness.migration.commit();
      const error = await harness.failure();
      assert.is(error.code, 'DestinationModified', error.message);
      assert.ok(error.message.includes('shop.items'), error.message);
      assert.not.ok(harness.snapshot.canWrite);
    };
    await within(TEST_MS, commit(), how);
  });
}

test('none: an index that somebody dropped is built again by the commit', async () => {
  const commit = async () => {
    await source.db('shop').collection('items').createIndex({ a: 1 }, { unique: true, sparse: true });
    await using harness = await MigrationHarness.open(pair);
    await harness.sync(UNBLOCKED);
    await destination.db('shop').collection('items').dropIndex('a_1');
    await harness.commit();
    await assertEqualClusters(source, destination);
  };
  await within(TEST_MS, commit(), 'the commit');
});

test('none: a collection that comes between the start and the reading of the catalog: DestinationModified', async () => {
  const slipIn = async () => {
    await using harness = await MigrationHarness.open(pair);
    // The first write of the run, a probe, comes before it looks whether the destination is still empty.
    await holdCommands(destination, { commands: ['delete'], times: 1 }, HOLD_MS);
    await harness.migration.start(UNBLOCKED);
    await destination.db('others').collection('c').insertOne({ by: 'somebody' });
    await releaseCommands(destination);
    const error = await harness.failure();
    assert.is(error.code, 'DestinationModified', error.message);
    assert.ok(error.message.includes('others.c'), error.message);
    assert.is(await destination.db('shop').listCollections().hasNext(), false, 'nothing was created');
  };
  await within(TEST_MS, slipIn(), 'the slip');
});

test('none: a collection that the source does not have fails the commit, and stays', async () => {
  const migrate = async () => {
    await using harness = await MigrationHarness.open(pair);
    await harness.sync(UNBLOCKED);
    await destination.db('others').collection('c').insertOne({ by: 'somebody' });
    await harness.migration.commit();
    const error = await harness.failure();
    assert.is(error.code, 'DestinationModified', error.message);
    assert.ok(error.message.includes('others.c'), error.message);
    assert.is(await destination.db('others').collection('c').countDocuments(), 1);
  };
  await within(TEST_MS, migrate(), 'the migration');
});

test.run();
