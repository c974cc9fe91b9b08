/** Random workloads with DDL end equal: one seed of each kind here, more in random-workload.long.test.ts. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { migrateUnderWorkload } from '../support/random-migration.js';
import { within } from '../support/within.js';

const TEST_MS = 200_000;
/** A failing seed is written here to be run again; `SEED=n` runs that one alone. */
const SEEDS = process.env['SEED'] === undefined ? [1] : [Number(process.env['SEED'])];

for (const seed of SEEDS) {
  test(`a random workload with DDL ends equal (seed ${seed})`, async () => {
    const { differences, report } = await within(
      TEST_MS,
      migrateUnderWorkload({ seed, before: 800, during: 2500 }),
      `the migration with seed ${seed}`,
    );
    assert.ok(report.operations >= 3000);
    assert.equal(differences, []);
  });

  test(`it does so with pauses in between (seed ${seed})`, async () => {
    const work = migrateUnderWorkload({ seed: seed + 100, before: 500, during: 2000, pauses: 5 });
    assert.equal((await within(TEST_MS, work, `the migration with seed ${seed + 100}`)).differences, []);
  });
}

test('so does one whose copy and lanes run in worker threads, with pauses in between', async () => {
  const seed = 201;
  const work = migrateUnderWorkload({ seed, before: 800, during: 2000, pauses: 2, workerThreads: 2 });
  assert.equal((await within(TEST_MS, work, `the migration with seed ${seed}`)).differences, []);
});

test.run();
