import { MongoClient } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { assertEqualClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS, holdCommands, refuseCommands, releaseCommands } from '../support/fail-points.js';
import { FerryClient } from '../support/ferry-client.js';
import { FerryProcess } from '../support/ferry-process.js';
import { createUser, DESTINATION_PRIVILEGES, SOURCE_PRIVILEGES } from '../support/ferry-users.js';
import { DEFAULT_START, MigrationHarness } from '../support/migration-harness.js';
import { insertRefusal } from '../support/refusal.js';
import { startPair } from '../support/replica-set.js';
import { sharedPair } from '../support/shared-servers.js';
import { isBlocked, resetClusters, storedMigration, storedWhen } from '../support/stored-migration.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 90_000;
const HOLD_MS = 2000;
const USER_WRITES_BLOCKED = 371;
const BOTH = { ...DEFAULT_START, enableUserWriteBlocking: 'sourceAndDestination' };

const { pair, source, destination } = await sharedPair(test, { setParameters: FAIL_POINTS });

test.before.each(async () => {
  await seed(source);
});

async function seed(client: MongoClient): Promise<void> {
  const items = client.db('shop').collection<{ sku: unknown }>('items');
  await items.insertMany([{ sku: 1 }, { sku: 2 }]);
  await items.createIndex({ sku: 1 }, { unique: true, sparse: true });
}

const refusalCode = (client: MongoClient) => insertRefusal(client, 'shop', 'items');

/** One application on each side, through a whole migration. */
async function migrateBlocked(
  harness: MigrationHarness,
  applications: readonly [MongoClient, MongoClient],
  admins: readonly [MongoClient, MongoClient],
): Promise<void> {
  const [onSource, onDestination] = applications;
  await harness.sync(BOTH);
  assert.is(await refusalCode(onSource), undefined, 'the source, before the commit');
  assert.is(await refusalCode(onDestination), USER_WRITES_BLOCKED, 'the destination, before the commit');
  await harness.caughtUp();
  await holdCommands(admins[1], { commands: ['collMod'], times: 1 }, HOLD_MS);
  await harness.migration.commit();
  await storedWhen(admins[1], 'the commit time', ({ commit }) => commit?.time !== undefined);
  assert.is(await refusalCode(onSource), USER_WRITES_BLOCKED, 'the source, once the commit time is taken');
  assert.is(await refusalCode(onDestination), USER_WRITES_BLOCKED, 'the destination, in the commit');
  await harness.until(({ canWrite }) => canWrite, 'canWrite');
  assert.is(await refusalCode(onSource), USER_WRITES_BLOCKED, 'the source, after the commit');
  await harness.until(({ state }) => state === 'COMMITTED', 'COMMITTED');
  await assertEqualClusters(admins[0], admins[1]);
  assert.is(await refusalCode(onDestination), undefined, 'the destination, after the commit');
}

test('access control off: the source is blocked from the commit on, the destination until canWrite', async () => {
  const migrate = async () => {
    await using harness = await MigrationHarness.open(pair);
    await migrateBlocked(harness, [source, destination], [source, destination]);
  };
  await within(TEST_MS, migrate(), 'the migration');
});

/** As documented: the source's user may block, and nothing else that writes. */
const BLOCKING_SOURCE = [
  ...SOURCE_PRIVILEGES,
  { resource: { cluster: true }, actions: ['setUserWriteBlockMode'] },
] as const;

