import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { migrateWithKills } from '../support/kill-migration.js';
import { within } from '../support/within.js';

for (const seed of [21, 22, 23]) {
  test(`twenty kills under a random workload of three minutes end equal (seed ${seed})`, async () => {
    const plan = { seed, kills: 20, operationsBetween: 2000, bulkDocuments: 400_000, atLeastMs: 180_000 };
    const outcome = await within(1_200_000, migrateWithKills(plan), 'the migration with twenty kills');
    assert.equal(outcome.differences, []);
  });
}

test.run();
