/** Kills under a random workload, while answers are lost and writes are delivered late: nothing is lost. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { migrateWithKills } from '../support/kill-migration.js';
import { within } from '../support/within.js';

const first = Number(process.env['SEED'] ?? 31);
const count = Number(process.env['COUNT'] ?? 10);

for (let seed = first; seed < first + count; seed++) {
  test(`twenty kills among lost answers and late deliveries end equal (seed ${seed})`, async () => {
    const plan = { seed, kills: 20, operationsBetween: 300, bulkDocuments: 40_000, atLeastMs: 30_000, faults: true };
    const outcome = await within(900_000, migrateWithKills(plan), 'the migration with twenty kills');
    assert.equal(outcome.differences, []);
    const { loseAnswer = 0, hold = 0 } = outcome.faults ?? {};
    assert.ok(loseAnswer > 0 && hold > 0, `the faults befell nothing: ${JSON.stringify(outcome.faults)}`);
  });
}

test.run();