test('access control on: users with the documented roles do it, and those who may bypass a block are named', async () => {
  const migrate = async () => {
    await using guarded = await startPair({ auth: true, setParameters: FAIL_POINTS });
    const roots = await Promise.all([guarded.source.connect(), guarded.destination.connect()]);
    await seed(roots[0]);
    const application = { name: 'app', roles: ['readWriteAnyDatabase', 'dbAdminAnyDatabase'] };
    const clients = [
      new MongoClient(await createUser(guarded.source, roots[0], application)),
      new MongoClient(await createUser(guarded.destination, roots[1], application)),
    ] as const;
    const bypass = { resource: { cluster: true }, actions: ['bypassWriteBlockingMode'] };
    await createUser(guarded.source, roots[0], { name: 'restorer', roles: ['restore'] });
    await createUser(guarded.destination, roots[1], { name: 'custom', privileges: [bypass] });
    const source = { uri: await createUser(guarded.source, roots[0], { name: 'from', privileges: BLOCKING_SOURCE }) };
    const weak = { uri: await createUser(guarded.source, roots[0], { name: 'weak', privileges: SOURCE_PRIVILEGES }) };
    const to = { name: 'to', privileges: DESTINATION_PRIVILEGES, roles: ['userAdminAnyDatabase'] };
    const destination = { uri: await createUser(guarded.destination, roots[1], to) };
    try {
      {
        await using harness = await MigrationHarness.open({ source: weak, destination });
        const found = await harness.migration.check(BOTH);
        const missing = found.find(({ name }) => name === 'MissingPrivilege');
        assert.match(
          missing?.description ?? '',
          /cluster0 lacks actions for enableUserWriteBlocking on \{cluster: true\}: setUserWriteBlockMode$/,
        );
        const single = await harness.migration.check(DEFAULT_START);
        assert.not(
          single.some(({ name }) => name === 'MissingPrivilege'),
          'only this mode asks for it',
        );
        const reversible = await harness.migration.check({ ...BOTH, reversible: true });
        const lacking = reversible.filter(({ name }) => name === 'MissingPrivilege').map((each) => each.description);
        for (const action of ['bypassWriteBlockingMode', 'insert', 'collMod'])
          assert.match(lacking[0] ?? '', new RegExp(`cluster0 lacks .*\\b${action}\\b`));
        assert.match(lacking[1] ?? '', /cluster1 lacks .*collStats/);
      }
      await using harness = await MigrationHarness.open({ source, destination });
      const named = (await harness.migration.check(BOTH)).filter(({ name }) => name === 'UsersBypassWriteBlock');
      assert.is(named.length, 1, 'users of the source may not be read by its user');
      assert.match(named[0]?.description ?? '', /custom@admin/);
      assert.match(named[0]?.description ?? '', /root@admin/);
      assert.not.match(named[0]?.description ?? '', /app@admin|to@admin/);
      await migrateBlocked(harness, clients, [roots[0], roots[1]]);
      assert.ok(harness.snapshot.warnings.some((text) => text.includes('custom@admin')));
    } finally {
      await Promise.all(clients.map((client) => client.close()));
    }
  };
  await within(TEST_MS, migrate(), 'the migration');
});

test('open transactions on the source are named, then the commit is given up; it can be called again', async () => {
  const commit = async () => {
    await using harness = await MigrationHarness.open(pair, { blockLimitMs: 4000 });
    await harness.sync(BOTH);
    const session = source.startSession();
    session.startTransaction();
    const items = source.db('shop').collection('items');
    await items.insertOne({ by: 'a transaction' }, { session });
    await harness.migration.commit();
    await harness.until(
      ({ warnings }) => warnings.some((text) => /could not be blocked .* session .* open for \d+ s/.test(text)),
      'the warning',
    );
    assert.is(harness.snapshot.state, 'COMMITTING');
    await harness.until(({ state }) => state === 'RUNNING', 'RUNNING again');
    assert.ok(harness.snapshot.warnings.some((text) => text.startsWith('The commit was given up')));
    assert.not(await isBlocked(source));
    assert.is(await refusalCode(source), undefined, 'applications go on');
    const stored = await storedMigration(destination);
    assert.equal([stored?.['state'], stored?.['commit'], stored?.['failure']], ['RUNNING', undefined, undefined]);
    await session.commitTransaction();
    await session.endSession();
    await harness.commit();
    assert.not(harness.snapshot.warnings.some((text) => text.includes('given up')));
    await assertEqualClusters(source, destination);
    assert.is(await items.countDocuments({ by: 'a transaction' }), 1);
  };
  await within(TEST_MS, commit(), 'the commits');
});

