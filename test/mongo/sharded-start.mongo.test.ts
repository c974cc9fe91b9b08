/** What a start and its preflight say where a side is sharded: pairs and options, shard keys, indexes, zones, `_id`s. */
import type { Document } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ShardingOption } from '../../src/metadata/migration-options.js';
import type { Finding } from '../../src/preflight/finding.js';
import type { StartOptions } from '../../src/start/options.js';

import { DEFAULT_START, MigrationHarness } from '../support/migration-harness.js';
import { refusal } from '../support/refusal.js';
import { sharedSet, sharedShardedCluster } from '../support/shared-servers.js';
import { within } from '../support/within.js';

const TEST_MS = 60_000;

const [{ cluster: from, client: source }, { cluster: to }, set] = await Promise.all([
  sharedShardedCluster(test, { name: 'from' }),
  sharedShardedCluster(test, { name: 'to', shards: 1 }),
  sharedSet(test),
]);
const plain = await set.connect();
const [shardedUri, otherUri] = [from.routerUri(), to.routerUri()];

type Options = Partial<StartOptions>;

/** Findings of a check, each as its name and the first namespace that it names. */
async function check(sourceUri: string, destinationUri: string, options: Options = {}): Promise<readonly Finding[]> {
  const clusters = { source: { uri: sourceUri }, destination: { uri: destinationUri } };
  await using harness = await MigrationHarness.open(clusters);
  const found = await harness.migration.check({ ...DEFAULT_START, ...options });
  return found.filter(({ name }) => !['ShortOplogWindow', 'ManyIndexes'].includes(name));
}

const only = (...databases: string[]): Pick<StartOptions, 'includeNamespaces'> => ({
  includeNamespaces: databases.map((database) => ({ database, collections: [] })),
});

function entry(database: string, collection: string, key: Document): ShardingOption['shardingEntries'][number] {
  return { database, collection, key: Object.entries(key).map(([field, value]) => ({ field, value: value as 1 })) };
}

function told(findings: readonly Finding[]): string[] {
  return findings.map(({ name, severity, namespaces }) => [severity, name, ...(namespaces ?? [])].join(' ')).sort();
}

const NONE: Options = { sharding: { createSupportingIndexes: false, shardingEntries: [] } };

test('sharding is required from a replica set to a sharded cluster, and refused for every other pair (through the router double)', async () => {
  const run = async () => {
    await plain.db('pair').collection('a').insertOne({ a: 1 });
    await source.db('pairs').collection('a').insertOne({ a: 1 });
    const asked = async (uris: readonly [string, string], db: string, options: Options) =>
      (await check(...uris, { ...only(db), ...options })).map(({ name, description }) => `${name} ${description}`);
    const [missing, ...more] = await asked([set.uri, otherUri], 'pair', {});
    assert.match(missing ?? '', /^OptionNotSupported .*needs the option sharding/);
    assert.equal(more, []);
    assert.equal(await asked([set.uri, otherUri], 'pair', NONE), []);
    await plain.db('pair').dropDatabase();
    for (const uris of [
      [shardedUri, otherUri],
      [shardedUri, set.uri],
    ] as const) {
      const [refused, ...others] = await asked(uris, 'pairs', NONE);
      assert.match(refused ?? '', /^OptionNotSupported the option sharding is only for/);
      assert.equal(others, []);
      assert.equal(await asked(uris, 'pairs', {}), []);
    }
  };
  await within(TEST_MS, run(), 'the checks');
});

test('reversible: not between a replica set and a sharded cluster, nor between unequal numbers of shards (through the router double)', async () => {
  const run = async () => {
    const reversible = { reversible: true };
    const asked = async (...uris: readonly [string, string]) => {
      const sharding = uris[0] === set.uri ? NONE : {};
      const found = await check(...uris, { ...reversible, ...sharding });
      return found
        .filter(({ description }) => description.includes('reversible'))
        .map(({ description }) => description);
    };
    const between = 'reversible is not possible between a replica set and a sharded cluster';
    assert.equal(await asked(set.uri, otherUri), [between]);
    assert.equal(await asked(shardedUri, set.uri), [between]);
    assert.equal(await asked(shardedUri, otherUri), ['reversible needs as many shards on both sides, not 2 and 1']);
    await to.addShard();
    assert.equal(await asked(shardedUri, otherUri), []);
  };
  await within(TEST_MS, run(), 'the checks');
});

