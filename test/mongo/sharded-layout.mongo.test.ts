/** How collections lie on a sharded destination: keys, indexes, primaries, chunks, and balancers at rest. */
import type { Document } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { StartOptions } from '../../src/start/options.js';
import { holdCommands, releaseCommands } from '../support/fail-points.js';
import type { MigrationHarness } from '../support/migration-harness.js';
import {
  openBetween,
  outcomeOf,
  plainSide,
  shardedSide,
  shardInTwo,
  shardingEntry,
  shardKeysOf,
  startOf,
} from '../support/sharded-migration.js';
import { sharedSet, sharedShardedCluster } from '../support/shared-servers.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 90_000;

const [from, to, plain] = await Promise.all([
  sharedShardedCluster(test, { name: 'from' }).then(shardedSide),
  sharedShardedCluster(test, { name: 'to' }).then(shardedSide),
  sharedSet(test).then(plainSide),
]);

/** The options of a replica set's database whose collections are given keys. */
function withKeys(db: string, keys: Record<string, Document>, options: Partial<StartOptions> = {}): StartOptions {
  const shardingEntries = Object.entries(keys).map(([name, key]) => shardingEntry(db, name, key));
  return startOf(db, { sharding: { createSupportingIndexes: true, shardingEntries }, ...options });
}

function logged(harness: MigrationHarness, text: string): boolean {
  return harness.logLines.some((line) => line.includes(text));
}

async function indexNames(side: { client: typeof plain.client }, db: string, name: string): Promise<string[]> {
  return (await side.client.db(db).collection(name).indexes()).map((each) => String(each.name)).sort();
}

function keyDocument(_id: number): Document {
  return { _id: _id as never, a: _id % 50, b: `b${_id}`, s: { t: _id } };
}

test('keys of every kind are given, and their missing indexes made: hashed, compound, dotted, mixed, descending (through the router double)', async () => {
  const run = async () => {
    const db = 'kinds';
    const keys = {
      hashed: { _id: 'hashed' },
      hashedA: { a: 'hashed' },
      compound: { a: 1, b: 1 },
      dotted: { 's.t': 1 },
      mixed: { a: 1, 's.t': 'hashed' },
      hashedFirst: { b: 'hashed', a: 1 },
      id: { _id: 1 },
    };
    for (const name of [...Object.keys(keys), 'unsharded'])
      await plain.client
        .db(db)
        .collection(name)
        .insertMany(Array.from({ length: 60 }, (_, id) => keyDocument(id)));
    await using harness = await openBetween(plain, to, db);
    await harness.migration.start(withKeys(db, keys));
    await harness.commit();
    const expected = Object.entries(keys).map(([name, key]) => [name, JSON.stringify(key)] as const);
    assert.equal(await shardKeysOf(to, db), Object.fromEntries(expected.sort(([a], [b]) => (a < b ? -1 : 1))));
    for (const [name, index] of [
      ['compound', 'a_1_b_1'],
      ['dotted', 's.t_1'],
      ['hashedA', 'a_hashed'],
    ] as const)
      assert.equal(await indexNames(to, db, name), ['_id_', index]);
    const documents = (await outcomeOf({ source: plain, destination: to, db }, harness)).filter(
      (line) => !line.includes('indexes'),
    );
    assert.equal(documents, []);
    assert.equal(
      harness.snapshot.warnings.filter((text) => text.includes('index')),
      [],
    );
  };
  await within(TEST_MS, run(), 'the migration');
});

