import { MongoClient } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { assertEqualClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS, holdCommands, refuseCommands, releaseCommands } from '../support/fail-points.js';
import { createUser, DESTINATION_PRIVILEGES, SOURCE_PRIVILEGES } from '../support/ferry-users.js';
import { DEFAULT_START, MigrationHarness } from '../support/migration-harness.js';
import { insertRefusal, refusal } from '../support/refusal.js';
import { startPair } from '../support/replica-set.js';
import { sharedPair } from '../support/shared-servers.js';
import { isBlocked, METADATA_DB, storedWhen } from '../support/stored-migration.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 90_000;
const HOLD_MS = 2000;
const USER_WRITES_BLOCKED = 371;

const { pair, source, destination } = await sharedPair(test, { setParameters: FAIL_POINTS });

test.before.each(async () => {
  await seed(source);
});

async function seed(client: MongoClient): Promise<void> {
  const db = client.db('shop');
  await db.collection('items').insertMany([{ sku: 1 }, { sku: 2 }]);
  await db.collection('items').createIndex({ sku: 1 }, { unique: true });
  await db.createCollection('recent', { capped: true, size: 4096 });
  await db.createCollection('cheap', { viewOn: 'items', pipeline: [{ $match: { sku: 1 } }] });
}

const refusalCode = (client: MongoClient) => insertRefusal(client, 'others', 'c');

/**
 * Writes by an application, all through a migration: refused from the start on, also late in the commit, and taken the
 * moment `canWrite` is true.
 */
async function migrateBlocked(harness: MigrationHarness, application: MongoClient, admin: MongoClient): Promise<void> {
  assert.is(await refusalCode(application), undefined, 'before the start');
  await application.db('others').dropDatabase();
  await harness.migration.start(DEFAULT_START);
  assert.is(await refusalCode(application), USER_WRITES_BLOCKED, 'as soon as start has answered');
  await harness.caughtUp();
  assert.is(await refusalCode(application), USER_WRITES_BLOCKED, 'in the steady state');
  await harness.migration.pause();
  assert.is(await refusalCode(application), USER_WRITES_BLOCKED, 'while paused');
  await harness.migration.resume();
  await harness.caughtUp();
  await holdCommands(admin, { commands: ['setUserWriteBlockMode'] }, HOLD_MS);
  await harness.migration.commit();
  await storedWhen(admin, 'the point of no return', ({ commit }) => commit?.step === 'handover');
  assert.is(await refusalCode(application), USER_WRITES_BLOCKED, 'until the very end');
  assert.not(harness.snapshot.canWrite);
  await harness.until(({ canWrite }) => canWrite, 'canWrite');
  assert.is(await refusalCode(application), undefined, 'the moment canWrite is true');
  await application.db('others').dropDatabase();
  await harness.until(({ state }) => state === 'COMMITTED', 'COMMITTED');
}

test('destinationOnly, access control off: nobody else writes to the destination before canWrite', async () => {
  const migrate = async () => {
    await using harness = await MigrationHarness.open(pair);
    await migrateBlocked(harness, destination, destination);
    await assertEqualClusters(source, destination);
  };
  await within(TEST_MS, migrate(), 'the migration');
});

test('destinationOnly, access control on: users with the documented roles migrate, applications wait', async () => {
  const migrate = async () => {
    await using guarded = await startPair({ auth: true, setParameters: FAIL_POINTS });
    const roots = await Promise.all([guarded.source.connect(), guarded.destination.connect()]);
    await seed(roots[0]);
    const from = { name: 'from', privileges: SOURCE_PRIVILEGES };
    const to = { name: 'to', privileges: DESTINATION_PRIVILEGES };
    const app = { name: 'app', roles: ['readWriteAnyDatabase', 'dbAdminAnyDatabase'] };
    await using harness = await MigrationHarness.open({
      source: { uri: await createUser(guarded.source, roots[0], from) },
      destination: { uri: await createUser(guarded.destination, roots[1], to) },
    });
    const application = new MongoClient(await createUser(guarded.destination, roots[1], app));
    try {
      await migrateBlocked(harness, application, roots[1]);
    } finally {
      await application.close();
    }
    await assertEqualClusters(roots[0], roots[1]);
  };
  await within(TEST_MS, migrate(), 'the migration');
});

