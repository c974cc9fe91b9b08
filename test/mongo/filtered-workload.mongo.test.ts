import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { CompareOptions } from '../support/compare-clusters.js';
import { migrateWithKills } from '../support/kill-migration.js';
import { migrateUnderWorkload, type RandomMigration } from '../support/random-migration.js';
import { within } from '../support/within.js';

const TEST_MS = 200_000;
/** A failing seed is written here to be run again; `SEED=n` runs that one alone. */
const SEEDS = process.env['SEED'] === undefined ? [1] : [Number(process.env['SEED'])];

const NAMES: Readonly<Record<string, string>> = { work0: 'home', work2: 'work1' };

/** Two of three databases, wholly, under other names: collections move in and out of them by every kind of rename. */
const WHOLE = {
  start: {
    includeNamespaces: [{ databaseRegex: { pattern: '^work[02]\\z', options: '' }, collections: [] }],
    namespaceRemap: Object.entries(NAMES).map(([from, to]) => ({ from, to })),
  },
  target: ((db, coll) => {
    const to = NAMES[db];
    return to === undefined ? undefined : [to, coll];
  }) satisfies CompareOptions['target'],
};

/** A database less some of its collections: what `$out` and convertToCapped write must be found by its final name. */
const PART = {
  start: {
    includeNamespaces: [
      {
        database: 'work0',
        collections: ['capped'],
        collectionsRegex: { pattern: '^(moving|RESULT|view)', options: 'i' },
      },
    ],
    excludeNamespaces: [{ database: 'work0', collections: ['view1'] }],
  },
  target: ((db, coll) =>
    db === 'work0' && (coll === 'capped' || (/^(moving|result|view)/.test(coll) && coll !== 'view1'))
      ? [db, coll]
      : undefined) satisfies CompareOptions['target'],
  // It moves collections over the filter's border, which is not permitted.
  without: ['renameAcross'] as const,
};

const SCENARIOS: readonly (readonly [what: string, seed: number, scenario: Partial<RandomMigration>])[] = [
  ['of whole databases under other names', 0, WHOLE],
  ['of a part of a database', 100, PART],
];

for (const [what, offset, scenario] of SCENARIOS) {
  for (const base of SEEDS) {
    const seed = base + offset;
    test(`a random workload with DDL, and pauses, ends equal in a migration ${what} (seed ${seed})`, async () => {
      const work = migrateUnderWorkload({ seed, before: 500, during: 1800, pauses: 3, ...scenario });
      const { differences } = await within(TEST_MS, work, `the migration with seed ${seed}`);
      assert.equal(differences, []);
    });
  }
}

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
