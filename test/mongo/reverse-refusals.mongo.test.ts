import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { StartOptions } from '../../src/start/options.js';
import { assertEqualClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS, refuseCommands, releaseCommands } from '../support/fail-points.js';
import { DEFAULT_START, MigrationHarness } from '../support/migration-harness.js';
import { refusal } from '../support/refusal.js';
import { sharedPair } from '../support/shared-servers.js';
import { METADATA_DB } from '../support/stored-migration.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 90_000;
const REVERSIBLE = { enableUserWriteBlocking: true, reversible: true } as const;
const UNAUTHORIZED = 13;
const ILLEGAL_OPERATION = 20;

const { pair, source: one, destination: two } = await sharedPair(test, { setParameters: FAIL_POINTS });

test.before.each(async () => {
  const items = one.db('shop').collection('items');
  await items.insertMany([{ n: 1 }, { n: 2 }]);
  await items.createIndex({ n: 1 }, { unique: true });
});

async function commitReversible(harness: MigrationHarness): Promise<void> {
  await harness.sync(REVERSIBLE);
  await harness.commit();
}

const isTurned = ({ state, canCommit }: { state: string; canCommit: boolean }): boolean =>
  state === 'RUNNING' && canCommit;

test('a privilege that is lacking in the middle of a reversal is waited for by its name, and the reversal goes on', async () => {
  const reverse = async () => {
    await using harness = await MigrationHarness.open(pair);
    await commitReversible(harness);
    await refuseCommands(one, { commands: ['collMod'] }, UNAUTHORIZED);
    await harness.migration.reverse();
    const isTold = () =>
      harness.snapshot.warnings.some((each) => /reversing the migration: collMod of shop/.test(each));
    await eventually(30_000, isTold, 'the refusal being told');
    assert.is(harness.snapshot.state, 'REVERSING');
    await releaseCommands(one);
    await harness.until(isTurned, 'canCommit after the reversal');
    await harness.commit();
    await assertEqualClusters(one, two);
  };
  await within(TEST_MS, reverse(), 'the reversal');
});

test('what a server refuses after the record has moved ends the process in time, and a restart goes on', async () => {
  const reverse = async () => {
    {
      await using harness = await MigrationHarness.open(pair, { retryLimitMs: 1000 });
      await commitReversible(harness);
      await refuseCommands(one, { commands: ['collMod'] }, ILLEGAL_OPERATION);
      await harness.migration.reverse();
      const error = await harness.failure();
      assert.is(error.code, 'CommandRefused', error.message);
      assert.match(error.message, /reversing the migration: collMod of shop/);
    }
    assert.is((await one.db(METADATA_DB).collection('migration').findOne())?.['failure'], undefined);
    await releaseCommands(one);
    await using harness = await MigrationHarness.open(pair);
    await harness.until(isTurned, 'canCommit after the reversal');
  };
  await within(TEST_MS, reverse(), 'the reversal');
});

for (const [name, change] of [
  ['an index', () => one.db('shop').collection('items').createIndex({ m: 1 })],
  ['a collection', () => one.db('shop').createCollection('more')],
  ['a rename', () => one.db('shop').collection('items').rename('goods')],
] as const) {
  test(`ReverseSourceModified: DDL on the old source since the commit: ${name}`, async () => {
    const refuse = async () => {
      await using harness = await MigrationHarness.open(pair);
      await commitReversible(harness);
      await one.db('admin').command({ setUserWriteBlockMode: 1, global: false });
      await change();
      const error = await refusal(harness.migration.reverse());
      assert.is(error.code, 'ReverseSourceModified', error.message);
      assert.match(error.message, /(createIndexes|create|rename) of shop\.(items|more) on cluster0/);
      assert.is(harness.snapshot.state, 'COMMITTED');
    };
    await within(TEST_MS, refuse(), 'the refusal');
  });
}

const SOME = [{ database: 'shop', collections: [] }];
const REFUSED: readonly (readonly [string, Partial<StartOptions>])[] = [
  ['another block', { enableUserWriteBlocking: 'destinationOnly' }],
  ['no block', { enableUserWriteBlocking: 'none' }],
  ['includeNamespaces', { includeNamespaces: SOME }],
  ['excludeNamespaces', { excludeNamespaces: SOME }],
  ['preExistingDestinationData', { includeNamespaces: SOME, preExistingDestinationData: true }],
  ['buildIndexes "never"', { buildIndexes: 'never' }],
  ['namespaceRemap', { namespaceRemap: [{ from: 'shop', to: 'store' }] }],
  ['documentFilter', { documentFilter: { field: 'n', matchValues: [1] } }],
];

test('reversible is refused by start, and by check, with each option that it does not go with', async () => {
  const refuse = async () => {
    await using harness = await MigrationHarness.open(pair);
    for (const [name, options] of REFUSED) {
      const wanted = { ...DEFAULT_START, ...REVERSIBLE, ...options };
      for (const call of ['start', 'check'] as const) {
        const error = await refusal(harness.migration[call](wanted));
        assert.is(error.code, 'InvalidRequest', name);
        assert.ok(
          error.violations.some(({ field }) => field === 'reversible'),
          name,
        );
      }
      assert.is(harness.snapshot.state, 'IDLE');
    }
  };
  await within(TEST_MS, refuse(), 'the refusals');
});

test.run();
