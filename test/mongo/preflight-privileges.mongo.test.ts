import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Finding } from '../../src/preflight/finding.js';
import { compareClusters } from '../support/compare-clusters.js';
import {
  createUser,
  DESTINATION_PRIVILEGES,
  type Privilege,
  SOURCE_PRIVILEGES,
  withoutActions,
} from '../support/ferry-users.js';
import { DEFAULT_START, MigrationHarness } from '../support/migration-harness.js';
import { sharedPair } from '../support/shared-servers.js';
import { within } from '../support/within.js';

const TEST_MS = 60_000;
const CHECKS_SKIPPED = new Set(['ShortOplogWindow', 'CheckSkipped']);

const { pair, source, destination } = await sharedPair(test, { auth: true, keepData: true });
await source.db('shop').collection('items').insertOne({ a: 1 });
const goodSource = await createUser(pair.source, source, { name: 'good', privileges: SOURCE_PRIVILEGES });
const good = { name: 'good', privileges: DESTINATION_PRIVILEGES };
const goodDestination = await createUser(pair.destination, destination, good);
let users = 0;

function sourceUser(privileges: readonly Privilege[]): Promise<string> {
  return createUser(pair.source, source, { name: `user${++users}`, privileges });
}

function destinationUser(privileges: readonly Privilege[]): Promise<string> {
  return createUser(pair.destination, destination, { name: `user${++users}`, privileges });
}

/** The findings of a check as these users, but for what the oplog and what may not be looked at lead to. */
async function checkAs(
  uris: { source?: string; destination?: string },
  options: Partial<typeof DEFAULT_START> = {},
): Promise<Finding[]> {
  const from = uris.source ?? goodSource;
  const to = uris.destination ?? goodDestination;
  await using harness = await MigrationHarness.open({ source: { uri: from }, destination: { uri: to } });
  const found = await harness.migration.check({ ...DEFAULT_START, ...options });
  return found.filter(({ name }) => !CHECKS_SKIPPED.has(name));
}

test('the documented roles are enough', async () => {
  await within(TEST_MS, async () => assert.equal(await checkAs({}), []), 'the check');
});

test('whatever is missing is named, on each side, with the resource it must be granted on', async () => {
  const check = async () => {
    const lacking = ['appendOplogNote', 'changeStream', 'getParameter', 'collStats'];
    const poor = await sourceUser(withoutActions(SOURCE_PRIVILEGES, ...lacking));
    const weak = await destinationUser(
      withoutActions(DESTINATION_PRIVILEGES, 'collMod', 'convertToCapped', 'bypassWriteBlockingMode'),
    );
    const found = await checkAs({ source: poor, destination: weak });
    assert.equal(
      found.map(({ name, severity }) => `${name} ${severity}`),
      ['MissingPrivilege blocker', 'MissingPrivilege blocker'],
    );
    const [onSource, onDestination] = found.map(({ description }) => description);
    assert.match(
      onSource ?? '',
      /cluster0 lacks actions on \{cluster: true\}: appendOplogNote, getParameter; on \{db: "", collection: ""\}: changeStream, collStats/,
    );
    assert.match(
      onDestination ?? '',
      /cluster1 lacks actions on \{db: "", collection: ""\}: convertToCapped, collMod; for enableUserWriteBlocking on \{cluster: true\}: bypassWriteBlockingMode$/,
    );
  };
  await within(TEST_MS, check(), 'the check');
});

for (const action of SOURCE_PRIVILEGES.flatMap(({ actions }) => actions)) {
  // Without these two a process cannot even look for a migration on the clusters.
  if (action === 'find' || action === 'listCollections') continue;
  test(`a source user without ${action} is told so by the check`, async () => {
    const check = async () => {
      const [found, ...more] = await checkAs({ source: await sourceUser(withoutActions(SOURCE_PRIVILEGES, action)) });
      assert.equal([found?.name, found?.severity, more.length], ['MissingPrivilege', 'blocker', 0]);
      assert.match(found?.description ?? '', new RegExp(`cluster0 lacks .*: ${action}$`));
    };
    await within(TEST_MS, check(), action);
  });
}

