/** Proves that a test can make a primary roll back its writes. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { FAIL_POINTS } from './fail-points.js';
import { ReplicaSet } from './replica-set.js';
import { cutReplication } from './rollback.js';
import { within } from './within.js';

const TEST_MS = 180_000;

interface Item {
  readonly _id: number;
}

test('what a primary that was cut off has written is rolled back; what a majority had is not', async () => {
  const check = async (): Promise<void> => {
    await using set = await ReplicaSet.start({ members: 3, setParameters: FAIL_POINTS });
    const client = await set.connect({ writeConcern: { w: 'majority' } });
    const items = client.db('shop').collection<Item>('items');
    await items.insertOne({ _id: 1 });
    await using cut = await cutReplication(set);
    const alone = cut.client.db('shop').collection<Item>('items');
    await alone.insertOne({ _id: 2 }, { writeConcern: { w: 1 } });
    const local = await alone.find().toArray();
    const majority = await alone.find({}, { readConcern: 'majority' }).toArray();
    assert.equal([local.length, majority.length], [2, 1]);
    const next = await cut.rollBack();
    assert.is.not(next.index, cut.primary.index);
    await items.insertOne({ _id: 3 });
    assert.equal(await items.find().sort({ _id: 1 }).toArray(), [{ _id: 1 }, { _id: 3 }]);
  };
  await within(TEST_MS, check(), 'the check');
});

test('a cut that is healed loses nothing', async () => {
  const check = async (): Promise<void> => {
    await using set = await ReplicaSet.start({ members: 3, setParameters: FAIL_POINTS });
    const client = await set.connect();
    {
      await using cut = await cutReplication(set);
      await cut.client
        .db('shop')
        .collection<Item>('items')
        .insertOne({ _id: 2 }, { writeConcern: { w: 1 } });
    }
    const items = client.db('shop').collection<Item>('items');
    await items.insertOne({ _id: 3 }, { writeConcern: { w: 3 } });
    assert.equal(await items.find().sort({ _id: 1 }).toArray(), [{ _id: 2 }, { _id: 3 }]);
  };
  await within(TEST_MS, check(), 'the check');
});

test.run();
