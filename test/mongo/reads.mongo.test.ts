import { type Binary, BSON, UUID } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { findByUuid, findCollection } from '../../src/catalog/catalog.js';
import { emptyCollection } from '../../src/catalog/destination-catalog.js';
import { collectionSize, sampleBounds } from '../../src/documents/partition.js';
import { rawBatches } from '../../src/documents/raw-cursor.js';
import { readByIds } from '../../src/documents/read-by-id.js';
import { AppError } from '../../src/errors.js';
import { sharedCluster, sharedSet } from '../support/shared-servers.js';
import { within } from '../support/within.js';

const TEST_MS = 60_000;
const { signal } = new AbortController();
const OTHER = new UUID() as Binary;

const set = await sharedSet(test);
const client = await set.connect();
const cluster = await sharedCluster(test, 'cluster0', set);

test('sizes are of no view, and samples of the collection meant, not of another one under its name', async () => {
  const look = async () => {
    const ns = { db: 't', coll: 'sized' };
    const documents = Array.from({ length: 3000 }, (_, n) => ({ _id: n as never, pad: 'x'.repeat(100) }));
    await client.db('t').collection('sized').insertMany(documents);
    await client.db('t').createCollection('view', { viewOn: 'sized' });
    const uuid = (await findCollection(cluster, ns, signal))?.uuid;
    const wanted = { partitions: 4, documents: 3000 };
    assert.is((await collectionSize(cluster, ns, signal)).documents, 3000);
    assert.is((await sampleBounds(cluster, ns, uuid, wanted, signal)).length, 3);
    for (const coll of ['view', 'nothing'])
      assert.equal(await collectionSize(cluster, { db: 't', coll }, signal), { documents: 0, bytes: 0 }, coll);
    for (const [coll, id] of [
      ['sized', OTHER],
      ['view', uuid],
      ['nothing', uuid],
    ] as const)
      assert.equal(await sampleBounds(cluster, { db: 't', coll }, id, wanted, signal), [], coll);
    // One in twenty-five at most: more would read the whole collection.
    const many = await sampleBounds(cluster, ns, uuid, { partitions: 2000, documents: 3000 }, signal);
    assert.ok(many.length > 50 && many.length <= 120, `${many.length} bounds`);
  };
  await within(TEST_MS, look(), 'the looks');
});

test('documents are read by any number of _ids of any size, and a dropped collection is told of', async () => {
  const read = async () => {
    const coll = client.db('t').collection<{ _id: string }>('large');
    const ids = Array.from({ length: 1000 }, (_, n) => `${n}-${'x'.repeat(20_000)}`);
    for (let from = 0; from < ids.length; from += 500)
      await coll.insertMany(ids.slice(from, from + 500).map((_id) => ({ _id })));
    const ns = { db: 't', coll: 'large' };
    const uuid = (await findCollection(cluster, ns, signal))?.uuid;
    const raw = ids.map((_id) => Buffer.from(BSON.serialize({ _id })));
    let found = 0;
    for await (const batch of readByIds(cluster, { ns, uuid }, raw, signal)) found += batch.length;
    assert.is(found, 1000);
    await coll.rename('larger');
    found = 0;
    for await (const batch of readByIds(cluster, { ns, uuid }, raw.slice(0, 300), signal)) found += batch.length;
    assert.is(found, 300);
    await client.db('t').collection('larger').drop();
    const batches: (Buffer[] | 'gone')[] = [];
    for await (const batch of readByIds(cluster, { ns, uuid }, raw, signal)) batches.push(batch);
    assert.equal(batches, ['gone']);
    assert.is(await findByUuid(cluster, uuid as Binary, 't', signal), undefined);
  };
  await within(TEST_MS, read(), 'the reads');
});

test('the driver goes on with a session whose replies were given back, and nothing of them is left', async () => {
  const read = async () => {
    const documents = Array.from({ length: 300 }, (_, n) => ({ _id: n as never, pad: 'x'.repeat(20_000) }));
    await client.db('t').collection('freed').insertMany(documents);
    const command = { find: 'freed', batchSize: 50 };
    let found = 0;
    for await (const batch of rawBatches(cluster, { db: 't', command, batchSize: 50 }, signal)) {
      const before = process.memoryUsage().arrayBuffers;
      batch.free();
      assert.ok(before - process.memoryUsage().arrayBuffers >= batch.bytes, 'the memory of a reply is left');
      found += batch.length;
    }
    assert.is(found, documents.length);
    assert.is((await cluster.command('t', { count: 'freed' }, { signal }))['n'], documents.length);
  };
  await within(TEST_MS, read(), 'the reads');
});

test('emptying another collection than the one meant is no success', async () => {
  await client.db('t').collection('kept').insertOne({});
  const emptying = emptyCollection(cluster, { db: 't', coll: 'kept' }, OTHER, signal);
  const error = await within(
    TEST_MS,
    emptying.then(() => undefined, AppError.from),
    'the refusal',
  );
  assert.is(error?.code, 'DestinationModified', String(error?.message));
  assert.is(await client.db('t').collection('kept').countDocuments(), 1);
});

test.run();
