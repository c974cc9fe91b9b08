/**
 * Random workloads on sharded clusters: three more seeds for each pair, kills between sharded clusters, and 6.0.27. In
 * `make test` there is one seed a pair: sharded.mongo.test.ts.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { StartOptions } from '../../src/start/options.js';
import { compareDatabase } from '../support/compare-sharded.js';
import { withClient } from '../support/ferry-client.js';
import { startShardedCluster } from '../support/sharded-cluster.js';
import {
  emptySide,
  openBetween,
  outcomeOf,
  plainSide,
  type Side,
  shardedSide,
  shardingEntry,
  startOf,
  startProcess,
} from '../support/sharded-migration.js';
import { SHARD_KEYS, ShardedWorkload } from '../support/sharded-workload.js';
import { sharedSet, sharedShardedCluster } from '../support/shared-servers.js';
import { within } from '../support/within.js';

const MIGRATION_MS = 600_000;
const BEFORE = 300;
const DURING = 2500;
const KILLS = 8;

const [from, to, plain] = await Promise.all([
  sharedShardedCluster(test, { name: 'from' }).then(shardedSide),
  sharedShardedCluster(test, { name: 'to', shards: 3 }).then(shardedSide),
  sharedSet(test).then(plainSide),
]);

async function workloadOn({ client, cluster }: Side, db: string, seed: number): Promise<ShardedWorkload> {
  const workload = new ShardedWorkload({ client, seed, db, ...(cluster === undefined ? {} : { cluster }) });
  await workload.prepare();
  await workload.run(BEFORE);
  return workload;
}

function optionsOf(db: string, source: Side, destination: Side): Partial<StartOptions> {
  if (source.cluster !== undefined || destination.cluster === undefined) return {};
  const shardingEntries = Object.entries(SHARD_KEYS).flatMap(([name, key]) =>
    key === undefined ? [] : [shardingEntry(db, name, key)],
  );
  return { sharding: { createSupportingIndexes: true, shardingEntries } };
}

async function migrate(source: Side, destination: Side, db: string, seed: number): Promise<string[]> {
  const workload = await workloadOn(source, db, seed);
  await using harness = await openBetween(source, destination, db);
  await harness.migration.start(startOf(db, optionsOf(db, source, destination)));
  await workload.run(DURING);
  await harness.commit();
  return await outcomeOf({ source, destination, db }, harness);
}

const PAIRS: readonly (readonly [name: string, source: Side, destination: Side])[] = [
  ['sharded → replica set', from, plain],
  ['sharded → sharded, of two shards and of three', from, to],
  ['replica set → sharded', plain, to],
];

for (const [name, source, destination] of PAIRS)
  for (const seed of [11, 12, 13])
    test(`${name}: seed ${seed} ends equal (through the router double)`, async () => {
      const db = `${source === from ? 'f' : 'p'}${destination === to ? 't' : 'p'}${seed}`;
      assert.equal(await within(MIGRATION_MS, migrate(source, destination, db, seed), 'the migration'), []);
      await source.client.db(db).dropDatabase();
    });

test(`sharded → sharded: a process that is killed ${KILLS} times under a random workload ends equal (through the router double)`, async () => {
  const run = async () => {
    const db = 'killed';
    const workload = await workloadOn(from, db, 21);
    await emptySide(to);
    await using ferry = await startProcess(from, to, db);
    for (let kill = 0; kill < KILLS; kill++) {
      await workload.run(40 * (kill + 1));
      await ferry.kill();
      await ferry.restart();
    }
    await withClient(ferry, async (client) => {
      await client.waitForCanCommit(120_000);
      await client.commitAndWait(120_000);
    });
    assert.equal(await compareDatabase(from.client, to.client, db, { shardKeys: true }), []);
  };
  await within(MIGRATION_MS, run(), 'the migration');
});

test('sharded → sharded on 6.0.27: a random workload ends equal (through the router double)', async () => {
  const run = async () => {
    await using source = await startShardedCluster({ name: 'newfrom', version: '6.0.27' });
    await using destination = await startShardedCluster({ name: 'newto', version: '6.0.27' });
    const sides = [source, destination].map(async (cluster) => {
      await cluster.admin({ balancerStop: 1 });
      return shardedSide({ cluster, client: await cluster.client({ router: 0 }) });
    });
    const [left, right] = (await Promise.all(sides)) as [Side, Side];
    assert.equal(await migrate(left, right, 'newer', 31), []);
  };
  await within(MIGRATION_MS, run(), 'the migration');
});

test.run();
