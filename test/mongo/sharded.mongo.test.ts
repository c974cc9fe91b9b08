/** Migrations from and to sharded clusters under random workloads, through the router double. */
import type { MongoClient } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { StartOptions } from '../../src/start/options.js';
import { compareDatabase } from '../support/compare-sharded.js';
import { DEFAULT_START, MigrationHarness } from '../support/migration-harness.js';
import type { ShardedCluster } from '../support/sharded-cluster.js';
import { SHARD_KEYS, ShardedWorkload } from '../support/sharded-workload.js';
import { sharedSet, sharedShardedCluster } from '../support/shared-servers.js';
import { within } from '../support/within.js';

const MIGRATION_MS = 150_000;
const BEFORE = 100;
const DURING = 200;

const from = await sharedShardedCluster(test, { name: 'from' });
const to = await sharedShardedCluster(test, { name: 'to' });
const set = await sharedSet(test);

interface Side {
  readonly uri: string;
  readonly client: MongoClient;
  readonly cluster?: ShardedCluster;
}

const sharded = { uri: from.cluster.routerUri(), ...from };
const shardedToo = { uri: to.cluster.routerUri(), ...to };
const plain = { uri: set.uri, client: await set.connect() };

/** Drops what an earlier test has migrated. */
async function empty(client: MongoClient): Promise<void> {
  const { databases } = await client.db('admin').admin().listDatabases({ nameOnly: true });
  for (const { name } of databases)
    if (!['admin', 'config', 'local'].includes(name)) await client.db(name).dropDatabase();
}

const entries = Object.entries(SHARD_KEYS).flatMap(([collection, key]) =>
  key === undefined
    ? []
    : [{ collection, key: Object.entries(key).map(([field, value]) => ({ field, value: value as 1 })) }],
);

async function migrate(
  source: Side,
  destination: Side,
  { seed, start = () => ({}) }: { readonly seed: number; readonly start?: (db: string) => Partial<StartOptions> },
): Promise<string[]> {
  const db = `random${seed}`;
  await empty(destination.client);
  const { client, cluster } = source;
  const workload = new ShardedWorkload({ client, seed, db, ...(cluster === undefined ? {} : { cluster }) });
  await workload.prepare();
  await workload.run(BEFORE);
  const clusters = { source: { uri: source.uri }, destination: { uri: destination.uri } };
  await using harness = await MigrationHarness.open(clusters, { migrationName: db });
  await harness.migration.start({
    ...DEFAULT_START,
    includeNamespaces: [{ database: db, collections: [] }],
    ...start(db),
  });
  await workload.run(DURING);
  await harness.commit();
  const alarms = harness.logLines.filter((line) => line.includes('Documents differ'));
  const shardKeys = cluster !== undefined && destination.cluster !== undefined;
  const differences = await compareDatabase(client, destination.client, db, { shardKeys });
  return [...alarms, ...differences];
}

test('sharded → replica set: a random workload with keys and chunks that move ends equal (through the router double)', async () => {
  assert.equal(await within(MIGRATION_MS, migrate(sharded, plain, { seed: 1 }), 'the migration'), []);
});

test('sharded → sharded: the same, and with the same shard keys (through the router double)', async () => {
  assert.equal(await within(MIGRATION_MS, migrate(sharded, shardedToo, { seed: 2 }), 'the migration'), []);
});

test('replica set → sharded: a random workload ends equal under keys of the start option (through the router double)', async () => {
  const start = (database: string): Partial<StartOptions> => ({
    sharding: {
      createSupportingIndexes: true,
      shardingEntries: entries.map(({ collection, key }) => ({ database, collection, key })),
    },
  });
  assert.equal(await within(MIGRATION_MS, migrate(plain, shardedToo, { seed: 3, start }), 'the migration'), []);
});

test.run();
