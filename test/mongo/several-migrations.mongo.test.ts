import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { CheckResponse } from '../../gen/mongoferry/v1/sync_service.js';
import { fromMigration } from '../../src/metadata/record-codec.js';
import { SCHEMA_VERSION } from '../../src/metadata/records.js';
import { assertEqualClusters } from '../support/compare-clusters.js';
import { FerryClient, type StartOptions } from '../support/ferry-client.js';
import { FerryProcess } from '../support/ferry-process.js';
import { APPLYING } from '../support/observed-work.js';
import { sharedSet } from '../support/shared-servers.js';
import { isBlocked, resetClusters } from '../support/stored-migration.js';
import { within } from '../support/within.js';

const TEST_MS = 120_000;

const start = (name: string) => sharedSet(test, { name });
const sets = await Promise.all([start('a'), start('b'), start('c')]);
const [a, b, c] = await Promise.all([sets[0].connect(), sets[1].connect(), sets[2].connect()]);

test.before.each(async () => {
  await resetClusters(a, b, c);
  await a
    .db('shop')
    .collection('items')
    .insertMany([{ n: 1 }, { n: 2 }]);
  await a.db('shop').collection('items').createIndex({ n: 1 }, { unique: true });
});

function ferryOf(from: 0 | 1, to: 1 | 2, ...flags: string[]): Promise<FerryProcess> {
  return FerryProcess.start({ cluster0: sets[from].uri, cluster1: sets[to].uri, flags });
}

async function withClient<T>(ferry: FerryProcess, use: (client: FerryClient) => Promise<T>): Promise<T> {
  using client = new FerryClient(ferry.grpcTarget);
  await client.waitUntilInitialized();
  return await use(client);
}

async function migrate(ferry: FerryProcess, options: StartOptions = {}): Promise<void> {
  await withClient(ferry, async (client) => {
    await client.start(options);
    await client.commitAndWait();
  });
}

function named(response: CheckResponse, name: string): string[] {
  return response.findings
    .filter((each) => each.name === name && each.severity === 'blocker')
    .map((each) => each.description);
}

const check = (ferry: FerryProcess, options: StartOptions = {}) =>
  withClient(ferry, (client) =>
    client.check({ source: 'cluster0', destination: 'cluster1', ...options } as StartOptions),
  );

async function refusal(ferry: FerryProcess, options: StartOptions): Promise<string> {
  return await withClient(ferry, (client) =>
    client.start(options).then(
      () => 'started',
      (error: { details?: string }) => String(error.details),
    ),
  );
}

test('A to B, then B to C under the same name: what is over on B is no obstacle', async () => {
  const chain = async () => {
    await using first = await ferryOf(0, 1);
    await migrate(first);
    await assertEqualClusters(a, b);
    await using second = await ferryOf(1, 2);
    assert.is((await withClient(second, (client) => client.progress())).state, 'IDLE');
    await withClient(second, async (client) => {
      await client.start();
      await client.waitForCanCommit();
    });
    await b.db('shop').collection('items').insertOne({ n: 3 });
    await second.restart();
    assert.is((await withClient(second, (client) => client.progress())).state, 'RUNNING', 'its own is found on C');
    await withClient(second, (client) => client.commitAndWait());
    await assertEqualClusters(b, c);
    // Each is still found by its own pair.
    await first.restart();
    assert.is((await withClient(first, (client) => client.progress())).state, 'COMMITTED');
    await second.restart();
    assert.is((await withClient(second, (client) => client.progress())).state, 'COMMITTED');
    // Reversed, the second one would need its metadata where the first one's are.
    await using third = await ferryOf(1, 2, '--migrationName', 'third');
    const reversible = { enableUserWriteBlocking: true, reversible: true };
    assert.equal(named(await check(third, reversible), 'MigrationExists'), []);
  };
  await within(TEST_MS, chain(), 'the chain');
});

test('B to C while A to B runs: refused under the same name, with advice; with a name of its own both end well', async () => {
  const chain = async () => {
    await using first = await ferryOf(0, 1);
    await withClient(first, async (client) => {
      await client.start();
      await client.waitForCanCommit();
    });
    {
      await using same = await ferryOf(1, 2);
      assert.is((await same.exited).code, 3);
      const text = same.log.at(-1)?.message ?? '';
      assert.match(text, /belongs to other clusters: cluster1 is not the source that it began with/);
      assert.match(text, /--migrationName/);
    }
    await using second = await ferryOf(1, 2, '--migrationName', 'onward');
    // The first one's commit would lift, and the second one's set, a block of the same cluster.
    const both = await check(second, { enableUserWriteBlocking: true });
    assert.match(named(both, 'OtherMigrationExists').join(), /mongosync_reserved_for_internal_use: RUNNING/);
    await withClient(second, async (client) => {
      await client.start();
      await client.waitForCanCommit();
    });
    await a.db('shop').collection('items').insertOne({ n: 3 });
    await a.db('shop').collection('items').createIndex({ m: 1 }, { expireAfterSeconds: 3600 });
    await withClient(first, (client) => client.commitAndWait());
    await assertEqualClusters(a, b);
    await b.db('shop').collection('items').insertOne({ n: 4 });
    await withClient(second, (client) => client.commitAndWait());
    await assertEqualClusters(b, c);
    assert.equal(await Promise.all([a, b, c].map(isBlocked)), [false, false, false]);
    assert.is(await c.db('shop').collection('items').countDocuments(), 4);
  };
  await within(TEST_MS, chain(), 'the chain');
});