/** What of the option's form needs no cluster. */
const WRONG_FORMS: readonly (readonly [what: string, entries: ShardingOption['shardingEntries'], says: RegExp])[] = [
  ['two hashed fields', [entry('a', 'b', { x: 'hashed', y: 'hashed' })], /one hashed field only/],
  ['a collection twice', [entry('a', 'b', { x: 1 }), entry('a', 'b', { y: 1 })], /names a\.b a second time/],
  ['a system database', [entry('admin', 'b', { x: 1 })], /system database/],
  ['a system collection', [entry('a', 'system.views', { x: 1 })], /system collection/],
];

test('entries of a wrong form are refused, each by its place (through the router double)', async () => {
  const run = async () => {
    const clusters = { source: { uri: set.uri }, destination: { uri: otherUri } };
    await using harness = await MigrationHarness.open(clusters);
    for (const [what, shardingEntries, says] of WRONG_FORMS) {
      const sharding = { createSupportingIndexes: false, shardingEntries };
      const error = await refusal(harness.migration.check({ ...DEFAULT_START, sharding }));
      assert.is(error.code, 'InvalidRequest', what);
      const text = JSON.stringify(error.violations);
      assert.match(text, says, what);
      assert.match(text, /sharding\.shardingEntries\[\d\]/, what);
    }
  };
  await within(TEST_MS, run(), 'the checks');
});

/** A collection of the replica set for each thing that may be wrong with an entry. */
async function seedEntries(): Promise<void> {
  const db = plain.db('keys');
  await db.createCollection('noIndex');
  await db.createCollection('good');
  await db.collection('good').createIndex({ a: 1, b: 1 });
  await db.collection('good').createIndex({ a: 1, _id: 1 }, { unique: true });
  await db.collection('sparse').createIndex({ a: 1 }, { sparse: true });
  await db.collection('partial').createIndex({ a: 1 }, { partialFilterExpression: { b: 1 } });
  await db.createCollection('collated', { collation: { locale: 'fr' } });
  await db.collection('collated').createIndex({ a: 1 });
  await db.createCollection('collatedToo', { collation: { locale: 'fr' } });
  await db.collection('collatedToo').createIndex({ a: 1 }, { collation: { locale: 'simple' } });
  await db.createCollection('unique');
  await db.collection('unique').createIndex({ a: 1 });
  await db.collection('unique').createIndex({ b: 1 }, { unique: true });
  await db.createCollection('hashed');
  await db.createCollection('capped', { capped: true, size: 10_000 });
  await db.collection('capped').createIndex({ a: 1 });
  const many = Array.from({ length: 63 }, (_, index) => ({ key: { [`f${index}`]: 1 } }) as const);
  await db.createCollection('many');
  await db.collection('many').createIndexes(many);
}

const NAMES = ['noIndex', 'good', 'sparse', 'partial', 'collated', 'collatedToo', 'unique', 'capped', 'many'];
const entries = [
  ...NAMES.map((name) => entry('keys', name, { a: 1 })),
  entry('keys', 'hashed', { a: 'hashed' }),
  entry('keys', 'nowhere', { a: 1 }),
  entry('other', 'nowhere', { a: 1 }),
];

test('whatever is wrong with the entries is told by one check, by name (through the router double)', async () => {
  const run = async () => {
    await seedEntries();
    const asked = async (createSupportingIndexes: boolean) =>
      check(set.uri, otherUri, { ...only('keys'), sharding: { createSupportingIndexes, shardingEntries: entries } });
    const found = await asked(false);
    const noIndex = ['noIndex', 'sparse', 'partial', 'collated', 'many', 'hashed'];
    const blockers = [...noIndex, 'unique', 'capped'].map((name) => `blocker UnsupportedShardKey keys.${name}`);
    const unknown = 'warning ShardingEntryWithoutCollection keys.nowhere other.nowhere';
    const tooMany = 'blocker UnsupportedShardKey keys.many';
    assert.equal(told(found), [...blockers, tooMany, unknown].sort());
    const textOf = (coll: string) =>
      found.find(({ namespaces }) => namespaces[0] === `keys.${coll}`)?.description ?? '';
    assert.match(textOf('noIndex'), /Must have an index compatible with the proposed shard key/);
    assert.match(textOf('collated'), /of simple collation/);
    assert.match(textOf('unique'), /a unique index was set on the source that is incompatible.*: b_1/);
    assert.match(textOf('capped'), /capped collections cannot be sharded/);
    const supported = ['unique', 'capped', 'many'].map((name) => `blocker UnsupportedShardKey keys.${name}`);
    assert.equal(told(await asked(true)), [...supported, unknown].sort());
  };
  await within(TEST_MS, run(), 'the checks');
  await plain.db('keys').dropDatabase();
});

