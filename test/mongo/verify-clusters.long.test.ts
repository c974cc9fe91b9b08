/** Two clusters that are compared while more of their documents change than are kept in memory. */
import type { MongoClient } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { follow, seedBoth } from '../support/following.js';
import { sharedPair } from '../support/shared-servers.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 60_000;
/** Several rounds of the verifier, of half a second; what is found must not depend on how many. */
const BEHIND_MS = 3000;

const { pair, source, destination } = await sharedPair(test);

test('many documents that have expired on one side leave room for those that change', async () => {
  const work = async () => {
    await seedBoth([source, destination]);
    for (const client of [source, destination]) {
      await client.db('admin').command({ setParameter: 1, ttlMonitorEnabled: false });
      await client.db('shop').collection('items').createIndex({ at: 1 }, { expireAfterSeconds: 0 });
    }
    const at = new Date(0);
    const expired = Array.from({ length: 51_000 }, (_, n) => ({ _id: 1000 + n, at }));
    await source.db('shop').collection<{ _id: number }>('items').insertMany(expired);
    const following = follow(pair);
    await eventually(30_000, async () => following.phase() === 'stream hashing', 'the first comparison');
    await new Promise((resolve) => setTimeout(resolve, BEHIND_MS));
    const items = source.db('shop').collection<{ _id: number }>('items');
    await items.updateOne({ _id: 60 }, { $set: { n: 'other' } });
    for (const client of [source, destination]) {
      await client
        .db('shop')
        .collection<{ _id: number }>('items')
        .updateMany({ _id: { $lt: 50 } }, { $set: { n: 0 } });
      await new Promise((resolve) => setTimeout(resolve, BEHIND_MS / 3));
    }
    following.stopped.resolve();
    assert.equal(await following.found, ['shop.items content']);
  };
  await within(TEST_MS, work(), 'the comparison');
});

test('a replication that is behind by more documents than are kept in memory is followed to its end', async () => {
  const work = async () => {
    await seedBoth([source, destination]);
    const following = follow(pair);
    await eventually(30_000, async () => following.phase() === 'stream hashing', 'the first comparison');
    const many = Array.from({ length: 52_000 }, (_, n) => ({ _id: 1000 + n }));
    const insertInto = (client: MongoClient) => client.db('shop').collection<{ _id: number }>('items').insertMany(many);
    await insertInto(source);
    await new Promise((resolve) => setTimeout(resolve, BEHIND_MS));
    await insertInto(destination);
    following.stopped.resolve();
    assert.equal(await following.found, []);
  };
  await within(TEST_MS, work(), 'the comparison');
});

test.run();
