import type { Db } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { BuildIndexes } from '../../src/metadata/migration-options.js';
import { compareClusters } from '../support/compare-clusters.js';
import { MigrationHarness } from '../support/migration-harness.js';
import { startPair } from '../support/replica-set.js';
import { within } from '../support/within.js';

/** Indexes of the collection `c`, by name, that each mode leaves on the destination. */
const EXPECTED: Readonly<Record<BuildIndexes, readonly string[]>> = {
  afterDataCopy: ['_id_', 'a_1', 'h_hashed', 'late_1', 'lateh_hashed', 'ttl_1'],
  beforeDataCopy: ['_id_', 'a_1', 'h_hashed', 'late_1', 'lateh_hashed', 'ttl_1'],
  excludeHashed: ['_id_', 'a_1', 'late_1', 'ttl_1'],
  excludeHashedAfterCopy: ['_id_', 'a_1', 'late_1', 'ttl_1'],
  never: ['_id_'],
};

async function seed(db: Db): Promise<void> {
  const c = db.collection('c');
  await c.insertMany(Array.from({ length: 2000 }, (_, a) => ({ a, h: a, when: new Date() })));
  await c.createIndex({ a: 1 }, { name: 'a_1', unique: true });
  await c.createIndex({ h: 'hashed' });
  await c.createIndex({ when: 1 }, { name: 'ttl_1', expireAfterSeconds: 86_400 });
  await c.createIndex({ gone: 1 });
}

async function changeIndexes(db: Db): Promise<void> {
  await db.collection('c').createIndex({ late: 1 });
  await db.collection('c').createIndex({ lateh: 'hashed' });
  await db.collection('c').dropIndex('gone_1');
}

for (const mode of Object.keys(EXPECTED) as BuildIndexes[]) {
  test(`buildIndexes "${mode}" builds what it says, for indexes made during the migration too`, async () => {
    await within(
      90_000,
      async () => {
        await using pair = await startPair();
        const source = await pair.source.connect();
        await seed(source.db('shop'));
        await using harness = await MigrationHarness.open(pair);
        // Verified, "never" does not permit the TTL index.
        await harness.sync({ buildIndexes: mode, verification: { enabled: mode !== 'never' } });
        assert.is(harness.snapshot.indexBuilding === undefined, mode === 'beforeDataCopy' || mode === 'excludeHashed');
        await changeIndexes(source.db('shop'));
        await harness.commit();
        const destination = await pair.destination.connect();
        const indexes = await destination.db('shop').collection('c').indexes();
        assert.equal(indexes.map((each) => each.name).sort(), EXPECTED[mode]);
        // Nothing but the indexes that were left out on purpose may differ.
        const differences = await compareClusters(source, destination);
        assert.equal(
          differences.filter((line) => !line.includes('index')),
          [],
        );
        if (mode === 'afterDataCopy' || mode === 'beforeDataCopy') assert.equal(differences, []);
      },
      `the migration with ${mode}`,
    );
  });
}

test('an index that does not take a document as it is now gives way, and is gone once its drop is applied', async () => {
  await within(
    90_000,
    async () => {
      await using pair = await startPair();
      const db = (await pair.source.connect()).db('shop');
      await db.collection('c').createIndex({ a: 1, b: 1 });
      await db.collection<{ _id: number }>('c').insertOne({ _id: 1 });
      await using harness = await MigrationHarness.open(pair);
      await harness.sync();
      await harness.migration.pause();
      // Two arrays in one document: the index does not take it, and the source has no such index any more.
      await db.collection('c').dropIndex('a_1_b_1');
      await db.collection<{ _id: number }>('c').insertOne({ _id: 2, a: [1, 2], b: [1, 2] } as never);
      await db.collection<{ _id: number }>('c').updateOne({ _id: 1 }, { $set: { a: [1], b: [1] } } as never);
      await harness.migration.resume();
      await harness.commit();
      assert.equal(await compareClusters(await pair.source.connect(), await pair.destination.connect()), []);
    },
    'the migration past an index that refuses',
  );
});

test.run();
