import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Position } from '../../src/bson/position.js';
import { COMMIT_POINTS, killAt } from '../support/commit-points.js';
import { assertEqualClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS } from '../support/fail-points.js';
import { FerryClient } from '../support/ferry-client.js';
import { FerryProcess } from '../support/ferry-process.js';
import { seedRestorable } from '../support/seed-shop.js';
import { sharedPair } from '../support/shared-servers.js';
import { METADATA_DB, storedMigration } from '../support/stored-migration.js';
import { within } from '../support/within.js';

const TEST_MS = 60_000;

const { pair, source, destination } = await sharedPair(test, { setParameters: FAIL_POINTS });

test.before.each(() => seedRestorable(source, 500));

test('a write on the source between the kill and the restart counts as late once the commit time is stored', async () => {
  const killAndWrite = async () => {
    await using ferry = await FerryProcess.between(pair);
    await killAt(ferry, { source, destination }, COMMIT_POINTS.timeStored);
    await source.db('shop').collection('items').insertOne({ sku: 'late' });
    await ferry.restart();
    assert.is((await ferry.exited).code, 4);
    assert.match(ferry.log.at(-1)?.message ?? '', /insert of shop\.items was made on the source after the commit/);
    assert.is((await storedMigration(destination))?.['canWrite'], false);
  };
  await within(TEST_MS, killAndWrite(), 'the late write');
});

test('nothing is replayed into a capped collection of its true size, whenever the process is killed', async () => {
  const kill = async () => {
    const recent = source.db('shop').collection('recent');
    await using ferry = await FerryProcess.between(pair);
    {
      using client = new FerryClient(ferry.grpcTarget);
      await client.start();
      await client.waitForCanCommit();
    }
    // Right before the commit, so that no checkpoint in between holds them by itself.
    await recent.insertMany(Array.from({ length: 20 }, (_, n) => ({ late: n })));
    await killAt(ferry, { source, destination }, COMMIT_POINTS.restoring);
    const [checkpoint, migration] = await Promise.all([
      destination.db(METADATA_DB).collection('checkpoint').findOne(),
      storedMigration(destination),
    ]);
    const safe = Position.fromText(String(checkpoint?.['token'])).time;
    assert.ok(safe.greaterThanOrEqual(migration?.['commit'].time), 'the commit time is safe');
    await ferry.restart();
    using client = new FerryClient(ferry.grpcTarget);
    await client.waitForState('COMMITTED');
    await assertEqualClusters(source, destination);
  };
  await within(TEST_MS, kill(), 'the kill');
});

/** What the owner of the destination does while the last restorations wait for a restart; resolves once it is over. */
async function afterTheHandover(ownerActs: () => Promise<unknown>): Promise<void> {
  await using ferry = await FerryProcess.between(pair);
  await killAt(ferry, { source, destination }, COMMIT_POINTS.finishing);
  await ownerActs();
  await ferry.restart();
  using client = new FerryClient(ferry.grpcTarget);
  const ended = ferry.exited.then(({ code }) =>
    Promise.reject(new Error(`the process ended with ${code}: ${ferry.log.at(-1)?.message}`)),
  );
  await Promise.race([client.waitForState('COMMITTED'), ended]);
  ended.catch(() => undefined);
  assert.is((await storedMigration(destination))?.['canWrite'], true);
}

test('what applications write between the hand-over and the restart stays, and the source no longer matters', async () => {
  const write = async () => {
    const items = destination.db('shop').collection<{ sku: unknown }>('items');
    await afterTheHandover(async () => {
      await items.insertOne({ sku: 'ours' });
      await destination.db('shop').collection('recent').drop();
      await source.db('shop').collection('items').insertOne({ sku: 'lost' });
    });
    assert.equal(await items.countDocuments({ sku: { $in: ['ours', 'lost'] } }), 1);
    const sku = (await items.indexes()).find(({ name }) => name === 'sku_1');
    assert.equal([sku?.['unique'], sku?.['prepareUnique']], [true, undefined]);
  };
  await within(TEST_MS, write(), 'the writes');
});

test('indexes and collections that the owner dropped after the hand-over are no obstacle', async () => {
  const drop = async () => {
    await afterTheHandover(async () => {
      await destination.db('shop').collection('items').dropIndex('sku_1');
      await destination.db('shop').collection('recent').drop();
    });
  };
  await within(TEST_MS, drop(), 'the drops');
});

test('a collection that its owner replaced by a view after the hand-over does not fail the migration', async () => {
  const replace = async () => {
    await afterTheHandover(async () => {
      const db = destination.db('shop');
      await db.collection('items').rename('articles');
      await db.createCollection('items', { viewOn: 'articles', pipeline: [] });
    });
    assert.is((await storedMigration(destination))?.['failure'], undefined);
  };
  await within(TEST_MS, replace(), 'the view');
});

test('a collection that its owner renamed after the hand-over gets its expiry and uniqueness under the new name', async () => {
  const rename = async () => {
    const db = destination.db('shop');
    await afterTheHandover(() => db.collection('items').rename('articles'));
    const indexes = await db.collection('articles').indexes();
    const given = indexes.map(({ name, unique, expireAfterSeconds }) => [name, unique, expireAfterSeconds]);
    assert.equal(given, [
      ['_id_', undefined, undefined],
      ['sku_1', true, undefined],
      ['at_1', undefined, 3600],
    ]);
  };
  await within(TEST_MS, rename(), 'the rename');
});

test.run();
