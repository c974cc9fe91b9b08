import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type CatalogEntry, listCollectionsOf, listDatabases, listIndexes } from '../../src/catalog/catalog.js';
import { listIndexesOf, listManyIndexes } from '../../src/catalog/index-listing.js';
import { comparableIndex } from '../../src/catalog/index-spec.js';
import { nsText } from '../../src/catalog/namespace.js';
import { FAIL_POINTS } from '../support/fail-points.js';
import { seedCollated, seedIndexes, seedKinds, seedNames } from '../support/seed-data-catalog.js';
import { sharedCluster, sharedSet } from '../support/shared-servers.js';
import { resetClusters } from '../support/stored-migration.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 60_000;
const NS = { db: 'many', coll: 'c0' };

const set = await sharedSet(test, { setParameters: FAIL_POINTS });
const client = await set.connect();
const cluster = await sharedCluster(test, 'cluster0', set);

test.before.each(() => resetClusters(client));

/** Enough collections to be listed together. */
async function seedMany(): Promise<void> {
  for (let n = 0; n < 50; n++) await client.db('many').createCollection(`c${n}`);
}

async function collectionsNow(signal: AbortSignal): Promise<CatalogEntry[]> {
  const entries = await listCollectionsOf(cluster, await listDatabases(cluster, signal), signal);
  return entries.filter(({ type }) => type === 'collection');
}

test('one listing of all collections says of indexes of every kind what listIndexes says of each', async () => {
  await within(
    TEST_MS,
    async (signal) => {
      await seedMany();
      for (const seed of [seedIndexes, seedKinds, seedCollated, seedNames]) await seed(client);
      const entries = await collectionsNow(signal);
      const listed = await listManyIndexes(cluster, entries, signal);
      let indexes = 0;
      for (const { ns } of entries) {
        const alone = await listIndexes(cluster, ns, signal);
        indexes += alone.length;
        assert.equal(listed?.get(nsText(ns))?.indexes.map(comparableIndex), alone.map(comparableIndex), nsText(ns));
      }
      assert.ok(indexes > 30, `${indexes} indexes`);
    },
    'the listing',
  );
});

test('an index that is being built is not among them, and its collection is told of', async () => {
  await within(
    TEST_MS,
    async (signal) => {
      await seedMany();
      await client.db('many').collection('c0').insertOne({ a: 1 });
      const hang = (mode: string) =>
        client.db('admin').command({ configureFailPoint: 'hangAfterStartingIndexBuild', mode });
      await hang('alwaysOn');
      const building = client.db('many').createIndex('c0', { a: 1 });
      try {
        const look = async () =>
          (await listManyIndexes(cluster, await collectionsNow(signal), signal))?.get(nsText(NS));
        await eventually(10_000, async () => (await look())?.isBuilding === true, 'the build');
        assert.equal((await look())?.indexes, []);
        await hang('off');
        await building;
        const { indexes, isBuilding } = (await look()) ?? {};
        assert.equal([indexes?.length, isBuilding], [1, false]);
      } finally {
        await hang('off');
        await building;
      }
    },
    'the build',
  );
});

test('what was made anew or renamed since it was listed is asked for by itself', async () => {
  await within(
    TEST_MS,
    async (signal) => {
      await seedMany();
      const entries = await collectionsNow(signal);
      const many = client.db('many');
      await many.dropCollection('c0');
      await many.createIndex('c0', { b: 1 });
      await many.renameCollection('c1', 'elsewhere');
      const listed = await listManyIndexes(cluster, entries, signal);
      assert.equal([listed?.size, listed?.has('many.c0'), listed?.has('many.c1')], [48, false, false]);
      const found = await listIndexesOf(cluster, entries, signal);
      assert.equal([found.size, found.get('many.c0')?.[0]?.get('name'), found.get('many.c1')], [50, 'b_1', []]);
    },
    'the changes',
  );
});

test.run();
