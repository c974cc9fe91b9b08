import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Binary, decodeOrdered, encode } from '../../src/bson/bson.js';
import { findCollection, listIndexesAndBuilds } from '../../src/catalog/catalog.js';
import { changeCatalog, renameCollection } from '../../src/catalog/destination-catalog.js';
import { indexName } from '../../src/catalog/index-spec.js';
import type { WriteOptions } from '../../src/cluster/commands.js';
import type { WritableCluster } from '../../src/cluster/writable-cluster.js';
import { IndexBuilder } from '../../src/indexes/builder.js';
import { type Deferred, deferred } from '../../src/lib/tasks.js';
import { FAIL_POINTS, refuseCommands } from '../support/fail-points.js';
import { migratedCollection } from '../support/migrated-collection.js';
import { sharedCluster, sharedSet } from '../support/shared-servers.js';
import { silentLogger } from '../support/silent-logger.js';
import { resetClusters } from '../support/stored-migration.js';
import { eventually, within } from '../support/within.js';

const NS = { db: 't', coll: 'c' };

const set = await sharedSet(test, { setParameters: FAIL_POINTS });
const client = await set.connect();
const cluster = await sharedCluster(test, 'cluster1', set);

test.before.each(async () => {
  await resetClusters(client);
  await client.db('t').collection('c').insertOne({ a: 1 });
});

const DROPPING = { $match: { 'command.dropIndexes': 'c' } };

/** A cluster whose answers to createIndexes come only once `gate` opens: what they did has happened before. */
function withSlowAnswers(cluster: WritableCluster, gate: Deferred<void>, built: Deferred<void>): WritableCluster {
  return new Proxy(cluster, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      if (name !== 'write') return value.bind(target);
      return async (db: string, command: Record<string, unknown>, options: WriteOptions) => {
        const reply = await target.write(db, command, options);
        if ('createIndexes' in command) {
          built.resolve();
          await gate.promise;
        }
        return reply;
      };
    },
  });
}

/** A builder of the collection's indexes on these fields, none of which is there yet. */
async function builderOf(
  fields: readonly string[],
  destination: WritableCluster,
  signal: AbortSignal,
): Promise<IndexBuilder> {
  const found = await findCollection(cluster, NS, signal);
  const collection = migratedCollection({
    id: 'c',
    ns: NS,
    destinationUuid: found?.uuid,
    indexes: fields.map((field) => decodeOrdered(encode({ v: 2, key: { [field]: 1 }, name: `${field}_1` }))),
  });
  const update = () => Promise.reject(new Error('a collection was to be changed'));
  const collections = { version: 1, get: () => collection, live: () => [collection], update };
  return new IndexBuilder({
    destination,
    collections,
    logger: silentLogger,
    wants: () => true,
    parallelBuilds: 1,
    onWarning: () => undefined,
  });
}

/** The names of the indexes that are being built, by build. */
async function buildsUnderWay(signal: AbortSignal): Promise<string[][]> {
  const { builds } = await listIndexesAndBuilds(cluster, NS, signal);
  return builds.map((specs) => specs.map(indexName));
}

test('a build that was done in the moment it was cancelled is made again', async () => {
  await within(
    60_000,
    async (signal) => {
      const [gate, built] = [deferred<void>(), deferred<void>()];
      const builder = await builderOf(['a'], withSlowAnswers(cluster, gate, built), signal);
      const stop = new AbortController();
      const running = builder.run(() => Promise.resolve(), stop.signal).catch((error: unknown) => error);
      try {
        builder.open();
        await built.promise;
        const held = builder.hold(['c'], signal);
        await eventually(
          10_000,
          async () => (await client.db('t').collection('c').indexes()).length === 1,
          'the cancelling drop',
        );
        gate.resolve();
        await held;
        builder.release(['c']);
        await eventually(10_000, () => builder.isComplete, 'the builder being settled');
        assert.equal(
          (await client.db('t').collection('c').indexes()).map((each) => each.name),
          ['_id_', 'a_1'],
        );
      } finally {
        stop.abort();
        await running;
      }
    },
    'the cancelled build',
  );
});

async function hangBuilds(mode: 'alwaysOn' | 'off'): Promise<void> {
  await client.db('admin').command({ configureFailPoint: 'hangAfterStartingIndexBuild', mode });
}

async function stopDuringBuild(signal: AbortSignal): Promise<void> {
  const stop = new AbortController();
  const builder = await builderOf(['a', 'b'], cluster, signal);
  const running = builder.run(() => Promise.resolve(), stop.signal).catch(() => 'stopped');
  builder.open();
  await eventually(10_000, async () => (await buildsUnderWay(signal)).length === 1, 'the build');
  stop.abort();
  assert.is(await running, 'stopped');
  assert.equal((await buildsUnderWay(signal))[0]?.sort(), ['a_1', 'b_1'], 'the build goes on');
}

test('a stop does not wait for the build, and the next run joins it', async () => {
  await within(
    60_000,
    async (signal) => {
      await hangBuilds('alwaysOn');
      try {
        await stopDuringBuild(signal);
        await stopDuringBuild(signal);
        await hangBuilds('off');
        const built = async () => (await client.db('t').collection('c').indexes()).length === 3;
        await eventually(10_000, built, 'the indexes of the build that went on');
      } finally {
        await hangBuilds('off');
      }
    },
    'the builds',
  );
});

// With one command only: a second one that has joined the build may begin it anew when the server drops the first.
test('a hold ends what an earlier process has begun', async () => {
  await within(
    60_000,
    async (signal) => {
      const dropping = async () =>
        (
          await client
            .db('admin')
            .aggregate([{ $currentOp: {} }, DROPPING])
            .toArray()
        ).length;
      await hangBuilds('alwaysOn');
      try {
        await stopDuringBuild(signal);
        const holding = (await builderOf(['a', 'b'], cluster, signal)).hold(['c'], signal);
        // A build that is held at this point may see only once it goes on that it was ended.
        await Promise.race([holding, eventually(10_000, async () => (await dropping()) > 0, 'the cancelling drop')]);
        await hangBuilds('off');
        await holding;
        assert.equal(await buildsUnderWay(signal), []);
        assert.is((await client.db('t').collection('c').indexes()).length, 1);
      } finally {
        await hangBuilds('off');
      }
    },
    'the builds',
  );
});

test('what an index build of an earlier process stands in the way of is tried again', async () => {
  await within(
    60_000,
    async (signal) => {
      const found = await findCollection(cluster, NS, signal);
      await refuseCommands(client, { commands: ['collMod', 'renameCollection'], times: 2 }, 12587);
      await changeCatalog(cluster, 't', { collMod: 'c', validationLevel: 'off' }, signal);
      const to = { db: 't', coll: 'd' };
      await refuseCommands(client, { commands: ['renameCollection'], times: 2 }, 12587);
      await renameCollection(cluster, { from: NS, to, uuid: found?.uuid as Binary, target: undefined }, signal);
      assert.ok(await findCollection(cluster, to, signal));
    },
    'the changes',
  );
});

test.run();
