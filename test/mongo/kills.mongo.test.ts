/** A migration whose process is killed again and again; larger ones of three minutes are in kills.long.test.ts. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { migrateWithKills } from '../support/kill-migration.js';
import { within } from '../support/within.js';

test('a migration killed (-9) in the copy and afterwards ends equal', async () => {
  const work = migrateWithKills({
    seed: 7,
    kills: 2,
    operationsBetween: 150,
    bulkDocuments: 20_000,
    holdInsertsMs: 700,
  });
  const { differences, phases } = await within(240_000, work, 'the migration with kills');
  assert.equal(differences, []);
  assert.ok(phases.includes('collection copy'), `no kill fell into the copy: ${phases.join(', ')}`);
});

test('so does one whose copy and lanes run in worker threads', async () => {
  const plan = {
    seed: 8,
    kills: 2,
    operationsBetween: 150,
    bulkDocuments: 20_000,
    holdInsertsMs: 700,
  };
  const work = migrateWithKills({ ...plan, workerThreads: 2 });
  const { differences, phases, threadsStarted } = await within(240_000, work, 'the migration with kills and threads');
  assert.equal(differences, []);
  // More than those of the last process.
  assert.ok(threadsStarted > 2, `${threadsStarted} threads`);
  assert.ok(phases.includes('collection copy'), `no kill fell into the copy: ${phases.join(', ')}`);
});

test.run();
