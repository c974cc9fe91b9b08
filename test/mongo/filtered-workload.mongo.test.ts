/** Random workloads under filters and remaps; over kills in filtered-workload.long.test.ts. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { migrateUnderWorkload, type RandomMigration } from '../support/random-migration.js';
import { within } from '../support/within.js';
import { PART, WHOLE } from '../support/workload-filters.js';

const TEST_MS = 200_000;
/** A failing seed is written here to be run again; `SEED=n` runs that one alone. */
const SEEDS = process.env['SEED'] === undefined ? [1] : [Number(process.env['SEED'])];

const SCENARIOS: readonly (readonly [what: string, seed: number, scenario: Partial<RandomMigration>])[] = [
  ['of whole databases under other names', 0, WHOLE],
  ['of a part of a database', 100, PART],
];

for (const [what, offset, scenario] of SCENARIOS) {
  for (const base of SEEDS) {
    const seed = base + offset;
    test(`a random workload with DDL, and pauses, ends equal in a migration ${what} (seed ${seed})`, async () => {
      const work = migrateUnderWorkload({ seed, before: 200, during: 700, pauses: 2, ...scenario });
      const { differences } = await within(TEST_MS, work, `the migration with seed ${seed}`);
      assert.equal(differences, []);
    });
  }
}

test.run();
