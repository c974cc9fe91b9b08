/** Users of sharded clusters with access control: what they must be allowed, and what is said when they are not. */
import { type Document, UUID } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Cluster } from '../../src/cluster/cluster.js';
import { closeWriteSessions, writeSessions } from '../../src/cluster/write-sessions.js';
import { layOutNumbers } from '../../src/layout/lay-out-numbers.js';
import type { StartOptions } from '../../src/start/options.js';
import { compareDatabase } from '../support/compare-sharded.js';
import {
  createRouterUser,
  SHARDED_DESTINATION_PRIVILEGES,
  SHARDED_SOURCE_PRIVILEGES,
  withoutActions,
} from '../support/ferry-users.js';
import { DEFAULT_START, MigrationHarness } from '../support/migration-harness.js';
import { chunkShards } from '../support/sharded-migration.js';
import { sharedShardedCluster } from '../support/shared-servers.js';
import { silentLogger } from '../support/silent-logger.js';
import { METADATA_DB } from '../support/stored-migration.js';
import { within } from '../support/within.js';
import { writableAlone } from '../support/writable.js';

const TEST_MS = 90_000;

const [{ cluster: from, client: source }, { cluster: to, client: destination }] = await Promise.all([
  sharedShardedCluster(test, { name: 'from', auth: true, shards: 1 }),
  sharedShardedCluster(test, { name: 'to', auth: true }),
]);
const goodSource = await createRouterUser(from, source, { name: 'good', privileges: SHARDED_SOURCE_PRIVILEGES });
const goodDestination = await createRouterUser(to, destination, {
  name: 'good',
  privileges: SHARDED_DESTINATION_PRIVILEGES,
});
const open = (sourceUri: string, destinationUri: string) =>
  MigrationHarness.open({ source: { uri: sourceUri }, destination: { uri: destinationUri } });

async function missing(sourceUri: string, destinationUri: string, options: Partial<StartOptions> = {}) {
  await using harness = await open(sourceUri, destinationUri);
  const found = await harness.migration.check({ ...DEFAULT_START, ...options });
  return found.filter(({ name }) => name === 'MissingPrivilege').map(({ description }) => description);
}

test('what a migration between sharded clusters needs is asked for by name (through the router double)', async () => {
  const run = async () => {
    assert.equal(await missing(goodSource, goodDestination), []);
    const poorSource = await createRouterUser(from, source, {
      name: 'poor',
      privileges: withoutActions(SHARDED_SOURCE_PRIVILEGES, 'update', 'appendOplogNote').filter(
        ({ resource }) => resource['db'] !== 'config' || resource['collection'] !== '',
      ),
    });
    const lacking = ['enableSharding', 'splitChunk', 'moveChunk', 'bypassWriteBlockingMode'];
    const poorDestination = await createRouterUser(to, destination, {
      name: 'poor',
      privileges: withoutActions(SHARDED_DESTINATION_PRIVILEGES, ...lacking).filter(
        ({ resource }) => resource['collection'] !== 'settings',
      ),
    });
    const [onSource, onDestination, ...more] = await missing(poorSource, poorDestination);
    assert.equal(more, []);
    assert.match(
      onSource ?? '',
      /cluster0 lacks actions on \{cluster: true\}: appendOplogNote; on \{db: "config", collection: ""\}: find; on \{db: "config", collection: "settings"\}: update$/,
    );
    assert.match(
      onDestination ?? '',
      /cluster1 lacks actions on \{db: "", collection: ""\}: enableSharding, splitChunk, moveChunk; for enableUserWriteBlocking on \{cluster: true\}: bypassWriteBlockingMode; on \{db: "config", collection: "settings"\}: update$/,
    );
    const shares = { preExistingDestinationData: true, includeNamespaces: [{ database: 'shop', collections: [] }] };
    const [shared] = await missing(goodSource, poorDestination, shares);
    assert.not.match(shared ?? '', /settings/, 'its balancer is left alone');
  };
  await within(TEST_MS, run(), 'the checks');
});

