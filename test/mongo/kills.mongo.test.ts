import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { migrateWithKills } from '../support/kill-migration.js';
import { within } from '../support/within.js';

test('a migration killed (-9) in the copy and afterwards ends equal', async () => {
  const work = migrateWithKills({ seed: 7, kills: 6, operationsBetween: 400, bulkDocuments: 150_000 });
  const { differences, phases } = await within(240_000, work, 'the migration with kills');
  assert.equal(differences, []);
  assert.ok(phases.includes('collection copy'), `no kill fell into the copy: ${phases.join(', ')}`);
});

test.run();