test('write blocking needs its two actions only where it is asked for', async () => {
  const check = async () => {
    const weak = await destinationUser(
      withoutActions(DESTINATION_PRIVILEGES, 'setUserWriteBlockMode', 'bypassWriteBlockingMode'),
    );
    const [found, ...more] = await checkAs({ destination: weak });
    assert.equal([found?.name, more.length], ['MissingPrivilege', 0]);
    assert.match(found?.description ?? '', /cluster1 lacks .*: setUserWriteBlockMode, bypassWriteBlockingMode$/);
    assert.equal(await checkAs({ destination: weak }, { enableUserWriteBlocking: 'none' }), []);
  };
  await within(TEST_MS, check(), 'the check');
});

test('what an option needs is named with the option', async () => {
  const check = async () => {
    const weak = await destinationUser(withoutActions(DESTINATION_PRIVILEGES, 'changeStream'));
    const described = async (options: Partial<typeof DEFAULT_START>) =>
      (await checkAs({ destination: weak }, options)).map(({ description }) => description);
    assert.equal(await described({}), [
      'the user of cluster1 lacks actions for verification on {db: "", collection: ""}: changeStream',
    ]);
    assert.equal(await described({ verification: { enabled: false } }), []);
    const [onSource, onDestination] = await described({ reversible: true, enableUserWriteBlocking: true });
    assert.match(
      onSource ?? '',
      /cluster0 lacks actions for enableUserWriteBlocking on \{cluster: true\}: setUserWriteBlockMode; for reversible on .*insert/,
    );
    assert.match(onDestination ?? '', /for verification on .*: changeStream; for reversible on .*: collStats$/);
  };
  await within(TEST_MS, check(), 'the check');
});

test('the write block role of older instructions, on the wrong resource, is recognised and explained', async () => {
  const check = async () => {
    const blocking = ['setUserWriteBlockMode', 'bypassWriteBlockingMode'];
    const misplaced = { resource: { db: '', collection: '' }, actions: blocking };
    const weak = await destinationUser([...withoutActions(DESTINATION_PRIVILEGES, ...blocking), misplaced]);
    const found = await checkAs({ destination: weak });
    assert.equal(
      found.map(({ name, severity }) => [name, severity]),
      [
        ['MissingPrivilege', 'blocker'],
        ['WriteBlockRoleMisplaced', 'warning'],
      ],
    );
    assert.match(found[1]?.remedy ?? '', /\{cluster: true\}/);
  };
  await within(TEST_MS, check(), 'the check');
});

test('a start without the privileges is refused by that name, and changes nothing', async () => {
  const refuse = async () => {
    const weak = await destinationUser(withoutActions(DESTINATION_PRIVILEGES, 'collMod'));
    await using harness = await MigrationHarness.open({ source: { uri: goodSource }, destination: { uri: weak } });
    const error = await harness.migration.start(DEFAULT_START).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    assert.is((error as { code?: string } | undefined)?.code, 'MissingPrivilege');
    const { databases } = await destination.db().admin().listDatabases({ nameOnly: true });
    assert.equal(databases.map(({ name }) => name).sort(), ['admin', 'config', 'local']);
  };
  await within(TEST_MS, refuse(), 'the refusal');
});

test('the documented roles are enough for a filter by expressions, other names and data of others', async () => {
  const migrate = async () => {
    await source
      .db('shop')
      .collection('orders')
      .insertMany([{ n: 1 }, { n: 2 }]);
    await source.db('shop').collection('log').insertOne({ n: 3 });
    await destination.db('store').collection('theirs').insertOne({ n: 4 });
    await using harness = await MigrationHarness.open({
      source: { uri: goodSource },
      destination: { uri: goodDestination },
    });
    await harness.sync({
      includeNamespaces: [{ databaseRegex: { pattern: '^sh', options: '' }, collections: [] }],
      excludeNamespaces: [{ database: 'shop', collections: [], collectionsRegex: { pattern: '^log', options: 'i' } }],
      namespaceRemap: [{ from: 'shop', to: 'store' }],
      preExistingDestinationData: true,
    });
    await source.db('shop').collection('log').rename('logs');
    await source
      .db('shop')
      .collection('logs')
      .aggregate([{ $out: 'out' }])
      .toArray();
    await harness.commit();
    const target = (_: string, coll: string) => (coll === 'logs' ? undefined : (['store', coll] as const));
    const isForeign = (_: string, coll: string) => coll === 'theirs';
    assert.equal(await compareClusters(source, destination, { target, isForeign }), []);
  };
  await within(60_000, migrate(), 'the migration');
});

test.run();