test('the built-in roles that docs/security.md names are enough (through the router double)', async () => {
  const run = async () => {
    const roles = ['backup', 'clusterManager', 'clusterMonitor', 'readAnyDatabase'];
    const toWrite = ['clusterManager', 'clusterMonitor', 'readWriteAnyDatabase', 'restore'];
    const uris = [
      await createRouterUser(from, source, { name: 'builtIn', roles }),
      await createRouterUser(to, destination, { name: 'builtIn', roles: toWrite }),
    ] as const;
    assert.equal(await missing(...uris), []);
  };
  await within(TEST_MS, run(), 'the check');
});

const connect = (uri: string) => Cluster.connect({ name: 'cluster1', uri, logger: silentLogger, maxPoolSize: 4 });

/** Closes a session on each shard, while users are blocked, as whoever takes over does. */
async function closeAsTaker(): Promise<void> {
  const cluster = await connect(goodDestination);
  try {
    await closeWriteSessions(cluster, [new UUID()], METADATA_DB);
  } finally {
    await cluster.close();
  }
  const closed = await destination.db(METADATA_DB).collection('numbers').countDocuments();
  assert.is(closed, 2, 'one on each shard');
}

test('the documented roles are enough between clusters with key files: keys, chunks, balancers, write block (through the router double)', async () => {
  const run = async () => {
    await Promise.all([from.admin({ balancerStart: 1 }), to.admin({ balancerStart: 1 })]);
    await source.db('shop').collection('byA').createIndex({ a: 1 });
    await from.admin({ shardCollection: 'shop.byA', key: { a: 1 } });
    const documents = Array.from(
      { length: 200 },
      (_, n): Document => ({ _id: n as never, a: n, text: 'x'.repeat(200) }),
    );
    await source.db('shop').collection<Document>('byA').insertMany(documents);
    await source.db('shop').collection<Document>('plain').insertMany(documents);
    await using harness = await open(goodSource, goodDestination);
    await harness.sync();
    assert.equal(
      harness.snapshot.warnings.filter((text) => !text.includes('bypassWriteBlockingMode')),
      [],
    );
    for (const client of [source, destination])
      assert.is((await client.db('admin').command({ balancerStatus: 1 }))['mode'], 'off');
    await source
      .db('shop')
      .collection('byA')
      .updateMany({ a: { $lt: 50 } }, { $inc: { n: 1 } });
    await source.db('shop').createCollection('small', { capped: true, size: 4096 });
    assert.equal(await chunkShards(destination, `${METADATA_DB}.numbers`), ['tos0', 'tos1']);
    await closeAsTaker();
    await harness.commit();
    assert.equal(await compareDatabase(source, destination, 'shop', { shardKeys: true }), []);
    for (const client of [source, destination])
      assert.is((await client.db('admin').command({ balancerStatus: 1 }))['mode'], 'full');
    assert.equal(await chunkShards(destination, 'shop.byA'), ['tos0', 'tos1']);
  };
  await within(TEST_MS, run(), 'the migration');
});

test('the numbers of lost writes are not laid out under a block that may not be passed, which is told at once (through the router double)', async () => {
  const run = async () => {
    const privileges = withoutActions(SHARDED_DESTINATION_PRIVILEGES, 'bypassWriteBlockingMode');
    const plain = await connect(await createRouterUser(to, destination, { name: 'blocked', privileges }));
    const cluster = writableAlone(plain, { sessions: writeSessions(plain, 'blocked_metadata') });
    await destination.db('admin').command({ setUserWriteBlockMode: 1, global: true });
    try {
      const refused = await layOutNumbers(cluster, 'blocked_metadata', AbortSignal.timeout(20_000));
      assert.match(refused ?? '', /could not be given a place .* lacks the privilege bypassWriteBlockingMode/);
    } finally {
      await destination.db('admin').command({ setUserWriteBlockMode: 1, global: false });
      await cluster.close();
    }
  };
  await within(TEST_MS, run(), 'the layout');
});

test.run();
