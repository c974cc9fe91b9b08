import type { CreateCollectionOptions, Document, MongoClient } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { documentOf } from '../../src/bson/raw-document.js';
import { Cluster } from '../../src/cluster/cluster.js';
import { RawWriter } from '../../src/documents/raw-writes.js';
import { createLogger } from '../../src/lib/logger.js';
import type { StartOptions } from '../../src/start/options.js';
import { MigrationHarness } from '../support/migration-harness.js';
import { startPair } from '../support/replica-set.js';
import { sharedPair } from '../support/shared-servers.js';
import { METADATA_DB } from '../support/stored-migration.js';
import { eventually, within } from '../support/within.js';
import { writableAlone } from '../support/writable.js';

/** The first use of an old server fetches it. */
const TEST_MS = 300_000;
const { signal } = new AbortController();
const logger = createLogger({ level: 'ERROR', mongosyncId: 'test', sink: { write: () => undefined } });

const { pair, source, destination } = await sharedPair(test);

interface Setting {
  readonly what: string;
  readonly create?: CreateCollectionOptions;
  readonly index?: readonly [Document, Document];
  readonly start?: Partial<StartOptions>;
  /** Where it is on the destination. */
  readonly db?: string;
}

const DAY = 86_400;
const SETTINGS: readonly Setting[] = [
  { what: 'a collection with TTL', index: [{ at: 1 }, { expireAfterSeconds: DAY }] },
  { what: 'a collated collection', create: { collation: { locale: 'de', strength: 2 } } },
  { what: 'a clustered collection', create: { clusteredIndex: { key: { _id: 1 }, unique: true } } },
  { what: 'a remapped database', start: { namespaceRemap: [{ from: 'shop', to: 'store' }] }, db: 'store' },
  { what: 'a document filter', start: { documentFilter: { field: 'tenant', matchValues: ['red'] } } },
];

async function seed(client: MongoClient, { create, index }: Setting): Promise<void> {
  const db = client.db('shop');
  const items = await db.createCollection<{ _id: string }>('items', create);
  await items.insertMany(
    Array.from({ length: 50 }, (_, n) => ({ _id: `item ${n}`, at: new Date(), tenant: 'red', state: 'right' })),
  );
  if (index !== undefined) await items.createIndex(...index);
}

/** One document lost, one changed, one more; by somebody who passes the write block. */
async function plant(client: MongoClient, db: string): Promise<void> {
  const bypass = { mayBypassWriteBlocking: true };
  const to = client.db(db);
  await to.command({ delete: 'items', deletes: [{ q: { _id: 'item 1' }, limit: 1 }], ...bypass });
  await to.command({ update: 'items', updates: [{ q: { _id: 'item 2' }, u: { $set: { state: 'x' } } }], ...bypass });
  await to.command({ insert: 'items', documents: [{ _id: 'more', at: new Date(), tenant: 'red' }], ...bypass });
}

const PLANTED = ['content', 'extra', 'missing'];

async function foundIn(client: MongoClient): Promise<string[]> {
  const found = await client.db(METADATA_DB).collection('mismatches').find().toArray();
  return found.map(({ kind }) => String(kind)).sort();
}

const isFound = (harness: MigrationHarness, count: number) =>
  eventually(
    60_000,
    async () => [...(harness.snapshot.verification?.mismatches.values() ?? [])].reduce((a, b) => a + b, 0) === count,
    'what was planted',
  );

for (const setting of SETTINGS) {
  test(`${setting.what}: what is planted in it is found`, async () => {
    await seed(source, setting);
    const work = async () => {
      await using harness = await MigrationHarness.open(pair);
      await harness.sync(setting.start);
      await plant(destination, setting.db ?? 'shop');
      await isFound(harness, PLANTED.length);
      assert.equal(await foundIn(destination), PLANTED);
      assert.equal(await harness.migration.repair([]), { repaired: 3, remaining: 0 });
      await harness.commit();
    };
    await within(TEST_MS, work(), 'the migration');
  });
}

for (const verified of [true, false]) {
  const commit = verified ? 'a commit that proved equality' : 'a commit that nothing was verified for';
  test(`reversed after ${commit}: what differs is found`, async () => {
    await seed(source, { what: '' });
    const reversible = { enableUserWriteBlocking: true, reversible: true } as const;
    const work = async () => {
      {
        await using harness = await MigrationHarness.open(pair, { disableVerification: !verified });
        await harness.sync(reversible);
        // Before the commit nothing would find it without verification; afterwards the new source names what changes.
        if (!verified) await plant(destination, 'shop');
        await harness.commit();
      }
      await using harness = await MigrationHarness.open(pair);
      await harness.migration.reverse();
      if (verified) {
        await harness.until(({ state, canCommit }) => state === 'RUNNING' && canCommit, 'canCommit');
        await plant(source, 'shop');
      } else await harness.until(({ state }) => state === 'RUNNING', 'RUNNING');
      await isFound(harness, PLANTED.length);
      assert.equal(await foundIn(source), PLANTED);
    };
    await within(TEST_MS, work(), 'the migrations');
  });
}

test('from 5.0: what is planted is found', async () => {
  const work = async () => {
    await using old = await startPair({ source: { version: '5.0' } });
    const [from, to] = [await old.source.connect(), await old.destination.connect()];
    await seed(from, { what: '' });
    await using harness = await MigrationHarness.open(old);
    await harness.sync();
    await plant(to, 'shop');
    await isFound(harness, PLANTED.length);
    assert.equal(await foundIn(to), PLANTED);
  };
  await within(TEST_MS, work(), 'the migration');
});

test('a document whose _id is no UTF-8 is followed and repaired as any other', async () => {
  await source.db('shop').createCollection('items');
  const id = documentOf('_id', 2, Buffer.from([2, 0, 0, 0, 0xff, 0]));
  const withN = (n: number) => {
    const body = Buffer.concat([id.subarray(4, -1), Buffer.from([0x10, 0x6e, 0, n, 0, 0, 0, 0])]);
    const length = Buffer.alloc(4);
    length.writeInt32LE(body.length + 4);
    return Buffer.concat([length, body]);
  };
  const write = async (uri: string, kind: 'insert' | 'delete', statement: Buffer) => {
    const cluster = await Cluster.connect({ name: 'test', uri, logger, maxPoolSize: 2 });
    const raw = await RawWriter.create(writableAlone(cluster), 'probe', signal);
    await raw.write(
      { db: 'shop', coll: 'items', kind, statements: [statement], ordered: true, uuid: undefined },
      signal,
    );
    await cluster.close();
  };
  const work = async () => {
    await write(pair.source.uri, 'insert', withN(1));
    await using harness = await MigrationHarness.open(pair);
    await harness.sync();
    const deletion = Buffer.concat([Buffer.from([3, 0x71, 0]), id, Buffer.from([0x10]), Buffer.from('limit\0')]);
    const statement = Buffer.concat([Buffer.alloc(4), deletion, Buffer.from([1, 0, 0, 0, 0])]);
    statement.writeInt32LE(statement.length);
    await write(pair.destination.uri, 'delete', statement);
    await write(pair.destination.uri, 'insert', withN(2));
    await isFound(harness, 1);
    assert.equal(await foundIn(destination), ['content']);
    assert.equal(await harness.migration.repair([]), { repaired: 1, remaining: 0 });
    await harness.commit();
  };
  await within(TEST_MS, work(), 'the migration');
});

test.run();