test('none: the destination is never blocked', async () => {
  const migrate = async () => {
    await using harness = await MigrationHarness.open(pair);
    await harness.migration.start({ ...DEFAULT_START, enableUserWriteBlocking: false });
    assert.not(await isBlocked(destination));
    await harness.caughtUp();
    assert.not(await isBlocked(destination));
    assert.is(await refusalCode(destination), undefined, 'in the steady state');
    await destination.db('others').dropDatabase();
    await holdCommands(destination, { commands: ['collMod'] }, HOLD_MS);
    await harness.migration.commit();
    await storedWhen(destination, 'the restoring', ({ commit }) => commit?.step === 'restore');
    assert.is(await refusalCode(destination), undefined, 'in the commit');
    // The commit looks at the destination once more before the hand-over, and would find it.
    await destination.db('others').dropDatabase();
    await releaseCommands(destination);
    await harness.until(({ state }) => state === 'COMMITTED', 'COMMITTED');
    await assertEqualClusters(source, destination);
  };
  await within(TEST_MS, migrate(), 'the migration');
});

test('a start that finds a write slipped in before the block lifts the block again, and leaves nothing', async () => {
  const refuse = async () => {
    await using harness = await MigrationHarness.open(pair);
    await holdCommands(destination, { commands: ['setUserWriteBlockMode'], times: 1 }, HOLD_MS);
    const starting = refusal(harness.migration.start(DEFAULT_START));
    // The record is written after the preflight and before the block.
    await storedWhen(destination, 'the record', () => true);
    assert.is(await refusalCode(destination), undefined);
    assert.is((await starting).code, 'DestinationNotEmpty');
    assert.not(await isBlocked(destination));
    const left = await destination.db(METADATA_DB).listCollections({}, { nameOnly: true }).toArray();
    assert.equal(
      left.map(({ name }) => name).filter((name) => name !== 'lease'),
      [],
    );
    assert.is(harness.snapshot.state, 'IDLE');
    await destination.db('others').dropDatabase();
    await harness.sync();
    await harness.commit();
  };
  await within(TEST_MS, refuse(), 'the refused start');
});

test('a start that may not block the destination is refused, and can be made again', async () => {
  const refuse = async () => {
    await using harness = await MigrationHarness.open(pair);
    await refuseCommands(destination, { commands: ['setUserWriteBlockMode'], times: 1 }, 13);
    assert.is((await refusal(harness.migration.start(DEFAULT_START))).code, 'MissingPrivilege');
    assert.is(harness.snapshot.state, 'IDLE');
    assert.not(await isBlocked(destination));
    await harness.sync();
    await harness.commit();
  };
  await within(TEST_MS, refuse(), 'the refused start');
});

test('after a failure the destination stays blocked, and the command that the message gives lifts that', async () => {
  const fail = async () => {
    await using harness = await MigrationHarness.open(pair);
    await harness.sync();
    await source.db('shop').createCollection('series', { timeseries: { timeField: 'at' } });
    assert.is((await harness.failure()).code, 'UnsupportedChange');
    const text = harness.snapshot.failure?.description ?? '';
    assert.ok(await isBlocked(destination), 'still blocked');
    assert.is(await refusalCode(destination), USER_WRITES_BLOCKED);
    const [, command] = /db\.adminCommand\(\{(.*)\}\)/.exec(text) ?? [];
    assert.is(command, 'setUserWriteBlockMode: 1, global: false', text);
    await destination.db('admin').command({ setUserWriteBlockMode: 1, global: false });
    await eventually(5000, async () => (await refusalCode(destination)) === undefined, 'the write being taken');
  };
  await within(TEST_MS, fail(), 'the failure');
});

test.run();
