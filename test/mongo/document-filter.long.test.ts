/** The migrations with kills of document-filter.mongo.test.ts, larger and with more seeds; seed 50 from 5.0. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { startPair } from '../support/replica-set.js';
import { migrateTenantWithKills } from '../support/tenant-migration.js';
import { within } from '../support/within.js';

const TEST_MS = 180_000;

for (const seed of [1, 2, 3, 4, 5, 6, 50]) {
  test(`documents that move in and out of a filter, over kills (-9), end as the filter has them (seed ${seed})`, async () => {
    const migrate = async () => {
      await using pair = await startPair(seed === 50 ? { source: { version: '5.0' } } : {});
      return await migrateTenantWithKills(pair, { seed, kills: 4, perTenant: 12_000 });
    };
    assert.equal(await within(TEST_MS, migrate(), 'the migration'), []);
  });
}

test.run();
