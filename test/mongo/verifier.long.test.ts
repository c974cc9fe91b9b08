import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { migrateUnderWorkload } from '../support/random-migration.js';
import { within } from '../support/within.js';

for (let seed = 501; seed <= 510; seed++) {
  test(`a long random workload without a fault ends verified, with no false alarm (seed ${seed})`, async () => {
    const work = migrateUnderWorkload({ seed, before: 1500, during: 20_000, pauses: seed % 3 });
    const { differences, alarms } = await within(900_000, work, 'the migration');
    assert.equal([differences, alarms], [[], []]);
  });
}

test.run();
