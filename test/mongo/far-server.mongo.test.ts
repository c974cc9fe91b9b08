/** The distance and the sink of the bench, between the driver and a real server. */
import { MongoClient } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { FarServer } from '../../bench/sink/far-server.js';
import { sharedSet } from '../support/shared-servers.js';
import { METADATA_DB } from '../support/stored-migration.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 30_000;
const DELAY_MS = 60;

const set = await sharedSet(test);
const near = await set.connect();

async function throughFar(isSink: boolean, act: (far: MongoClient, server: FarServer) => Promise<void>): Promise<void> {
  const [target = ''] = set.hosts;
  await using server = await FarServer.start({ target, delayMs: DELAY_MS, isSink });
  await using far = new MongoClient(`mongodb://${server.host}`, { directConnection: true });
  await within(TEST_MS, act(far, server), 'the far server');
}

test('the sink answers writes of documents as a server does, and keeps nothing but the metadata', async () => {
  await throughFar(true, async (far) => {
    const items = far.db('shop').collection<{ _id: number }>('items');
    const documents = Array.from({ length: 3000 }, (_, _id) => ({ _id, text: 'x'.repeat(1000) }));
    assert.is((await items.insertMany(documents)).insertedCount, 3000);
    assert.is((await items.updateOne({ _id: 1 }, { $set: { n: 1 } })).modifiedCount, 1);
    assert.is((await items.deleteOne({ _id: 1 })).deletedCount, 1);
    await far.db(METADATA_DB).collection<{ _id: string }>('lease').insertOne({ _id: 'migration' });
    await far.db('shop').createCollection('made');
    assert.is(await near.db('shop').collection('items').countDocuments(), 0);
    assert.is(await near.db(METADATA_DB).collection('lease').countDocuments(), 1);
    assert.is((await near.db('shop').listCollections({ name: 'made' }).toArray()).length, 1);
  });
});

test('what is far away answers later, each time, and stores what it is sent', async () => {
  await throughFar(false, async (far) => {
    await far.db('shop').command({ ping: 1 });
    const begun = performance.now();
    await Promise.all([1, 2, 3].map((n) => far.db('far').collection('items').insertOne({ n })));
    assert.ok(performance.now() - begun >= DELAY_MS);
    assert.is(await near.db('far').collection('items').countDocuments(), 3);
  });
});

test('a sink that stands still answers no writes, tells how many wait, and answers them later', async () => {
  await throughFar(true, async (far, server) => {
    await server.hold(true);
    let isAnswered = false;
    const writing = far
      .db('shop')
      .collection('items')
      .insertOne({})
      .then(() => {
        isAnswered = true;
      });
    await eventually(TEST_MS, async () => (await server.hold(true)) === 1, 'the write at the sink');
    await far.db('shop').command({ ping: 1 });
    assert.is(isAnswered, false);
    assert.is(await server.hold(false), 0);
    await writing;
  });
});

test.run();
