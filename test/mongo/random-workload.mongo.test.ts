/** Random workloads with DDL end equal: one seed of each kind here, more in random-workload.long.test.ts. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { migrateUnderWorkload } from '../support/random-migration.js';
import { RANDOM_MS, testRandomWorkloads } from '../support/random-workload-tests.js';
import { within } from '../support/within.js';

testRandomWorkloads([1]);

test('so does one whose copy and lanes run in worker threads, with pauses in between', async () => {
  const seed = 201;
  const work = migrateUnderWorkload({ seed, before: 800, during: 2000, pauses: 2, workerThreads: 2 });
  assert.equal((await within(RANDOM_MS, work, `the migration with seed ${seed}`)).differences, []);
});

test.run();
