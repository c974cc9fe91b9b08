import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { compareClusters } from '../support/compare-clusters.js';
import { MigrationHarness } from '../support/migration-harness.js';
import { startPair } from '../support/replica-set.js';
import { seedEverything } from '../support/seed-data.js';
import { within } from '../support/within.js';

const TEST_MS = 180_000;

test('every type, option and index arrives byte for byte', async () => {
  await within(
    TEST_MS,
    async () => {
      await using pair = await startPair();
      const source = await pair.source.connect();
      await seedEverything(source);
      await using harness = await MigrationHarness.open(pair);
      await harness.sync();
      await harness.commit();
      assert.equal(await compareClusters(source, await pair.destination.connect()), []);
    },
    'the migration of everything',
  );
});

test('everything arrives byte for byte when it is written while the migration runs', async () => {
  await within(
    TEST_MS,
    async () => {
      await using pair = await startPair();
      const source = await pair.source.connect();
      await source.db('first').collection('c').insertOne({ n: 1 });
      await using harness = await MigrationHarness.open(pair);
      await harness.sync();
      await seedEverything(source);
      await harness.commit();
      assert.equal(await compareClusters(source, await pair.destination.connect()), []);
    },
    'following everything',
  );
});

test.run();
