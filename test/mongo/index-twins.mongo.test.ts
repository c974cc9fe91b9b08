import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { assertEqualClusters } from '../support/compare-clusters.js';
import { MigrationHarness } from '../support/migration-harness.js';
import { sharedPair } from '../support/shared-servers.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 120_000;

const { pair, source, destination } = await sharedPair(test);

const items = (n: number) => source.db('shop').collection(`items${n}`);

async function namesOn(client: typeof source, n: number): Promise<string[]> {
  const indexes = await client.db('shop').collection(`items${n}`).indexes();
  return indexes.map(({ name }) => String(name)).sort();
}

test('the non-unique twin of a unique index waits for the commit, is named, and is there after it, and after a reversal', async () => {
  const migrate = async () => {
    for (let n = 0; n < 4; n++) await items(n).insertMany([{ a: 1 }, { a: 2 }]);
    await items(0).createIndex({ a: 1 }, { name: 'strict', unique: true });
    await items(1).createIndex({ a: 1 }, { name: 'plain', hidden: true });
    await using harness = await MigrationHarness.open(pair);
    await harness.sync({ reversible: true, enableUserWriteBlocking: true });
    await items(0).createIndex({ a: 1 }, { name: 'plain', expireAfterSeconds: 86_400 });
    await items(1).createIndex({ a: 1 }, { name: 'strict', unique: true });
    await source.db('shop').command({
      createIndexes: 'items2',
      indexes: [
        { key: { a: 1 }, name: 'plain' },
        { key: { a: 1 }, name: 'strict', unique: true },
        { key: { a: -1 }, name: 'other' },
      ],
    });
    await items(3).createIndex({ a: 1 }, { name: 'strict', unique: true });
    await items(3).createIndex({ a: 1 }, { name: 'plain' });
    await items(3).dropIndex('strict');
    await items(3).insertOne({ a: 2 });
    const isTold = (n: number) =>
      harness.snapshot.warnings.some((text) => new RegExp(`index plain of shop.items${n} .* index strict`).test(text));
    for (const n of [0, 1, 2]) await eventually(20_000, () => isTold(n), `a warning of the twin in items${n}`);
    const isBuilt = async () => (await namesOn(destination, 3)).join() === '_id_,plain';
    await eventually(20_000, isBuilt, 'what has no twin any more being built at once');
    await harness.caughtUp();
    for (const n of [0, 1]) assert.equal(await namesOn(destination, n), ['_id_', 'strict']);
    await harness.commit();
    await assertEqualClusters(source, destination);
    await harness.reverse();
    for (const n of [0, 1]) assert.equal(await namesOn(source, n), ['_id_', 'strict']);
    await harness.commit();
    await assertEqualClusters(source, destination);
  };
  await within(TEST_MS, migrate(), 'the migration');
});

test.run();