test('a transaction that ends in time only delays the commit', async () => {
  const commit = async () => {
    await using harness = await MigrationHarness.open(pair);
    await harness.sync(BOTH);
    const session = source.startSession();
    session.startTransaction();
    await source.db('shop').collection('items').insertOne({ by: 'a transaction' }, { session });
    await harness.migration.commit();
    await harness.until(
      ({ warnings }) => warnings.some((text) => text.includes('could not be blocked')),
      'the warning',
    );
    await session.commitTransaction();
    await session.endSession();
    await harness.until(({ state }) => state === 'COMMITTED', 'COMMITTED');
    assert.not(harness.snapshot.warnings.some((text) => text.includes('could not be blocked')));
    await assertEqualClusters(source, destination);
    assert.is(await destination.db('shop').collection('items').countDocuments({ by: 'a transaction' }), 1);
  };
  await within(TEST_MS, commit(), 'the commit');
});

test('a source that refuses to be blocked leaves the migration running', async () => {
  const commit = async () => {
    await using harness = await MigrationHarness.open(pair);
    await harness.sync(BOTH);
    await refuseCommands(source, { commands: ['setUserWriteBlockMode'], times: 1 }, 13);
    await harness.migration.commit();
    await harness.until(({ warnings }) => warnings.some((text) => text.includes('given up')), 'the warning');
    await harness.until(({ state }) => state === 'RUNNING', 'RUNNING again');
    await harness.commit();
    await assertEqualClusters(source, destination);
  };
  await within(TEST_MS, commit(), 'the commits');
});

test('a commit that fails before its point of no return gives the source back; a stranger’s block stays', async () => {
  const fail = async () => {
    for (const isForeign of [false, true]) {
      await resetClusters(source, destination);
      await seed(source);
      await using harness = await MigrationHarness.open(pair);
      if (isForeign) await source.db('admin').command({ setUserWriteBlockMode: 1, global: true });
      const found = await harness.migration.check(BOTH);
      assert.is(
        found.some(({ name }) => name === 'SourceWritesBlocked'),
        isForeign,
      );
      await harness.sync(BOTH);
      await holdCommands(destination, { commands: ['collMod'], times: 1 }, HOLD_MS);
      await harness.migration.commit();
      await storedWhen(destination, 'the restoring', ({ commit }) => commit?.step === 'restore');
      assert.ok(await isBlocked(source));
      // As somebody who may bypass the block.
      const late = { insert: 'items', documents: [{ by: 'a bypass' }], mayBypassWriteBlocking: true };
      await source.db('shop').command(late);
      assert.is((await harness.failure()).code, 'SourceModifiedAfterCommit');
      assert.is(await isBlocked(source), isForeign, 'only what was set is lifted');
      assert.ok(await isBlocked(destination));
    }
  };
  await within(TEST_MS, fail(), 'the failures');
});

test('killed between noting and setting the block, and between setting it and the commit time: the commit goes on', async () => {
  const killAndRestart = async () => {
    for (const isSet of [false, true]) {
      await resetClusters(source, destination);
      await seed(source);
      await using ferry = await FerryProcess.between(pair);
      {
        using client = new FerryClient(ferry.grpcTarget);
        await client.start({ enableUserWriteBlocking: true });
        await client.waitForCanCommit();
        const command = isSet ? 'appendOplogNote' : 'setUserWriteBlockMode';
        await holdCommands(source, { commands: [command] }, HOLD_MS);
        await client.commit();
      }
      const noted = await storedWhen(destination, 'the note', (record) => record['blockedSource'] === true);
      assert.is(noted['commit'].time, undefined);
      if (isSet) await eventually(HOLD_MS, () => isBlocked(source), 'the block', { everyMs: 10 });
      await ferry.kill();
      await releaseCommands(source);
      await ferry.restart();
      using client = new FerryClient(ferry.grpcTarget);
      await client.waitForState('COMMITTED');
      assert.equal([await isBlocked(source), await isBlocked(destination)], [true, false]);
      await assertEqualClusters(source, destination);
    }
  };
  await within(TEST_MS, killAndRestart(), 'the kills');
});

test.run();
