import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { assertEqualClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS, refuseCommands, releaseCommands, touchedCommands } from '../support/fail-points.js';
import { DEFAULT_START, MigrationHarness } from '../support/migration-harness.js';
import { startPair } from '../support/replica-set.js';
import { sharedPair } from '../support/shared-servers.js';
import { storedMigration } from '../support/stored-migration.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 180_000;
/** Named and unnamed, of which some were once taken for the end of a migration, and one that no server has. */
const CODES = [1, 8, 18, 20, 46, 72, 93, 94, 96, 100, 117, 211, 279, 355, 365, 462, 4711, 14031];

const { pair, source, destination } = await sharedPair(test, { setParameters: FAIL_POINTS });
const items = source.db('shop').collection<{ _id: number; n: number }>('items');

test.before.each(async () => {
  await items.insertMany(Array.from({ length: 500 }, (_, n) => ({ _id: n, n })));
  await items.createIndex({ n: 1 });
});

async function arrives(harness: MigrationHarness, _id: number): Promise<void> {
  const copies = destination.db('shop').collection<{ _id: number }>('items');
  await harness.until(() => true, 'running');
  await eventually(60_000, async () => (await copies.findOne({ _id })) !== null, `document ${_id}`);
}

test('whatever code a command meets, the migration goes on once the server takes it', async () => {
  const work = async () => {
    await using harness = await MigrationHarness.open(pair);
    await harness.sync();
    let next = 1000;
    for (const code of CODES) {
      // Before: what the migration does by itself may use up the refusals at once.
      const refused = await Promise.all([source, destination].map(touchedCommands));
      await refuseCommands(destination, { commands: ['insert', 'update', 'delete'], times: 2 }, code);
      await refuseCommands(source, { commands: ['getMore', 'aggregate', 'find', 'appendOplogNote'], times: 2 }, code);
      await items.insertOne({ _id: ++next, n: next });
      await items.updateOne({ _id: next - 500 }, { $inc: { n: 1 } });
      await arrives(harness, next);
      // The event may have come by a read that was under way: the next one is refused.
      const allRefused = async () => {
        const now = await Promise.all([source, destination].map(touchedCommands));
        return now.every((count, n) => count > (refused[n] ?? count));
      };
      await eventually(20_000, allRefused, `code ${code}: a refusal on each side`);
      await Promise.all([source, destination].map(releaseCommands));
    }
    await harness.commit();
  };
  await within(TEST_MS, work(), 'the migration');
  await assertEqualClusters(source, destination);
});

test('a renewal of the lease that is refused once, whatever the code, ends nothing', async () => {
  const work = async () => {
    await using harness = await MigrationHarness.open(pair);
    await harness.sync();
    const lease = 'mongosync_reserved_for_internal_use.lease';
    for (const code of [20, 72, 4711]) {
      await refuseCommands(destination, { commands: ['update'], namespace: lease, times: 1 }, code);
      const isTold = (line: string) => line.includes('lease could not be renewed') && line.includes(`(code ${code})`);
      await harness.until(() => harness.logLines.some(isTold), 'the renewal that is refused');
    }
    await releaseCommands(destination);
    await items.insertOne({ _id: -1, n: 0 });
    await arrives(harness, -1);
    await harness.commit();
  };
  await within(TEST_MS, work(), 'the migration');
  await assertEqualClusters(source, destination);
});

test('a code that never passes ends the process with 1 and is not stored: a restart goes on', async () => {
  const work = async () => {
    {
      await using harness = await MigrationHarness.open(pair, { retryLimitMs: 4000 });
      await harness.sync();
      await refuseCommands(destination, { commands: ['insert'], namespace: 'shop.items' }, 4711);
      await items.insertOne({ _id: -1, n: 0 });
      await harness.until(
        ({ warnings }) => warnings.some((each) => /insert of shop\.items.*\(code 4711\)/.test(each)),
        'a warning that names it',
      );
      assert.is(harness.snapshot.canCommit, false);
      const error = await harness.failure();
      assert.equal([error.code, error.row.exit], ['CommandRefused', 1]);
      assert.match(error.message, /insert of shop\.items on cluster1.*\(code 4711\)/);
    }
    assert.is((await storedMigration(destination))?.['failure'], undefined);
    await releaseCommands(destination);
    await using again = await MigrationHarness.open(pair);
    await again.commit();
  };
  await within(TEST_MS, work(), 'the migration');
  await assertEqualClusters(source, destination);
});

