/** Users of sharded clusters with access control: what they must be allowed, and what is said when they are not. */
import type { Document } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { StartOptions } from '../../src/start/options.js';
import { compareDatabase } from '../support/compare-sharded.js';
import {
  createRouterUser,
  SHARDED_DESTINATION_PRIVILEGES,
  SHARDED_SOURCE_PRIVILEGES,
  withoutActions,
} from '../support/ferry-users.js';
import { DEFAULT_START, MigrationHarness } from '../support/migration-harness.js';
import { sharedShardedCluster } from '../support/shared-servers.js';
import { within } from '../support/within.js';

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
    await harness.commit();
    assert.equal(await compareDatabase(source, destination, 'shop', { shardKeys: true }), []);
    for (const client of [source, destination])
      assert.is((await client.db('admin').command({ balancerStatus: 1 }))['mode'], 'full');
    const chunks = await destination.db('config').collection('chunks').distinct('shard');
    assert.is(chunks.length, 2);
  };
  await within(TEST_MS, run(), 'the migration');
});

test.run();
