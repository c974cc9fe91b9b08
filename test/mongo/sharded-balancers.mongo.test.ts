/** The balancers of both sides rest while a migration runs, and are as they were on every way out. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { cleanUp } from '../../src/migration/cleanup.js';
import { FaultProxy } from '../support/fault-proxy.js';
import { DEFAULT_START, MigrationHarness } from '../support/migration-harness.js';
import {
  balancerOf,
  chunkShards,
  emptySide,
  openBetween,
  outcomeOf,
  shardedSide,
  shardInTwo,
  startOf,
} from '../support/sharded-migration.js';
import { sharedShardedCluster } from '../support/shared-servers.js';
import { silentLogger } from '../support/silent-logger.js';
import { METADATA_DB } from '../support/stored-migration.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 60_000;

const [from, to] = await Promise.all([
  sharedShardedCluster(test, { name: 'from' }).then(shardedSide),
  sharedShardedCluster(test, { name: 'to' }).then(shardedSide),
]);

async function seed(db: string): Promise<void> {
  await shardInTwo(from, `${db}.a`, { key: { a: 1 }, middle: { a: 50 } });
  await from.client
    .db(db)
    .collection('a')
    .insertMany(Array.from({ length: 100 }, (_, a) => ({ a, n: 1 })));
}

async function balancers(): Promise<string[]> {
  return [await balancerOf(from), await balancerOf(to)];
}

async function start(...sides: readonly (typeof from)[]): Promise<void> {
  for (const { cluster } of [from, to]) await cluster.admin({ balancerStop: 1 });
  for (const { cluster } of sides) await cluster.admin({ balancerStart: 1 });
}

/** The shards that have a place for the numbers of lost writes. */
const numberShards = ({ client }: typeof from) => chunkShards(client, `${METADATA_DB}.numbers`);

test('both balancers rest until the commit; one that somebody starts is told within seconds and harms nothing (through the router double)', async () => {
  const run = async () => {
    await start(from, to);
    await seed('balanced');
    await using harness = await openBetween(from, to, 'balanced');
    await harness.migration.start(startOf('balanced'));
    await harness.caughtUp();
    assert.equal(await balancers(), ['off', 'off']);
    await from.cluster.admin({ balancerStart: 1 });
    const isTold = () => harness.snapshot.warnings.some((text) => /started the balancer of .*cluster0/.test(text));
    await eventually(10_000, isTold, 'a warning');
    await from.cluster.moveChunk({ ns: 'balanced.a', find: { a: 70 }, to: 0 });
    await from.client
      .db('balanced')
      .collection('a')
      .updateMany({}, { $inc: { n: 1 } });
    await harness.commit();
    assert.equal(await balancers(), ['full', 'full']);
    assert.equal(await outcomeOf({ source: from, destination: to, db: 'balanced' }, harness), []);
  };
  await within(TEST_MS, run(), 'the migration');
});

test('after a failure they go on, and one that had rested before goes on resting (through the router double)', async () => {
  const run = async () => {
    await start(from);
    await seed('failing');
    await using harness = await openBetween(from, to, 'failing');
    await harness.migration.start(startOf('failing'));
    await harness.caughtUp();
    assert.equal(await balancers(), ['off', 'off']);
    await from.client.db('failing').collection('a').createIndex({ a: 1, n: 1 });
    await from.cluster.admin({ refineCollectionShardKey: 'failing.a', key: { a: 1, n: 1 } });
    const began = performance.now();
    const error = await harness.failure();
    assert.ok(performance.now() - began < 10_000, 'within seconds');
    assert.is(error.code, 'ShardingChanged');
    assert.match(error.message, /failing\.a has another shard key on the source/);
    assert.equal(await balancers(), ['full', 'off']);
  };
  await within(TEST_MS, run(), 'the migration');
});

test('of a reversible migration they rest after the commit and the reversal, until cleanup (through the router double)', async () => {
  const run = async () => {
    await Promise.all([emptySide(from), emptySide(to)]);
    await start(from, to);
    await seed('reversed');
    await using proxy = await FaultProxy.start({ target: from.cluster.routers[0]?.host ?? '' });
    const pair = { source: { uri: `mongodb://${proxy.host}/` }, destination: { uri: to.uri } };
    {
      await using harness = await MigrationHarness.open(pair);
      await harness.sync({ ...DEFAULT_START, reversible: true });
      await harness.commit();
      assert.equal(await balancers(), ['off', 'off']);
      // The record is created on the new destination, and changed once what must come before its data is done.
      const match = { appName: 'mongoferry', command: 'update', db: METADATA_DB, collection: 'migration', nth: 2 };
      const arrival = proxy.hold(match, { cutClient: false });
      const look = async () => {
        const arriving = await arrival.held();
        assert.equal(await numberShards(from), ['froms0', 'froms1'], 'late writes are refused by each shard');
        await arriving.deliver();
      };
      await Promise.all([harness.reverse(), look()]);
      await to.client
        .db('reversed')
        .collection('a')
        .updateMany({ a: { $lt: 60 } }, { $inc: { n: 1 } });
      await to.client
        .db('reversed')
        .collection('a')
        .deleteMany({ a: { $gt: 90 } });
      await harness.commit();
      assert.equal(await outcomeOf({ source: to, destination: from, db: 'reversed' }, harness), []);
      assert.equal(await balancers(), ['off', 'off']);
    }
    const config = { cluster0: from.uri, cluster1: to.uri, migrationName: undefined, loadLevel: 3 };
    await cleanUp({ config, logger: silentLogger, confirm: async () => true }, AbortSignal.timeout(20_000));
    assert.equal(await balancers(), ['full', 'full']);
    assert.equal([await numberShards(from), await numberShards(to)], [[], []]);
  };
  await within(TEST_MS, run(), 'the migration');
});

test.run();
