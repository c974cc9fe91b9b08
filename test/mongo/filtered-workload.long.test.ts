/** Kills under a filter and a remap: kills.mongo.test.ts has them without, document-filter.mongo.test.ts with a filter. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { migrateWithKills } from '../support/kill-migration.js';
import { within } from '../support/within.js';
import { PART } from '../support/workload-filters.js';

const TEST_MS = 200_000;

test('a migration of a part of a database, under another name, killed (-9) again and again, ends equal', async () => {
  const { start, target, without } = PART;
  const work = migrateWithKills({
    seed: 7,
    kills: 5,
    operationsBetween: 400,
    bulkDocuments: 40_000,
    start: {
      ...start,
      includeNamespaces: [...start.includeNamespaces, { database: 'bulk' }],
      namespaceRemap: [
        { from: { database: 'work0' }, to: { database: 'home' } },
        { from: { database: 'bulk' }, to: { database: 'work0' } },
      ],
    },
    target: (db, coll) => {
      if (db === 'bulk') return ['work0', coll];
      return target(db, coll) === undefined ? undefined : ['home', coll];
    },
    without,
  });
  assert.equal((await within(TEST_MS, work, 'the migration with kills')).differences, []);
});

test.run();
