import type { MongoClient } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { findCollection, listIndexes } from '../../src/catalog/catalog.js';
import { dropView, sendCreate } from '../../src/catalog/destination-catalog.js';
import { Scope } from '../../src/catalog/scope.js';
import { Cluster } from '../../src/cluster/cluster.js';
import type { WritableCluster } from '../../src/cluster/writable-cluster.js';
import { blockWrites, isBlocked } from '../../src/cluster/write-block.js';
import { readStableCatalog } from '../../src/initialise/stable-catalog.js';
import { cutReplication } from '../support/cut-replication.js';
import { FAIL_POINTS, failWriteConcern, holdCommands, touchedCommands } from '../support/fail-points.js';
import { ReplicaSet } from '../support/replica-set.js';
import { sharedCluster, sharedSet } from '../support/shared-servers.js';
import { silentLogger } from '../support/silent-logger.js';
import { resetClusters } from '../support/stored-migration.js';
import { eventually, within } from '../support/within.js';
import { writableAlone } from '../support/writable.js';

const TEST_MS = 60_000;
const HOLD_MS = 3000;
const EVERYTHING = {
  includeNamespaces: [],
  excludeNamespaces: [],
  namespaceRemap: [],
  preExistingDestinationData: false,
};

const NS = { db: 'shop', coll: 'c' };

const set = await sharedSet(test, { setParameters: FAIL_POINTS });
const client = await set.connect();
const cluster = await sharedCluster(test, 'cluster0', set);

test.before.each(() => resetClusters(client));

/** What the catalog is read as when `change` happens while the first of these commands waits at the server. */
async function readDuring(
  at: { readonly cluster: Cluster; readonly client: MongoClient; readonly held: string },
  change: () => Promise<unknown>,
): Promise<string[]> {
  const before = await touchedCommands(at.client);
  await holdCommands(at.client, { commands: [at.held], times: 1 }, HOLD_MS);
  const scope = new Scope(at.cluster, EVERYTHING);
  const reading = readStableCatalog(at.cluster, scope, silentLogger, AbortSignal.timeout(TEST_MS));
  const held = eventually(20_000, async () => (await touchedCommands(at.client)) > before, `${at.held} being held`);
  await Promise.race([held, reading.then(() => assert.unreachable('nothing was held'))]);
  const [catalog] = await Promise.all([reading, change()]);
  return catalog.namespaces.map(({ ns, type }) => `${ns.db}.${ns.coll}: ${type}`).sort();
}

test('a database with views that is dropped while the catalog is read leaves none of them listed', async () => {
  const read = async () => {
    const gone = client.db('gone');
    await gone.collection('a').insertOne({ n: 1 });
    await gone.createCollection('view1', { viewOn: 'a', pipeline: [] });
    await gone.createCollection('view2', { viewOn: 'a', pipeline: [] });
    await client.db('stays').createCollection('view', { viewOn: 'a', pipeline: [] });
    const found = await readDuring({ cluster, client, held: 'listIndexes' }, async () => {
      await gone.dropDatabase();
      await gone.createCollection('view2', { viewOn: 'b', pipeline: [] });
    });
    assert.equal(found, ['gone.view2: view', 'stays.view: view']);
  };
  await within(TEST_MS, read(), 'the reading');
});

test('a name that turns from a collection to a view between two commands is looked at again', async () => {
  const read = async () => {
    const shop = client.db('shop');
    await shop.collection('turns').createIndex({ n: 1 });
    const found = await readDuring({ cluster, client, held: 'listIndexes' }, async () => {
      await shop.dropCollection('turns');
      await shop.createCollection('turns', { viewOn: 'b', pipeline: [] });
    });
    assert.equal(found, ['shop.turns: view']);
    assert.equal(await listIndexes(cluster, { db: 'shop', coll: 'turns' }, AbortSignal.timeout(TEST_MS)), []);
  };
  await within(TEST_MS, read(), 'the reading');
});

/** A set of three, with the program's door to it. */
async function inThree(work: (three: ReplicaSet, cluster: WritableCluster, client: MongoClient) => Promise<void>) {
  await using three = await ReplicaSet.start({ members: 3, setParameters: FAIL_POINTS });
  const opened = writableAlone(
    await Cluster.connect({ name: 'cluster0', uri: three.uri, logger: silentLogger, maxPoolSize: 4 }),
  );
  try {
    await work(three, opened, await three.connect());
  } finally {
    await opened.close();
  }
}

