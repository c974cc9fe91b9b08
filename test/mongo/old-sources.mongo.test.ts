/**
 * What is particular to sources before 6.0. The two long ones run from 4.4 here, which differs most
 * from 6.0, and with a third of the documents; whole, from 5.0, and to 6.0.27 from 6.0.5 and itself in old-sources.long.test.ts.
 */
import { type CreateCollectionOptions, type Db, Decimal128, type Document, Double, Long } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { DEFAULT_START, MigrationHarness } from '../support/migration-harness.js';
import { changeCatalog, migrateEverything, seedShop } from '../support/old-sources.js';
import { startPair } from '../support/replica-set.js';
import { within } from '../support/within.js';

/** The first use of an old server fetches it. */
const TEST_MS = 300_000;

for (const version of ['4.4'] as const) {
  test(`from ${version}: everything under a workload of documents, over kills (-9), a pause and the commit`, async () => {
    await within(TEST_MS, migrateEverything(version, 0.35), `the migration from ${version}`);
  });

  test(`from ${version}: each change of the catalog, and a late write, is told by name`, async () => {
    await within(TEST_MS, changeCatalog(version), `the migrations from ${version}`);
  });
}

for (const version of ['4.4', '5.0'] as const) {
  test(`from ${version}: expiry goes on over the commit, old forms are carried`, async () => {
    const migrate = async () => {
      const setParameters = { ttlMonitorSleepSecs: '1' };
      await using pair = await startPair({ source: { version, setParameters } });
      const [source, destination] = [await pair.source.connect(), await pair.destination.connect()];
      const db = await seedShop(source);
      await seedOldForms(db, version);
      await using harness = await MigrationHarness.open(pair);
      assert.equal(
        (await harness.migration.check(DEFAULT_START))
          .map(({ name }) => name)
          .filter((name) => name !== 'ShortOplogWindow'),
        ['OptionNotCarried'],
      );
      for (const buildIndexes of ['afterDataCopy', 'excludeHashedAfterCopy']) {
        const error = await harness.migration.start({ ...DEFAULT_START, buildIndexes }).catch((reason) => reason);
        assert.is(error.code, 'OptionNotSupported');
      }
      await harness.sync();
      // The same start again, without and with what is the default here.
      await harness.migration.start(DEFAULT_START);
      await harness.migration.start({ ...DEFAULT_START, buildIndexes: 'beforeDataCopy' });
      const other = await harness.migration
        .start({ ...DEFAULT_START, buildIndexes: 'never' })
        .catch((reason) => reason);
      assert.is(other.code, 'OptionsDiffer');
      // Each second some of them expire, before, during and after the commit.
      const expiring = Array.from({ length: 12 }, (_, n) => ({ at: new Date(Date.now() - 60_000 + n * 700) }));
      await db.collection('expiring').insertMany(expiring);
      await harness.commit();
      const target = destination.db('shop');
      assert.equal(await optionsOf(target, 'b'), await optionsOf(db, 'b'));
      const indexes = await target.collection('old').indexes();
      const longest = version === '4.4' ? 2_147_483_647 : undefined;
      assert.is(indexes.find(({ name }) => name === 'never')?.['expireAfterSeconds'], longest);
      assert.is(indexes.find(({ name }) => name === 'fraction')?.['expireAfterSeconds'], 86_400);
      assert.is(indexes.find(({ name }) => name === 'unique')?.['unique'], true);
      const values = sparseValues(version);
      const isSparse = (n: number) => indexes.find(({ name }) => name === `sparse ${n}`)?.['sparse'] === true;
      assert.equal(
        values.map((_, n) => isSparse(n)),
        values.map((_, n) => n < values.length / 2),
      );
      assert.is(await target.collection('old').countDocuments(), 2);
    };
    await within(TEST_MS, migrate(), `the migration from ${version}`);
  });
}

async function optionsOf(db: Db, name: string): Promise<unknown> {
  const [found] = await db.listCollections({ name }, { nameOnly: false }).toArray();
  return (found as Document | undefined)?.['options'];
}

/** Values that old servers keep: the first half they take for true, the rest for false. Later ones take only numbers. */
function sparseValues(version: string): readonly unknown[] {
  const [on, off] = version === '4.4' ? ['yes', null] : [0.5, Long.fromNumber(0)];
  return [1, new Double(1), -1, on, 0, new Double(0), off, Decimal128.fromString('0')];
}

/** What old servers hold and later ones refuse or read otherwise. */
async function seedOldForms(db: Db, version: string): Promise<void> {
  const at = new Date();
  await db.createCollection('pre', { recordPreImages: true } as CreateCollectionOptions);
  await db.collection('old').insertMany([
    { at, u: 1 },
    { at, u: 2 },
  ]);
  await db.collection('expiring').createIndex({ at: 1 }, { expireAfterSeconds: 60 });
  await db.command({
    createIndexes: 'old',
    indexes: [
      // 5.0.4 stores it as 0.
      ...(version === '4.4' ? [{ key: { at: 1 }, name: 'never', expireAfterSeconds: Number.NaN }] : []),
      { key: { at: -1 }, name: 'fraction', expireAfterSeconds: 86_400.5 },
      { key: { u: 1 }, name: 'unique', unique: 1 },
      { key: { v: 1 }, name: 'first version', v: 1 },
      ...sparseValues(version).map((sparse, n) => ({ key: { [`s${n}`]: 1 }, name: `sparse ${n}`, sparse })),
      { key: { b: 1 }, name: 'background', background: 1, sparse: new Double(1) },
    ],
  });
}

test('from 4.4: geoHaystack indexes, and a document filter, are refused at the start', async () => {
  const check = async () => {
    await using pair = await startPair({ source: { version: '4.4' } });
    const db = await seedShop(await pair.source.connect());
    await db.command({
      createIndexes: 'a',
      indexes: [{ key: { p: 'geoHaystack', q: 1 }, name: 'hay', bucketSize: 1 }],
    });
    await using harness = await MigrationHarness.open(pair);
    const found = await harness.migration.check({
      ...DEFAULT_START,
      documentFilter: { field: 'a', matchValues: [1] },
    });
    const blockers = found.filter(({ severity }) => severity === 'blocker');
    assert.equal(blockers.map(({ name }) => name).sort(), ['OptionNotSupported', 'UnsupportedIndex']);
    assert.equal(blockers.find(({ name }) => name === 'UnsupportedIndex')?.namespaces, ['shop.a']);
  };
  await within(TEST_MS, check(), 'the check');
});

test.run();
