import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encode } from '../../src/bson/bson.js';
import { collectionSize, sampleBounds } from '../../src/documents/partition.js';
import { MetadataStore } from '../../src/metadata/store.js';
import { recheckKey, VerificationStore } from '../../src/metadata/verification-store.js';
import { Mismatches } from '../../src/verify/mismatches.js';
import { sharedCluster, sharedSet } from '../support/shared-servers.js';

const COLLECTION = 'a'.repeat(32);
const LARGE_BYTES = 1_000_000;
const { signal } = new AbortController();

const set = await sharedSet(test);
const client = await set.connect();
const cluster = await sharedCluster(test, 'cluster1', set);

test('documents of more than 16 MB in all are stored, found again and removed, none left out', async () => {
  const store = new VerificationStore(new MetadataStore(cluster, 'metadata'));
  const records = Array.from({ length: 40 }, (_, n) => ({
    collection: COLLECTION,
    id: encode({ _id: `${n} ${'x'.repeat(LARGE_BYTES)}` }),
  }));
  await store.putRechecks(records, signal);
  const keys: string[] = [];
  for await (const record of store.loadRechecks(signal)) keys.push(recheckKey(record));
  assert.equal(keys.sort(), records.map(recheckKey).sort());
  await store.putMismatches(
    records.map((each) => ({ ...each, namespace: 'shop.items', kind: 'extra', field: '', foundAt: new Date(0) })),
    signal,
  );
  const page = await store.mismatches('', 1000, signal);
  assert.ok(page.length > 0 && page.length <= 16, `${page.length} documents of a megabyte in a page`);
  const mismatches = new Mismatches(store);
  await mismatches.load(signal);
  assert.is(mismatches.total, records.length);
  await mismatches.forget(COLLECTION, signal);
  assert.is(mismatches.total, 0);
  // Beside many that are not there: a command for all of their names would be too large.
  const others = Array.from({ length: 300_000 }, (_, n) => `${COLLECTION}:${n}`);
  await store.deleteRechecks([...others, ...keys], signal);
  assert.is(await client.db('metadata').collection('verifyRecheck').countDocuments(), 0);
});

test('what is gone, or has become a view, has no size', async () => {
  await client.db('shop').collection('items').insertOne({});
  await client.db('shop').createCollection('view', { viewOn: 'items', pipeline: [] });
  for (const coll of ['view', 'missing']) {
    const ns = { db: 'shop', coll };
    assert.equal(await collectionSize(cluster, ns, signal), { documents: 0, bytes: 0 });
  }
  const missing = { db: 'shop', coll: 'missing' };
  assert.equal(await sampleBounds(cluster, missing, undefined, { partitions: 3, documents: 1000 }, signal), []);
});

test.run();
