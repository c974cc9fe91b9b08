import type { MongoClient } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type ClusterDifference, verifyClusters } from '../../src/compare/verify-clusters.js';
import { resolveStartOptions, type StartOptions } from '../../src/start/options.js';
import { assertEqualClusters } from '../support/compare-clusters.js';
import {
  createUser,
  DESTINATION_PRIVILEGES,
  type Privilege,
  SOURCE_PRIVILEGES,
  VERIFY_PRIVILEGES,
  withoutActions,
} from '../support/ferry-users.js';
import { DEFAULT_START, MigrationHarness } from '../support/migration-harness.js';
import type { ReplicaSet } from '../support/replica-set.js';
import { seedKinds } from '../support/seed-shop.js';
import { sharedPair } from '../support/shared-servers.js';
import { silentLogger } from '../support/silent-logger.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 60_000;
const BLOCKING = ['setUserWriteBlockMode', 'bypassWriteBlockingMode'];

const { pair, source, destination } = await sharedPair(test, { auth: true });
const from = await createUser(pair.source, source, { name: 'good', privileges: SOURCE_PRIVILEGES });
let users = 0;

test.before.each(() => seedKinds(source));

const open = async (privileges: readonly Privilege[]): Promise<MigrationHarness> =>
  MigrationHarness.open({
    source: { uri: from },
    destination: { uri: await createUser(pair.destination, destination, { name: `user${++users}`, privileges }) },
  });

const UNBLOCKED: Partial<StartOptions> = { enableUserWriteBlocking: 'none' };

for (const [name, options, missing] of [
  ['"none" without the two actions of the write block', UNBLOCKED, BLOCKING],
  ['without verification, no changeStream on the destination', { verification: { enabled: false } }, ['changeStream']],
  [
    'neither of them',
    { ...UNBLOCKED, verification: { enabled: false }, buildIndexes: 'beforeDataCopy' },
    [...BLOCKING, 'changeStream'],
  ],
] as const) {
  test(`the documented roles less what an option makes needless: ${name}`, async () => {
    const migrate = async () => {
      await using harness = await open(withoutActions(DESTINATION_PRIVILEGES, ...missing));
      await harness.sync(options);
      const db = source.db('shop');
      await db.collection('items').insertOne({ n: 3 });
      await db.collection('items').createIndex({ m: 1 }, { expireAfterSeconds: 3600 });
      await db.collection('log').insertOne({ n: 4 });
      await db.collection('items').rename('goods');
      await db.collection('late').insertOne({ n: 5 });
      await harness.commit();
      await assertEqualClusters(source, destination);
    };
    await within(TEST_MS, migrate(), 'the migration');
  });
}

test('a block that somebody else sets on the destination holds the migration up, says so, and costs it nothing', async () => {
  const migrate = async () => {
    await using harness = await open(withoutActions(DESTINATION_PRIVILEGES, ...BLOCKING));
    await harness.sync(UNBLOCKED);
    await destination.db('admin').command({ setUserWriteBlockMode: 1, global: true });
    const items = source.db('shop').collection('items');
    await items.insertMany([{ n: 10 }, { n: 11 }]);
    await items.updateOne({ n: 1 }, { $set: { m: 1 } });
    await items.deleteOne({ n: 2 });
    const isTold = () => harness.snapshot.warnings.some((text) => /setUserWriteBlockMode: 1, global: false/.test(text));
    await eventually(30_000, isTold, 'a warning that says what to do');
    assert.is(harness.snapshot.state, 'RUNNING');
    const indexes = await destination.db('shop').collection('items').indexes();
    assert.equal(indexes.map(({ name }) => name).sort(), ['_id_', 'n_1'], 'indexes are not to blame');
    await destination.db('admin').command({ setUserWriteBlockMode: 1, global: false });
    await harness.commit();
    await assertEqualClusters(source, destination);
    assert.not.ok(isTold(), 'the warning goes with the block');
  };
  await within(TEST_MS * 2, migrate(), 'the migration');
});

test('without dropDatabase a database is emptied, its name waited for, and both are told', async () => {
  const migrate = async () => {
    await source.db('Gone').collection('a').insertOne({ n: 1 });
    await using harness = await open(withoutActions(DESTINATION_PRIVILEGES, 'dropDatabase'));
    const found = await harness.migration.check(DEFAULT_START);
    assert.ok(found.some(({ name, severity }) => name === 'DropDatabaseNotGranted' && severity === 'warning'));
    await harness.sync();
    const isTold = (text: RegExp) => harness.snapshot.warnings.some((each) => text.test(each));
    await source.db('Gone').dropDatabase();
    await eventually(30_000, () => isTold(/keeps Gone as an empty database.* dropDatabase/), 'a warning of the name');
    assert.equal(await destination.db('Gone').listCollections().toArray(), []);
    await source.db('gone').collection('a').insertOne({ n: 2 });
    await eventually(30_000, () => isTold(/refuses the database gone while .* Grant it/), 'what to do');
    await destination.db('Gone').command({ dropDatabase: 1 });
    await harness.commit();
    await assertEqualClusters(source, destination);
  };
  await within(TEST_MS * 2, migrate(), 'the migration');
});

test('the documented role is enough for a comparison of two clusters', async () => {
  const compare = async () => {
    await destination.db('shop').collection('items').insertOne({ n: 1 });
    const uriOf = (set: ReplicaSet, root: MongoClient) =>
      createUser(set, root, { name: 'verify', privileges: VERIFY_PRIVILEGES });
    const differences: ClusterDifference[] = [];
    const config = {
      cluster0: await uriOf(pair.source, source),
      cluster1: await uriOf(pair.destination, destination),
      loadLevel: 1,
    };
    await verifyClusters(
      {
        config,
        wanted: resolveStartOptions(DEFAULT_START),
        logger: silentLogger,
        writesStopped: Promise.resolve(),
        onProgress: () => undefined,
      },
      (difference) => differences.push(difference),
      new AbortController().signal,
    );
    assert.ok(differences.length >= 3, JSON.stringify(differences));
  };
  await within(TEST_MS, compare(), 'the comparison');
});

/** mongosync's manual, user permissions, self-managed clusters; without write blocking there and with it here. */
const BUILT_IN = ['backup', 'clusterMonitor', 'readAnyDatabase'];
const BUILT_IN_TO_WRITE = ['clusterManager', 'clusterMonitor', 'readWriteAnyDatabase', 'restore'];

test('the built-in roles that mongosync documents are enough, with the write block of the destination, too', async () => {
  const check = async () => {
    const uris = {
      source: await createUser(pair.source, source, { name: 'builtInSource', roles: BUILT_IN }),
      destination: await createUser(pair.destination, destination, { name: 'builtIn', roles: BUILT_IN_TO_WRITE }),
    };
    await using harness = await MigrationHarness.open({
      source: { uri: uris.source },
      destination: { uri: uris.destination },
    });
    const found = await harness.migration.check(DEFAULT_START);
    assert.equal(
      found.map(({ name }) => name),
      ['DropDatabaseNotGranted', 'UsersNotMigrated', 'ShortOplogWindow'],
    );
    await harness.sync();
    await harness.commit();
    await assertEqualClusters(source, destination);
  };
  await within(TEST_MS, check(), 'the migration');
});

test.run();
