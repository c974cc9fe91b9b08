import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { compareClusters } from '../support/compare-clusters.js';
import { MigrationHarness } from '../support/migration-harness.js';
import { startPair } from '../support/replica-set.js';
import { within } from '../support/within.js';
import { Workload } from '../support/workload.js';

const TEST_MS = 180_000;
const seed = Number(process.env['FERRY_SEED'] ?? 7);
const operations = Number(process.env['FERRY_OPERATIONS'] ?? 200);

test(`two reversals under a random workload with DDL, which follows the applications (seed ${seed})`, async () => {
  const migrate = async () => {
    await using pair = await startPair();
    const clients = [await pair.source.connect(), await pair.destination.connect()] as const;
    const first = new Workload({ client: clients[0], seed });
    await first.prepare();
    await first.run({ operations });
    await using harness = await MigrationHarness.open(pair);
    await harness.sync({ enableUserWriteBlocking: true, reversible: true });
    await harness.commit();
    for (const [turn, owner] of [
      [1, clients[1]],
      [2, clients[0]],
    ] as const) {
      assert.equal(await compareClusters(clients[0], clients[1]), [], `before reversal ${turn}`);
      const workload = new Workload({ client: owner, seed: seed + turn });
      await workload.run({ operations });
      const going = workload.run({ operations });
      await harness.migration.reverse();
      await going;
      await harness.until(({ state, canCommit }) => state === 'RUNNING' && canCommit, 'canCommit', 120_000);
      await harness.commit();
    }
    assert.equal(await compareClusters(clients[0], clients[1]), []);
  };
  await within(TEST_MS, migrate(), 'the migrations');
});

test.run();