test('zones on the destination are a blocker, those of the source and a draining shard are told (through the router double)', async () => {
  const run = async () => {
    await source.db('zoned').collection('a').createIndex({ a: 1 });
    await from.admin({ shardCollection: 'zoned.a', key: { a: 1 } });
    await to.admin({ addShardToZone: to.shardName(0), zone: 'east' });
    await from.admin({ addShardToZone: from.shardName(0), zone: 'west' });
    const range = { min: { a: 0 }, max: { a: 10 } };
    await to.admin({ updateZoneKeyRange: 'zoned.a', ...range, zone: 'east' });
    await from.admin({ updateZoneKeyRange: 'zoned.a', ...range, zone: 'west' });
    try {
      const found = await check(shardedUri, otherUri, only('zoned'));
      assert.equal(told(found), ['blocker ZonesOnDestination zoned.a', 'warning ZonesNotMigrated zoned.a']);
      assert.match(
        found[0]?.description ?? '',
        /^cannot migrate into namespaces that already have shard tags configured/,
      );
      const remapped = {
        ...only('zoned'),
        namespaceRemap: [{ from: 'zoned', to: 'others' }],
        preExistingDestinationData: true,
      };
      assert.equal(told(await check(shardedUri, otherUri, remapped)), ['warning ZonesNotMigrated zoned.a']);
    } finally {
      await to.admin({ updateZoneKeyRange: 'zoned.a', ...range, zone: null });
      await from.admin({ updateZoneKeyRange: 'zoned.a', ...range, zone: null });
    }
  };
  await within(TEST_MS, run(), 'the checks');
});

test('indexes that differ between shards, and _ids that are on two of them, are blockers of one check (through the router double)', async () => {
  const run = async () => {
    const db = source.db('apart');
    const doc = (_id: number, a: number): Document => ({ _id: _id as never, a });
    await from.admin({ enableSharding: 'apart', primaryShard: from.shardName(0) });
    for (const name of ['twice', 'uneven', 'byId']) {
      await from.admin({ shardCollection: `apart.${name}`, key: name === 'byId' ? { _id: 1, a: 1 } : { a: 1 } });
      await from.split(`apart.${name}`, name === 'byId' ? { _id: 50, a: 1 } : { a: 50 });
      await from.moveChunk({ ns: `apart.${name}`, find: { _id: 60, a: 60 }, to: 1 });
      await db.collection<Document>(name).insertMany([doc(1, 1), doc(60, 60)]);
    }
    await db.collection<Document>('twice').insertOne(doc(1, 99));
    const shard = await from.shardClient(1);
    await shard.db('apart').collection('uneven').createIndex({ b: 1 });
    const uneven = 'blocker InconsistentIndexes apart.uneven';
    const found = await check(shardedUri, set.uri, only('apart'));
    assert.equal(told(found), ['blocker DuplicateIds apart.twice', uneven]);
    assert.match(
      found.map(({ description }) => description).join(),
      /1 _ids of apart\.twice are on several shards.*: 1/,
    );
    assert.equal(told(await check(shardedUri, otherUri, only('apart'))), [uneven], 'the key keeps them apart');
    const error = await (async () => {
      const clusters = { source: { uri: shardedUri }, destination: { uri: set.uri } };
      await using harness = await MigrationHarness.open(clusters);
      return await refusal(harness.migration.start({ ...DEFAULT_START, ...only('apart') }));
    })();
    assert.match(error.message, /apart\.uneven/, 'a start names both');
    assert.match(error.message, /apart\.twice/);
  };
  await within(TEST_MS, run(), 'the checks');
});

test.run();
