import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { assertEqualClusters } from '../support/compare-clusters.js';
import { DEFAULT_START, MigrationHarness } from '../support/migration-harness.js';
import { sharedPair } from '../support/shared-servers.js';
import { within } from '../support/within.js';
import { Workload } from '../support/workload.js';

const TEST_MS = 90_000;
/** The lowest and the highest; level 2 ends the migration of the last test, level 3 is that of all other files. */
const LEVELS = [1, 4];

const { pair, source, destination } = await sharedPair(test);
let workload: Workload;
let seed = 0;

test.before.each(async () => {
  workload = new Workload({ client: source, seed: ++seed });
  await workload.prepare();
  await workload.run({ operations: 150 });
});

const started = (harness: MigrationHarness): string | undefined =>
  harness.logLines.find((line) => line.includes('Started the migration'));

for (const loadLevel of LEVELS) {
  test(`load level ${loadLevel} takes a migration under a workload to COMMITTED`, async () => {
    const migrate = async () => {
      await using harness = await MigrationHarness.open(pair, { loadLevel });
      await harness.migration.start(DEFAULT_START);
      assert.match(started(harness) ?? '', new RegExp(`"loadLevel":${loadLevel}`));
      await workload.run({ operations: 200 });
      await harness.commit();
      await assertEqualClusters(source, destination);
    };
    await within(TEST_MS, migrate(), 'the migration');
  });
}

test('the level may be another one at each restart, in the copy and afterwards', async () => {
  const migrate = async () => {
    {
      await using harness = await MigrationHarness.open(pair, { loadLevel: 4 });
      await harness.migration.start(DEFAULT_START);
    }
    {
      await using harness = await MigrationHarness.open(pair, { loadLevel: 1 });
      await workload.run({ operations: 100 });
      await harness.caughtUp();
    }
    await using harness = await MigrationHarness.open(pair, { loadLevel: 2 });
    await workload.run({ operations: 200 });
    await harness.commit();
    await assertEqualClusters(source, destination);
  };
  await within(TEST_MS, migrate(), 'the migration');
});

test.run();
