/** Tests that random workloads with DDL end equal, with and without pauses. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { migrateUnderWorkload, type RandomMigration } from './random-migration.js';
import { within } from './within.js';

/** How long one migration under a random workload may take, in milliseconds. */
export const RANDOM_MS = 200_000;

/** Adds two tests for each seed. `SEED=n` runs that one alone: a failing seed is named by its test. */
export function testRandomWorkloads(seeds: readonly number[]): void {
  const asked = process.env['SEED'];
  for (const seed of asked === undefined ? seeds : [Number(asked)]) {
    test(`a random workload with DDL ends equal (seed ${seed})`, async () => {
      const work = migrateUnderWorkload({ seed, before: 800, during: 2500 });
      const { differences, report } = await within(RANDOM_MS, work, `the migration with seed ${seed}`);
      assert.ok(report.operations >= 3000);
      assert.equal(differences, []);
    });

    testWithPauses({ seed: seed + 100, before: 500, during: 2000, pauses: 5 });
  }
}

/** Adds a test of one migration that is paused meanwhile. */
export function testWithPauses(migration: RandomMigration): void {
  const { seed } = migration;
  test(`a random workload with DDL and pauses in between ends equal (seed ${seed})`, async () => {
    const work = migrateUnderWorkload(migration);
    assert.equal((await within(RANDOM_MS, work, `the migration with seed ${seed}`)).differences, []);
  });
}