test('an index of the source serves its key; one that the server made goes after the commit, and none of the source goes (through the router double)', async () => {
  const run = async () => {
    const db = 'indexes';
    const shop = plain.client.db(db);
    await shop.collection('served').createIndex({ a: 1, b: 1 });
    await shop.collection('served').insertMany(Array.from({ length: 50 }, (_, id) => keyDocument(id)));
    const keys = { served: { a: 1 }, late: { a: 1 }, lateToo: { a: 1 } };
    await using harness = await openBetween(plain, to, db);
    const shardingEntries = Object.entries(keys).map(([name, key]) => shardingEntry(db, name, key));
    await harness.migration.start(startOf(db, { sharding: { createSupportingIndexes: false, shardingEntries } }));
    await harness.caughtUp();
    assert.equal(await indexNames(to, db, 'served'), ['_id_', 'a_1_b_1']);
    for (const name of ['late', 'lateToo']) {
      await shop.createCollection(name);
      await shop.collection(name).createIndex({ a: 1, b: 1 });
    }
    await shop.collection('lateToo').createIndex({ a: 1 });
    await eventually(20_000, async () => (await indexNames(to, db, 'lateToo')).length === 3, 'the indexes');
    assert.equal(await indexNames(to, db, 'late'), ['_id_', 'a_1', 'a_1_b_1'], 'the shard key has had no other');
    await harness.commit();
    assert.equal(await shardKeysOf(to, db), { late: '{"a":1}', lateToo: '{"a":1}', served: '{"a":1}' });
    assert.equal(await outcomeOf({ source: plain, destination: to, db }, harness), []);
  };
  await within(TEST_MS, run(), 'the migration');
});

test('where buildIndexes builds none, the index of a key stays; where it builds no hashed ones, it is told (through the router double)', async () => {
  const run = async () => {
    const db = 'unbuilt';
    const shop = plain.client.db(db);
    for (const name of ['byA', 'hashed']) await shop.collection(name).insertOne({ a: 1 });
    const keys = { byA: { a: 1 }, hashed: { a: 'hashed' } };
    const told = (harness: MigrationHarness) => harness.snapshot.warnings.filter((text) => text.includes('the index'));
    {
      await using harness = await openBetween(plain, to, db);
      await harness.migration.start(withKeys(db, keys, { buildIndexes: 'never' }));
      await harness.commit();
      assert.equal(await indexNames(to, db, 'byA'), ['_id_', 'a_1']);
      assert.equal(await indexNames(to, db, 'hashed'), ['_id_', 'a_hashed']);
      assert.equal(told(harness), []);
    }
    await using harness = await openBetween(plain, to, db);
    await harness.migration.start(withKeys(db, keys, { buildIndexes: 'excludeHashed' }));
    await harness.commit();
    assert.equal(await indexNames(to, db, 'byA'), ['_id_', 'a_1']);
    const [warning, ...more] = told(harness);
    assert.equal(more, []);
    assert.match(warning ?? '', /the index a_hashed of unbuilt\.hashed stays on the destination/, '6.0.5 needs it');
  };
  await within(TEST_MS, run(), 'the migrations');
});

test('a collection keeps its key when it is renamed once its copy has begun (through the router double)', async () => {
  const run = async () => {
    const db = 'renames';
    const shop = plain.client.db(db);
    await shop.collection('before').insertMany(Array.from({ length: 50 }, (_, id) => keyDocument(id)));
    await shop.collection('during').insertMany(Array.from({ length: 50 }, (_, id) => keyDocument(id)));
    await shop.collection('before').rename('renamed');
    await using harness = await openBetween(plain, to, db);
    await holdCommands(to.client, { commands: ['insert'], namespace: `${db}.during` }, 500);
    try {
      await harness.migration.start(withKeys(db, { before: { a: 1 }, during: { a: 1 } }));
      await eventually(10_000, () => logged(harness, 'Starting collection copy phase'), 'the copy');
      await shop.collection('during').rename('during2');
    } finally {
      await releaseCommands(to.client);
    }
    await harness.commit();
    assert.equal(await shardKeysOf(to, db), { during2: '{"a":1}' }, 'renamed is another name');
  };
  await within(TEST_MS, run(), 'the migration');
});

