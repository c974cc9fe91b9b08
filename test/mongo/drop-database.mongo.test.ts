import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { sendCreate } from '../../src/catalog/destination-catalog.js';
import { assertEqualClusters } from '../support/compare-clusters.js';
import { MigrationHarness } from '../support/migration-harness.js';
import { sharedCluster, sharedPair } from '../support/shared-servers.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 90_000;

const { pair, source, destination } = await sharedPair(test);

async function seed(...names: readonly string[]): Promise<void> {
  for (const name of names) {
    const db = source.db(name);
    await db.collection('a').insertMany([{ n: 1 }, { n: 2 }]);
    await db.createCollection('view1', { viewOn: 'a', pipeline: [{ $match: { n: 1 } }] });
    await db.createCollection('view2', { viewOn: 'view1', pipeline: [] });
  }
}

async function databasesOf(client: typeof destination): Promise<string[]> {
  const { databases } = await client.db('admin').admin().listDatabases({ nameOnly: true });
  return databases.map(({ name }) => name);
}

test('a dropped database takes its views along, and what is created in it later stays', async () => {
  const migrate = async () => {
    await seed('App', 'again', 'gone');
    await using harness = await MigrationHarness.open(pair);
    await harness.sync();
    await source.db('gone').dropDatabase();
    await source.db('again').dropDatabase();
    await source.db('again').createCollection('view2', { viewOn: 'b', pipeline: [{ $match: { n: 2 } }] });
    await source.db('again').collection('a').insertOne({ n: 3 });
    await source.db('App').dropDatabase();
    await seed('app');
    await source.db('app').dropDatabase();
    await source.db('APP').createCollection('view1', { viewOn: 'a', pipeline: [] });
    await harness.commit();
    await assertEqualClusters(source, destination);
    const left = await databasesOf(destination);
    assert.ok(left.includes('APP') && left.includes('again') && !left.includes('gone'), left.join());
  };
  await within(TEST_MS, migrate(), 'the migration');
});

test('views that go without any event are gone after the commit, and what comes under their names takes their place', async () => {
  const migrate = async () => {
    await seed('one', 'two');
    await using harness = await MigrationHarness.open(pair);
    await harness.sync();
    for (const name of ['one', 'two']) await source.db(name).command({ drop: 'system.views' });
    await source.db('two').createCollection('view1', { viewOn: 'a', pipeline: [{ $match: { n: 2 } }] });
    await source.db('two').createCollection('view2');
    await source.db('two').collection('view2').insertOne({ n: 1 });
    await source.db('one').collection('a').rename('view1');
    await harness.commit();
    await assertEqualClusters(source, destination);
    const names = (await destination.db('one').listCollections().toArray()).map(({ name }) => name);
    assert.not.ok(names.includes('view2'), names.join());
  };
  await within(TEST_MS, migrate(), 'the migration');
});

test('a database that has lost its collections one by one gives its name to another case of it', async () => {
  const create = async () => {
    const cluster = await sharedCluster(test, 'cluster1', pair.destination);
    const signal = AbortSignal.timeout(TEST_MS);
    const options = new Map();
    await destination.db('Shop').collection('a').insertOne({ n: 1 });
    await destination.db('Shop').createCollection('view', { viewOn: 'a', pipeline: [] });
    const wanted = { ns: { db: 'shop', coll: 'b' }, options, sharesDestination: false };
    await destination.db('Shop').dropCollection('a');
    await destination.db('Shop').dropCollection('view');
    assert.is(await sendCreate(cluster, wanted, signal), true);
    const names = await databasesOf(destination);
    assert.ok(names.includes('shop') && !names.includes('Shop'), names.join());
  };
  await within(TEST_MS, create(), 'the creation');
});

test('what others have in a database stays when the source drops it', async () => {
  const migrate = async () => {
    await seed('App');
    await source.db('other').collection('a').insertOne({ n: 1 });
    await using harness = await MigrationHarness.open(pair);
    await harness.sync({ enableUserWriteBlocking: 'none' });
    await destination.db('App').collection('foreign').insertOne({ n: 'foreign' });
    await source.db('App').dropDatabase();
    const names = async () => (await destination.db('App').listCollections().toArray()).map(({ name }) => name);
    await eventually(20_000, async () => !(await names()).includes('view1'), 'the drop being applied');
    await source.db('other').collection('a').insertOne({ n: 2 });
    const isApplied = async () => (await destination.db('other').collection('a').countDocuments()) === 2;
    await eventually(20_000, isApplied, 'what comes after the drop being applied');
    assert.equal(await destination.db('App').collection('foreign').countDocuments(), 1);
  };
  await within(TEST_MS, migrate(), 'the migration');
});

test('on a destination with data of others no database is dropped: its name is waited for, with a warning', async () => {
  const migrate = async () => {
    await source.db('App').collection('a').insertOne({ n: 1 });
    await using harness = await MigrationHarness.open(pair);
    const includeNamespaces = [{ databaseRegex: { pattern: '^app\\z', options: 'i' }, collections: [] }];
    const start = { preExistingDestinationData: true, enableUserWriteBlocking: 'none' } as const;
    await harness.sync({ ...start, includeNamespaces });
    await source.db('App').dropDatabase();
    await source.db('app').collection('a').insertOne({ n: 5 });
    const warning = /refuses the database app while it has App.*dropDatabase\(\)/;
    const isTold = () => harness.snapshot.warnings.some((text) => warning.test(text));
    await eventually(30_000, isTold, 'a warning that says what to do');
    await destination.db('App').dropDatabase();
    await harness.commit();
    await assertEqualClusters(source, destination);
  };
  await within(TEST_MS, migrate(), 'the migration');
});

test.run();
