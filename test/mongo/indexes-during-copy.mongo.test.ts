import type { Collection, Db, Document } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { BuildIndexes } from '../../src/metadata/migration-options.js';
import type { StartOptions } from '../../src/start/options.js';
import { compareClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS, holdCommands, releaseCommands } from '../support/fail-points.js';
import { DEFAULT_START, MigrationHarness } from '../support/migration-harness.js';
import { sharedPair } from '../support/shared-servers.js';
import { storedMigration, storedWhen } from '../support/stored-migration.js';
import { within } from '../support/within.js';

const TEST_MS = 60_000;
const HOLD_MS = 1500;

const { pair, source, destination } = await sharedPair(test, { setParameters: FAIL_POINTS });

/** Starts a migration whose copy of `namespace` does not begin for `ms`, and resolves once the copy has begun. */
async function startHeld(harness: MigrationHarness, namespace: string, ms: number, options: Partial<StartOptions>) {
  await holdCommands(source, { commands: ['find'], namespace }, ms);
  await harness.migration.start({ ...DEFAULT_START, ...options });
  await storedWhen(destination, 'the copy', ({ phase }) => phase === 'copy');
}

const names = async (collection: Collection<Document>): Promise<string[]> =>
  (await collection.indexes()).map(({ name }) => String(name)).sort();

async function seed(db: Db): Promise<void> {
  const c = db.collection('c');
  await c.insertMany(Array.from({ length: 100 }, (_, a) => ({ a, h: a })));
  await c.createIndex({ a: 1 }, { unique: true });
  await c.createIndex({ gone: 1 });
  await c.createIndex({ goneh: 'hashed' });
}

/** Indexes by name that each mode leaves on the destination. */
const EXPECTED: Readonly<Record<BuildIndexes, readonly string[]>> = {
  afterDataCopy: ['_id_', 'a_1', 'h_hashed', 'late_1'],
  beforeDataCopy: ['_id_', 'a_1', 'h_hashed', 'late_1'],
  excludeHashed: ['_id_', 'a_1', 'late_1'],
  excludeHashedAfterCopy: ['_id_', 'a_1', 'late_1'],
  never: ['_id_'],
};

for (const mode of Object.keys(EXPECTED) as BuildIndexes[]) {
  test(`buildIndexes "${mode}": indexes that are made and dropped during the copy`, async () => {
    const migrate = async () => {
      await seed(source.db('shop'));
      await using harness = await MigrationHarness.open(pair);
      await startHeld(harness, 'shop.c', HOLD_MS, { buildIndexes: mode });
      const c = source.db('shop').collection('c');
      await c.createIndex({ late: 1 }, { unique: true, sparse: true });
      await c.createIndex({ h: 'hashed' });
      await c.dropIndex('gone_1');
      await c.dropIndex('goneh_hashed');
      assert.is((await storedMigration(destination))?.['phase'], 'copy', 'it was during the copy');
      await releaseCommands(source);
      await harness.commit();
      assert.equal(await names(destination.db('shop').collection('c')), EXPECTED[mode]);
      const differences = await compareClusters(source, destination);
      const others = differences.filter((line) => !line.includes('index'));
      assert.equal(others, []);
      if (mode === 'afterDataCopy' || mode === 'beforeDataCopy') assert.equal(differences, []);
    };
    await within(TEST_MS, migrate(), 'the migration');
  });
}

test('an index that the source drops during the copy, and that does not take what is copied, is not tried before its drop is known', async () => {
  const migrate = async () => {
    const db = source.db('shop');
    await db.collection('c').createIndex({ a: 1, b: 1 });
    await using harness = await MigrationHarness.open(pair);
    await startHeld(harness, 'shop.c', HOLD_MS, { buildIndexes: 'beforeDataCopy' });
    await db.collection('c').dropIndex('a_1_b_1');
    await db.collection('c').insertOne({ a: [1, 2], b: [1, 2] });
    assert.is((await storedMigration(destination))?.['phase'], 'copy', 'it was during the copy');
    await releaseCommands(source);
    await harness.until(
      () => harness.logLines.some((line) => line.includes('refuse a document')),
      'the index giving way',
    );
    await harness.until(({ canCommit }) => canCommit, 'canCommit');
    const failed = harness.logLines.filter((line) => line.includes('Building the indexes of shop.c failed'));
    assert.equal(failed, [], 'no build was tried in vain');
    await harness.commit();
    assert.equal(await compareClusters(source, destination), []);
  };
  await within(TEST_MS, migrate(), 'the migration');
});

test.run();