test('several migrations into one cluster: a block is of all of them, so each is to do without', async () => {
  const refuse = async () => {
    await using first = await ferryOf(0, 2);
    await withClient(first, async (client) => {
      await client.start();
      await client.waitForCanCommit();
    });
    await using second = await ferryOf(1, 2, '--migrationName', 'second');
    const beside = await check(second, { enableUserWriteBlocking: false });
    assert.match(named(beside, 'OtherMigrationExists').join(), /RUNNING\), and blocks writes there until its commit/);
    const blocking = await check(second);
    assert.match(named(blocking, 'OtherMigrationExists').join(), /a write block would affect both/);
    assert.match(await refusal(second, {}), /a write block would affect both/);
    await withClient(first, (client) => client.commitAndWait());
    const after = await check(second);
    assert.equal(named(after, 'OtherMigrationExists'), [], 'a migration that is over is no obstacle');
    assert.is(named(after, 'DestinationNotEmpty').length, 1);
  };
  await within(TEST_MS, refuse(), 'the refusals');
});

const sharing = (database: string): StartOptions => ({
  includeNamespaces: [{ database }],
  preExistingDestinationData: true,
});

test('beside one that shares its destination another one that does is accepted; any block is refused, by name', async () => {
  const refuse = async () => {
    await using first = await ferryOf(0, 2, '--migrationName', 'first');
    await withClient(first, async (client) => {
      await client.start(sharing('shop'));
      await client.waitForCanCommit();
    });
    await using second = await ferryOf(1, 2);
    for (const [options, count] of [
      [sharing('other'), 0],
      [{ ...sharing('other'), enableUserWriteBlocking: 'destinationOnly' }, 1],
      [{ enableUserWriteBlocking: false }, 1],
      [{ enableUserWriteBlocking: 'destinationOnly' }, 1],
      [{ enableUserWriteBlocking: true }, 1],
    ] as const) {
      const found = named(await check(second, options), 'OtherMigrationExists');
      assert.is(found.length, count, JSON.stringify(options));
      if (count > 0) assert.match(found[0] ?? '', /mongosync_internal_first: RUNNING/);
    }
    assert.not(await isBlocked(c));
  };
  await within(TEST_MS, refuse(), 'the refusals');
});

test('a reversible migration whose metadata would meet another one’s on its source is refused at the start', async () => {
  const refuse = async () => {
    await using first = await ferryOf(0, 1);
    await migrate(first);
    await using second = await ferryOf(1, 2);
    const options = { enableUserWriteBlocking: true, reversible: true };
    assert.match(
      named(await check(second, options), 'MigrationExists').join(),
      /a reversal would need mongosync_reserved/,
    );
    await using third = await ferryOf(1, 2, '--migrationName', 'own');
    assert.equal(named(await check(third, options), 'MigrationExists'), []);
  };
  await within(TEST_MS, refuse(), 'the refusal');
});

test('a reversal is refused while another migration, of whatever name, is in its way', async () => {
  const refuse = async () => {
    await using first = await ferryOf(0, 1);
    await migrate(first, { enableUserWriteBlocking: true, reversible: true });
    // As another migration into the old source would leave it.
    const options = { ...APPLYING.options, source: 'cluster1', destination: 'cluster0' } as const;
    const other = { ...APPLYING, options, sourceId: 'f'.repeat(24), destinationId: '', blockedDestination: false };
    for (const [db, expected] of [
      [
        'mongosync_internal_other',
        /another migration into cluster0.* is under way \(mongosync_internal_other: RUNNING\)/,
      ],
      ['mongosync_reserved_for_internal_use', /that database holds the metadata of another migration/],
    ] as const) {
      const write = (coll: string, doc: object) =>
        a.db(db).command({ insert: coll, documents: [doc], mayBypassWriteBlocking: true });
      await write('schema', { _id: 'schema', product: 'mongoferry', version: SCHEMA_VERSION });
      await write('migration', fromMigration(other));
      const text = await withClient(first, (client) =>
        client.reverse().then(
          () => 'reversing',
          (error: { details?: string }) => String(error.details),
        ),
      );
      assert.match(text, expected);
      assert.is((await withClient(first, (client) => client.progress())).state, 'COMMITTED');
      for (const coll of ['schema', 'migration']) await a.db(db).command({ drop: coll, mayBypassWriteBlocking: true });
    }
    await withClient(first, async (client) => {
      await client.reverse();
      await client.waitForCanCommit();
      await client.commitAndWait();
    });
    await assertEqualClusters(a, b);
  };
  await within(TEST_MS, refuse(), 'the refusals');
});

test.run();