test('inserts that the server fails for no fault of theirs cost no index and end nothing', async () => {
  const work = async () => {
    await using harness = await MigrationHarness.open(pair);
    await harness.sync();
    const copies = destination.db('shop').collection<{ _id: number }>('items');
    await destination.db('admin').command({ configureFailPoint: 'failAllInserts', mode: 'alwaysOn' });
    try {
      await items.insertOne({ _id: -1, n: 0 });
      await harness.until(
        ({ warnings }) => warnings.some((each) => /shop\.items/.test(each)),
        'a warning that names the collection',
      );
    } finally {
      await destination.db('admin').command({ configureFailPoint: 'failAllInserts', mode: 'off' });
    }
    await arrives(harness, -1);
    assert.is((await copies.indexes()).length, 2);
    assert.not.ok(harness.logLines.some((line) => line.includes('refuse a document')));
    await harness.commit();
  };
  await within(TEST_MS, work(), 'the migration');
  await assertEqualClusters(source, destination);
});

test('a lowered featureCompatibilityVersion of the destination is named and waited for', async () => {
  const setFcv = (version: string) => destination.db('admin').command({ setFeatureCompatibilityVersion: version });
  const work = async () => {
    try {
      await using harness = await MigrationHarness.open(pair, { disableVerification: true });
      await harness.migration.start(DEFAULT_START);
      await harness.until((snapshot) => snapshot.canCommit, 'canCommit');
      await destination.db('admin').command({ setUserWriteBlockMode: 1, global: false });
      await setFcv('5.0');
      await items.insertOne({ _id: -1, n: 0 });
      await items.createIndex({ m: 1 });
      await harness.until(
        ({ warnings }) => warnings.some((each) => /featureCompatibilityVersion of cluster1.* is 5\.0.*6\.0/.test(each)),
        'a warning that names it',
      );
      await setFcv('6.0');
      await arrives(harness, -1);
      await harness.commit();
    } finally {
      await setFcv('6.0');
    }
  };
  await within(TEST_MS, work(), 'the migration');
  await assertEqualClusters(source, destination);
});

test('a password that is changed on the source ends the process with 1, and a restart with the new one goes on', async () => {
  const work = async () => {
    await using guarded = await startPair({ source: { auth: true } });
    const admin = (await guarded.source.connect()).db('admin');
    await admin.command({ createUser: 'ferry', pwd: 'old', roles: ['root'] });
    const connecting = (password: string) => ({
      source: { uri: guarded.source.uri.replace(/\/\/[^@]*@/, `//ferry:${password}@`) },
      destination: guarded.destination,
    });
    const orders = admin.client.db('shop').collection<{ _id: number }>('orders');
    await orders.insertOne({ _id: 1 });
    {
      await using harness = await MigrationHarness.open(connecting('old'), { retryLimitMs: 12_000 });
      await harness.sync();
      await admin.command({ updateUser: 'ferry', pwd: 'new' });
      // Connections that are open stay so; new ones meet the new password.
      await guarded.source.restart();
      await harness.until(
        ({ warnings }) => warnings.some((each) => each.includes('Authentication failed')),
        'a warning that names it',
      );
      const error = await harness.failure();
      assert.is(error.row.exit, 1, error.message);
      assert.match(error.message, /Authentication failed/, error.message);
    }
    const copy = await guarded.destination.connect();
    assert.is((await storedMigration(copy))?.['failure'], undefined);
    await orders.insertOne({ _id: 2 });
    await using again = await MigrationHarness.open(connecting('new'));
    await again.commit();
    await assertEqualClusters(admin.client, copy);
  };
  await within(TEST_MS, work(), 'the migration');
});

test.run();