test('what a listing saw on a primary and a failover has rolled back is not in the catalog', async () => {
  const work = inThree(async (three, opened, root) => {
    await root.db('shop').collection('a').insertOne({ n: 1 });
    const found = await readDuring({ cluster: opened, client: root, held: 'listCollections' }, async () => {
      const { loseTail } = await cutReplication(three);
      const entered = async () => (await root.db('admin').command({ serverStatus: 1 })).metrics.commands;
      const listed = Number((await entered()).listIndexes.total);
      await root.db('shop').createCollection('ghost', { writeConcern: { w: 1 } });
      const isSeen = async () => Number((await entered()).listIndexes.total) >= listed + 2;
      await eventually(20_000, isSeen, 'the indexes of both being listed');
      await loseTail();
    });
    assert.equal(found, ['shop.a: collection']);
  });
  await within(TEST_MS * 2, work, 'the reading over a failover');
});

for (const [what, before, command, change] of [
  [
    'create',
    async () => undefined,
    'create',
    async (at: WritableCluster, signal: AbortSignal) =>
      sendCreate(at, { ns: NS, options: new Map(), sharesDestination: false }, signal),
  ],
  [
    'drop',
    (root: MongoClient) => root.db('shop').createCollection('c', { viewOn: 'a', pipeline: [] }),
    'drop',
    async (at: WritableCluster, signal: AbortSignal) => dropView(at, NS, signal),
  ],
] as const) {
  test(`a ${what} that is answered as done already, with a write concern error, is done again after a rollback`, async () => {
    const work = inThree(async (three, opened, root) => {
      await root.db('shop').createCollection('a', { writeConcern: { w: 3 } });
      await before(root);
      const { primary, loseTail } = await cutReplication(three);
      if (what === 'create') await root.db('shop').createCollection('c', { writeConcern: { w: 1 } });
      else await root.db('shop').command({ drop: 'c', writeConcern: { w: 1 } });
      await failWriteConcern(root, { commands: [command], times: 1 });
      const signal = AbortSignal.timeout(TEST_MS);
      let isAnswered = false;
      const changing = change(opened, signal).finally(() => {
        isAnswered = true;
      });
      const waited = async () => {
        await eventually(20_000, async () => isAnswered || (await isWaiting(root)), 'a wait for a majority');
        assert.not.ok(isAnswered, `${primary.host} alone has it`);
        await loseTail();
      };
      await Promise.all([changing, waited()]);
      const found = await findCollection(opened, NS, signal);
      assert.is(found !== undefined, what === 'create');
    });
    await within(TEST_MS * 2, work, `the ${what}`);
  });
}

test('a write block that only the primary has is set again after a rollback', async () => {
  const work = inThree(async (three, opened, root) => {
    await root.db('shop').createCollection('a', { writeConcern: { w: 3 } });
    const signal = AbortSignal.timeout(TEST_MS);
    const { primary, loseTail } = await cutReplication(three);
    // It waits for a majority, in vain.
    const inVain = assertRejects(root.db('admin').command({ setUserWriteBlockMode: 1, global: true }));
    await eventually(20_000, () => isBlocked(opened, signal), 'the primary being blocked');
    let isAnswered = false;
    const blocking = blockWrites(opened, signal).finally(() => {
      isAnswered = true;
    });
    const waited = async () => {
      await eventually(20_000, async () => isAnswered || (await isWaiting(root)), 'a wait for a majority');
      assert.not.ok(isAnswered, `${primary.host} alone is blocked`);
      await loseTail();
    };
    await Promise.all([blocking, inVain, waited()]);
    assert.ok(await isBlocked(opened, signal));
  });
  await within(TEST_MS * 2, work, 'the block');
});

async function assertRejects(work: Promise<unknown>): Promise<void> {
  const isRefused = await work.then(
    () => false,
    () => true,
  );
  assert.ok(isRefused, 'a majority has it');
}

/** Whether a command of mongoferry has been under way for a while: all of them are done at once, but for their wait. */
async function isWaiting(root: MongoClient): Promise<boolean> {
  const isOurs = { appName: 'mongoferry', 'command.writeConcern': { $exists: true }, secs_running: { $gte: 1 } };
  const found = await root
    .db('admin')
    .aggregate([{ $currentOp: {} }, { $match: isOurs }])
    .toArray();
  return found.length > 0;
}

test.run();
