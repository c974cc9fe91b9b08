import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { AppError } from '../../src/errors.js';
import type { StartOptions } from '../../src/start/options.js';
import { assertEqualClusters, compareClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS, holdCommands, releaseCommands } from '../support/fail-points.js';
import { createUser, DESTINATION_PRIVILEGES, SOURCE_PRIVILEGES } from '../support/ferry-users.js';
import { DEFAULT_START, MigrationHarness } from '../support/migration-harness.js';
import { seedKinds } from '../support/seed-shop.js';
import { sharedPair } from '../support/shared-servers.js';
import { storedWhen } from '../support/stored-migration.js';
import { within } from '../support/within.js';

/** The first use of an old server fetches it. */
const TEST_MS = 240_000;
const HOLD_MS = 2000;

const { pair, source, destination } = await sharedPair(test, {
  auth: true,
  setParameters: FAIL_POINTS,
  source: { version: '5.0' },
});
const users = {
  source: { uri: await createUser(pair.source, source, { name: 'ferry', privileges: SOURCE_PRIVILEGES }) },
  destination: {
    uri: await createUser(pair.destination, destination, { name: 'ferry', privileges: DESTINATION_PRIVILEGES }),
  },
};

test.before.each(async () => {
  await seedKinds(source);
  await source.db('other').collection('things').insertOne({ n: 3 });
});

async function write(): Promise<void> {
  const db = source.db('shop');
  await db.collection('items').insertOne({ n: 4 });
  await db.collection('items').updateOne({ n: 1 }, { $set: { m: [1, 2] } });
  await db.collection('items').deleteOne({ n: 2 });
  await db.collection('log').insertMany([{ n: 5 }, { n: 6 }]);
  await source.db('other').collection('things').insertOne({ n: 7 });
}

test('from 5.0: an index that is created after the commit time fails the commit', async () => {
  const migrate = async () => {
    await using harness = await MigrationHarness.open(users);
    await harness.sync();
    await holdCommands(destination, { commands: ['collMod'] }, HOLD_MS);
    await harness.migration.commit();
    await storedWhen(destination, 'restoring', (record) => record['commit']?.step === 'restore');
    await source.db('shop').collection('items').createIndex({ m: 1 });
    const error = await harness.failure();
    assert.is(error.code, 'CatalogDiffers', error.message);
    assert.match(error.message, /shop\.items has different indexes \(m_1\)/);
    assert.not.ok(harness.snapshot.canWrite);
  };
  await within(TEST_MS, migrate(), 'the failing commit');
});

test('from 5.0: the documented roles are enough for a whole migration', async () => {
  const migrate = async () => {
    await using harness = await MigrationHarness.open(users);
    await harness.sync();
    await write();
    await harness.commit();
    await assertEqualClusters(source, destination);
  };
  await within(TEST_MS, migrate(), 'the migration');
});

test('from 5.0: a filter by names and expressions, and another name of the database', async () => {
  const migrate = async () => {
    await using harness = await MigrationHarness.open(users);
    await harness.sync({
      includeNamespaces: [
        { databaseRegex: { pattern: '^SH', options: 'i' }, collections: ['items'], collectionsRegex: regex('^lo') },
      ],
      excludeNamespaces: [{ database: 'shop', collections: ['few'] }],
      namespaceRemap: [{ from: 'shop', to: 'store' }],
    });
    await write();
    // Outside the filter the catalog may change.
    await source.db('other').collection('more').insertOne({ n: 8 });
    await harness.commit();
    const target = (db: string, coll: string) =>
      db === 'shop' && coll !== 'few' ? (['store', coll] as const) : undefined;
    assert.equal(await compareClusters(source, destination, { target }), []);
  };
  await within(TEST_MS, migrate(), 'the migration');
});

const regex = (pattern: string) => ({ pattern, options: '' });

const REFUSED: readonly (readonly [string, Partial<StartOptions>, RegExp])[] = [
  [
    '"sourceAndDestination"',
    { enableUserWriteBlocking: true },
    /^enableUserWriteBlocking "sourceAndDestination" needs/,
  ],
  ['reversible', { enableUserWriteBlocking: true, reversible: true }, /reversible needs MongoDB 6\.0/],
  ['afterDataCopy', { buildIndexes: 'afterDataCopy' }, /^buildIndexes "afterDataCopy" needs MongoDB 6\.0/],
];

test('from 5.0: what needs a source of 6.0 is refused by start, with all its reasons', async () => {
  const refuse = async () => {
    await using harness = await MigrationHarness.open(pair);
    for (const [name, options, text] of REFUSED) {
      const error = await harness.migration.start({ ...DEFAULT_START, ...options }).then(
        () => undefined,
        (reason: unknown) => AppError.from(reason),
      );
      assert.is(error?.code, 'OptionNotSupported', name);
      assert.match(error?.message ?? '', text);
      assert.is(harness.snapshot.state, 'IDLE');
    }
  };
  await within(TEST_MS, refuse(), 'the refusals');
});

for (const [name, change, code, text] of [
  [
    'a drop',
    () => source.db('shop').dropCollection('items'),
    'UnsupportedChange',
    /shop\.items was dropped, renamed or recreated|drop of shop\.items/,
  ],
  ['a new collection', () => source.db('shop').collection('new').insertOne({}), 'UnsupportedChange', /shop\.new/],
  ['a new index', () => source.db('shop').collection('items').createIndex({ m: 1 }), 'CatalogDiffers', /m_1/],
] as const) {
  test(`from 5.0: ${name} during the copy ends the migration by name`, async () => {
    const migrate = async () => {
      await using harness = await MigrationHarness.open(users);
      await holdCommands(source, { commands: ['find'], namespace: 'shop.items' }, HOLD_MS);
      await harness.migration.start(DEFAULT_START);
      await storedWhen(destination, 'the copy', ({ phase }) => phase === 'copy');
      await change();
      await releaseCommands(source);
      if (code === 'CatalogDiffers') {
        await harness.caughtUp();
        await harness.migration.commit();
      }
      const error = await harness.failure();
      assert.is(error.code, code, error.message);
      assert.match(error.message, text);
      assert.not(harness.snapshot.canWrite);
    };
    await within(TEST_MS, migrate(), 'the failure');
  });
}

test.run();
