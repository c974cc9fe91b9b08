/** Random workloads with DDL end equal, with pauses and with threads; longer ones and more seeds: random-workload.long.test.ts. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { migrateUnderWorkload } from '../support/random-migration.js';
import { RANDOM_MS, testWithPauses } from '../support/random-workload-tests.js';
import { within } from '../support/within.js';

testWithPauses({ seed: 101, before: 200, during: 800, pauses: 3 });

test('so does one whose copy and lanes run in worker threads, with pauses in between', async () => {
  const seed = 201;
  const work = migrateUnderWorkload({ seed, before: 200, during: 600, pauses: 1, workerThreads: 2 });
  assert.equal((await within(RANDOM_MS, work, `the migration with seed ${seed}`)).differences, []);
});

test.run();
