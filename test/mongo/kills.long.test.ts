import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { migrateWithKills } from '../support/kill-migration.js';
import { within } from '../support/within.js';

for (const seed of [21, 22, 23]) {
  test(`twenty kills under a random workload of some minutes end equal (seed ${seed})`, async () => {
    const work = migrateWithKills({ seed, kills: 20, operationsBetween: 3000, bulkDocuments: 400_000 });
    const { differences } = await within(900_000, work, 'the migration with twenty kills');
    assert.equal(differences, []);
  });
}

test.run();
