import { BSON } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { compareClusters } from '../support/compare-clusters.js';
import { DEFAULT_START, MigrationHarness } from '../support/migration-harness.js';
import { startPair } from '../support/replica-set.js';
import { insertBatch } from '../support/seed-data-bulk.js';
import { within } from '../support/within.js';

test('pausing at once, in the copy and in the steady state loses nothing, and nothing moves while paused', async () => {
  await within(
    120_000,
    async () => {
      await using pair = await startPair();
      const source = await pair.source.connect();
      const documents = Array.from({ length: 30_000 }, (_, n) =>
        Buffer.from(BSON.serialize({ _id: n, pad: 'x'.repeat(400) })),
      );
      await insertBatch(source.db('shop'), 'orders', documents);
      await source.db('shop').collection('orders').createIndex({ pad: 1 });
      await using harness = await MigrationHarness.open(pair, { loadLevel: 1 });
      const { migration } = harness;
      await migration.start(DEFAULT_START);
      // While the catalog is read and the collections are created.
      for (let time = 0; time < 5; time++) {
        await migration.pause();
        await migration.resume();
      }
      await harness.until((snapshot) => (snapshot.copy?.copiedBytes ?? 0) > 0, 'the copy beginning');
      await migration.pause();
      assert.is(harness.snapshot.state, 'PAUSED');
      assert.is(harness.snapshot.lag, undefined);
      const copied = harness.snapshot.copy?.copiedBytes;
      await source
        .db('shop')
        .collection<{ _id: number }>('orders')
        .deleteMany({ _id: { $lt: 1000 } });
      assert.is(harness.snapshot.copy?.copiedBytes, copied);
      await migration.resume();
      await harness.caughtUp();
      await migration.pause();
      await source
        .db('shop')
        .collection<{ _id: number }>('orders')
        .updateMany({ _id: { $gt: 29_000 } }, { $set: { late: true } } as never);
      const target = (await pair.destination.connect()).db('shop').collection('orders');
      assert.is(await target.countDocuments({ late: true }), 0);
      await migration.resume();
      await harness.commit();
      assert.equal(await compareClusters(source, await pair.destination.connect()), []);
    },
    'the migration with pauses',
  );
});

test.run();