test('a unique shard key is unique on the destination from the commit on (through the router double)', async () => {
  const run = async () => {
    const db = 'uniqueKeys';
    await shardInTwo(from, `${db}.byA`, { key: { a: 1 }, middle: { a: 50 }, unique: true });
    const documents = Array.from({ length: 100 }, (_, id) => ({ ...keyDocument(id), a: id }));
    await from.client.db(db).collection('byA').insertMany(documents);
    await using harness = await openBetween(from, to, db);
    await harness.migration.start(startOf(db));
    await harness.caughtUp();
    const byA = from.client.db(db).collection('byA');
    for (let a = 0; a < 10; a++) {
      // On their way they would meet: the value goes from one document to the next.
      await byA.deleteOne({ a });
      await byA.insertOne({ a, n: 1 });
    }
    await harness.commit();
    assert.equal(await outcomeOf({ source: from, destination: to, db }, harness), []);
    const [index] = (await to.client.db(db).collection('byA').indexes()).filter(({ name }) => name === 'a_1');
    assert.is(index?.['unique'], true);
    const error = await to.client
      .db(db)
      .collection('byA')
      .insertOne({ a: 5 })
      .catch((cause: unknown) => cause);
    assert.is((error as { code?: number }).code, 11000);
  };
  await within(TEST_MS, run(), 'the migration');
});

test('databases that are not sharded are spread over the shards (through the router double)', async () => {
  const run = async () => {
    const names = ['primaries1', 'primaries2', 'primaries3', 'primaries4'];
    for (const [index, name] of names.entries()) {
      const documents = Array.from({ length: 20 * (index + 1) }, () => ({ text: 'x'.repeat(10_000) }));
      await plain.client.db(name).collection('a').insertMany(documents);
    }
    await using harness = await openBetween(plain, to, 'primaries');
    const includeNamespaces = names.map((database) => ({ database, collections: [] }));
    await harness.migration.start({ ...withKeys('primaries', {}), includeNamespaces });
    await harness.commit();
    const found = await to.client
      .db('config')
      .collection<Document>('databases')
      .find({ _id: /^primaries/ })
      .toArray();
    const byShard = [0, 1].map(
      (index) => found.filter(({ primary }) => primary === to.cluster.shardName(index)).length,
    );
    assert.equal(byShard, [2, 2], JSON.stringify(found));
  };
  await within(TEST_MS, run(), 'the migration');
});

/** Bytes of a collection's documents on each shard. */
async function bytesByShard(db: string, name: string): Promise<number[]> {
  const sizes: number[] = [];
  for (const index of [0, 1]) {
    const shard = await to.cluster.shardClient(index);
    const pipeline = [{ $group: { _id: null, bytes: { $sum: { $bsonSize: '$$ROOT' } } } }];
    const [sum] = await shard.db(db).collection(name).aggregate(pipeline).toArray();
    sizes.push(Number(sum?.['bytes'] ?? 0));
  }
  return sizes;
}

test('right after the commit every shard has as many bytes, of documents of unequal sizes and of a hashed key, too (through the router double)', async () => {
  const run = async () => {
    const db = 'even';
    // Keys in an uneven row, and the larger documents at one end.
    const unequal = Array.from({ length: 2500 }, (_, n) => ({
      a: n * n,
      text: 'x'.repeat(n < 2000 ? 200 : 200 + (n - 2000) * 80),
    }));
    // Hashes are even only among many.
    const many = Array.from({ length: 20_000 }, (_, n) => ({ a: n * n, text: 'x'.repeat(500) }));
    await plain.client.db(db).collection('ranged').insertMany(unequal);
    await plain.client.db(db).collection('hashed').insertMany(many);
    await using harness = await openBetween(plain, to, db);
    await harness.migration.start(withKeys(db, { ranged: { a: 1 }, hashed: { a: 'hashed' } }));
    await harness.commit();
    for (const name of ['ranged', 'hashed']) {
      const sizes = await bytesByShard(db, name);
      const mean = sizes.reduce((sum, each) => sum + each) / 2;
      assert.ok(mean > 5_000_000, `${name}: ${mean}`);
      for (const size of sizes) assert.ok(Math.abs(size / mean - 1) < 0.05, `${name}: ${sizes.join(' and ')} bytes`);
      const status = await to.client.db('admin').command({ balancerCollectionStatus: `${db}.${name}` });
      assert.ok(status['balancerCompliant'], name);
    }
  };
  await within(TEST_MS, run(), 'the migration');
});

test.run();
