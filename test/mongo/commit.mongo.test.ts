import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { commitHeld } from '../support/commit-points.js';
import { assertEqualClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS, holdCommands, refuseCommands, releaseCommands } from '../support/fail-points.js';
import { DEFAULT_START, MigrationHarness } from '../support/migration-harness.js';
import { refusal } from '../support/refusal.js';
import { sharedPair } from '../support/shared-servers.js';
import { isBlocked, storedMigration } from '../support/stored-migration.js';
import { within } from '../support/within.js';

const TEST_MS = 60_000;
const HOLD_MS = 1500;

const { pair, source, destination } = await sharedPair(test, { setParameters: FAIL_POINTS });

test.before.each(async () => {
  const items = source.db('shop').collection<{ _id: number; sku: number }>('items');
  await items.insertMany([1, 2, 3].map((n) => ({ _id: n, sku: n })));
  await items.createIndex({ sku: 1 }, { unique: true });
  await source.db('shop').collection('notes').insertOne({ text: 'a' });
});

type LateWrite = readonly [what: string, write: () => Promise<unknown>, named: RegExp];

const shop = () => source.db('shop');
const LATE_WRITES: readonly LateWrite[] = [
  ['an insert', () => shop().collection('items').insertOne({ sku: 4 }), /insert of shop\.items/],
  [
    'an update',
    () =>
      shop()
        .collection('items')
        .updateOne({ sku: 1 }, { $set: { a: 1 } }),
    /update of shop\.items/,
  ],
  ['a delete', () => shop().collection('items').deleteOne({ sku: 1 }), /delete of shop\.items/],
  ['a new collection', () => shop().createCollection('late'), /create of shop\.late/],
  ['a dropped collection', () => shop().dropCollection('notes'), /drop of shop\.notes/],
  ['a renamed collection', () => shop().collection('notes').rename('n'), /rename of shop\.notes/],
  ['a new index', () => shop().collection('notes').createIndex({ text: 1 }), /createIndexes of shop\.notes/],
  ['a write to an unknown collection', () => source.db('new').collection('c').insertOne({}), /of new\.c/],
];

for (const [what, write, named] of LATE_WRITES) {
  test(`${what} on the source after the commit time fails the commit by name`, async () => {
    const commit = async () => {
      await using harness = await MigrationHarness.open(pair);
      await harness.sync();
      await commitHeld(harness, destination, HOLD_MS);
      await write();
      const error = await harness.failure();
      assert.is(error.code, 'SourceModifiedAfterCommit', error.message);
      assert.match(error.message, named);
      assert.equal([harness.snapshot.state, harness.snapshot.canWrite], ['COMMITTING', false]);
      assert.ok(await isBlocked(destination), 'the destination stays blocked');
      const stored = await storedMigration(destination);
      assert.equal([stored?.['canWrite'], stored?.['failure']?.error], [false, 'SourceModifiedAfterCommit']);
    };
    await within(TEST_MS, commit(), what);
  });
}

test('writes up to the commit time are all there, and none is judged late', async () => {
  const commit = async () => {
    await using harness = await MigrationHarness.open(pair);
    await harness.sync();
    for (let n = 10; n < 400; n++) await source.db('shop').collection('items').insertOne({ sku: n });
    await harness.caughtUp();
    await harness.commit();
    await assertEqualClusters(source, destination);
  };
  await within(TEST_MS, commit(), 'the commit');
});

test('duplicates under a unique index fail the commit before canWrite, naming collection and index', async () => {
  const commit = async () => {
    await using harness = await MigrationHarness.open(pair);
    await harness.sync({ enableUserWriteBlocking: 'none', verification: { enabled: false } });
    await destination.db('shop').collection('items').insertOne({ sku: 1, by: 'somebody' });
    await harness.migration.commit();
    const error = await harness.failure();
    assert.is(error.code, 'UniqueViolation', error.message);
    assert.match(error.message, /shop\.items/);
    assert.match(error.message, /sku_1/);
    assert.not.match(error.message, /somebody/);
    assert.not.ok(harness.snapshot.canWrite);
  };
  await within(TEST_MS, commit(), 'the commit');
});

const CANNOT_CONVERT = { errorCode: 359, errorExtraInfo: { violations: [{ ids: [1, 2] }] } };

test('an index that cannot become unique after all keeps the migration in COMMITTING until a restart', async () => {
  const commit = async () => {
    {
      await using harness = await MigrationHarness.open(pair);
      await harness.sync();
      // What prepares the index and tries it out passes; what makes it unique, after the point of no return, is refused.
      await refuseCommands(destination, { commands: ['collMod'], afterFirst: 2 }, CANNOT_CONVERT);
      await harness.migration.commit();
      await harness.until(({ warnings }) => warnings.some((text) => text.includes('shop.items sku_1')), 'the warning');
      assert.equal([harness.snapshot.state, harness.snapshot.canWrite], ['COMMITTING', true]);
      assert.is(harness.snapshot.failure, undefined);
      await releaseCommands(destination);
    }
    await using again = await MigrationHarness.open(pair);
    await again.until(({ state }) => state === 'COMMITTED', 'COMMITTED');
    await assertEqualClusters(source, destination);
  };
  await within(TEST_MS, commit(), 'the commit');
});

test('commit is refused with the reason while canCommit is false', async () => {
  const commit = async () => {
    // Smaller collections get their indexes while they are empty.
    const large = source.db('shop').collection('large');
    await large.insertMany(Array.from({ length: 1500 }, (_, n) => ({ n })));
    await large.createIndex({ n: 1 });
    await using harness = await MigrationHarness.open(pair);
    await holdCommands(destination, { commands: ['insert'] }, HOLD_MS);
    await harness.migration.start(DEFAULT_START);
    const early = await refusal(harness.migration.commit());
    assert.is(early.code, 'InvalidStateTransition');
    assert.match(early.message, /canCommit is false: the collection copy is not complete/);
    await holdCommands(destination, { commands: ['createIndexes'] }, HOLD_MS);
    await harness.until(
      ({ indexBuilding, ceaStage }) => indexBuilding !== undefined && ceaStage === 'steady state',
      'the builds',
    );
    assert.not(harness.snapshot.canCommit);
    assert.match((await refusal(harness.migration.commit())).message, /canCommit is false: indexes are being built/);
    await releaseCommands(destination);
    await harness.commit();
  };
  await within(TEST_MS, commit(), 'the refusals');
});

test.run();
