import type { Db, MongoClient } from 'mongodb';
import { Long, ObjectId } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { listCollections } from '../../src/catalog/catalog.js';
import { Cluster } from '../../src/cluster/cluster.js';
import { hasRandomIds, isNatural } from '../../src/copy/natural-order.js';
import type { MigratedCollection } from '../../src/metadata/collections.js';
import { compareClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS, holdCommands, releaseCommands } from '../support/fail-points.js';
import { FerryClient } from '../support/ferry-client.js';
import { FerryProcess } from '../support/ferry-process.js';
import { createUser, DESTINATION_PRIVILEGES, SOURCE_PRIVILEGES } from '../support/ferry-users.js';
import { migratedCollection } from '../support/migrated-collection.js';
import { DEFAULT_START, MigrationHarness } from '../support/migration-harness.js';
import { ReplicaSet, startPair } from '../support/replica-set.js';
import { silentLogger } from '../support/silent-logger.js';
import { METADATA_DB, resetClusters } from '../support/stored-migration.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 180_000;
/** Of 2,000 bytes: eight reads of 2 MB, each of them held, so that marks are stored before the last one. */
const SLOW_COUNT = 8200;
const SLOW_PAD = 2000;

/** A number that looks random, the same every time. */
const scattered = (n: number): number => Number((BigInt(n) * 2_654_435_761n + 12_345n) % 4_294_967_291n);

async function fill(db: Db, name: string, count: number, idOf: (n: number) => unknown, pad = 100): Promise<void> {
  for (let from = 0; from < count; from += 5000) {
    const docs = Array.from({ length: Math.min(5000, count - from) }, (_, index) => {
      return { _id: idOf(from + index), n: from + index, pad: 'x'.repeat(pad) };
    });
    await db.collection<{ _id: unknown }>(name).insertMany(docs as never[], { ordered: true });
  }
}

interface Scan {
  readonly resumed: boolean;
  readonly returned: number;
}

/** The scans of a collection in natural order that the source's profiler saw. */
async function scansOf(db: Db, name: string): Promise<Scan[]> {
  const finds = await db
    .collection('system.profile')
    .find({ op: 'query', 'command.find': name, 'command.$_requestResumeToken': true })
    .sort({ ts: 1 })
    .toArray();
  const more = await db.collection('system.profile').find({ op: 'getmore', 'originatingCommand.find': name }).toArray();
  return finds.map((each) => ({
    resumed: each['command'].$_resumeAfter !== undefined,
    returned: [each, ...more.filter(({ cursorid }) => String(cursorid) === String(each['cursorid']))].reduce(
      (sum, { nreturned }) => sum + Number(nreturned ?? 0),
      0,
    ),
  }));
}

test('a copy in natural order, killed (-9), goes on where a majority had it; changes meanwhile are not lost', async () => {
  const migrate = async () => {
    await using pair = await startPair({ source: { setParameters: FAIL_POINTS } });
    const source = await pair.source.connect();
    const db = source.db('shop');
    const count = SLOW_COUNT;
    await fill(db, 'random', count, scattered, SLOW_PAD);
    await fill(db, 'other', 1000, scattered);
    await db.command({ profile: 2 });
    await using ferry = await FerryProcess.between(pair, { flags: ['--loadLevel', '1'] });
    // Slow enough to be met on its way.
    await holdCommands(source, { commands: ['getMore'] }, 700);
    using first = new FerryClient(ferry.grpcTarget);
    await first.start({ copyInNaturalOrder: [{ database: 'shop', collections: ['random'] }] });
    const destination = await pair.destination.connect();
    const marked = async () => {
      const [partition] = await destination
        .db(METADATA_DB)
        .collection('partitions')
        .find({ resumable: true })
        .toArray();
      return partition?.['marks']?.length > 0 ? partition : undefined;
    };
    const partition = await eventually(60_000, marked, 'the first mark');
    await ferry.kill();
    await releaseCommands(source);
    const before = Number(partition['marks'].at(-1).documents);
    assert.ok(before > 0 && before < count && partition['done'] === false, `${before}`);
    const random = db.collection<{ _id: number }>('random');
    // Behind the mark and before it, to its end, and one that moves from the copied part to behind the end.
    await random.updateMany({ n: { $lt: 50 } }, { $set: { changed: 1 } });
    await random.deleteMany({ n: { $gte: count - 50 } });
    const moved = await random.findOneAndDelete({ n: 100 });
    if (moved !== null) await random.insertOne({ ...moved, back: true } as never);
    await ferry.restart();
    using again = new FerryClient(ferry.grpcTarget);
    await again.waitUntilInitialized();
    await again.commitAndWait(120_000);
    await db.command({ profile: 0 });
    assert.equal(await compareClusters(source, destination), []);
    const scans = await scansOf(db, 'random');
    assert.equal(
      scans.map(({ resumed }) => resumed),
      [false, true],
    );
    const [, second] = scans;
    assert.ok((second?.returned ?? count) <= count - before + 1, `read again: ${second?.returned} after ${before}`);
    assert.equal((await scansOf(db, 'other')).length, 0, 'only what was named');
  };
  await within(TEST_MS, migrate(), 'the migration');
});

test('after its node was started anew, or its record deleted, a scan does not rely on its marks', async () => {
  const migrate = async () => {
    await using pair = await startPair({ source: { setParameters: FAIL_POINTS, own: true } });
    const source = await pair.source.connect();
    const db = source.db('shop');
    await fill(db, 'random', SLOW_COUNT, scattered, SLOW_PAD);
    await using ferry = await FerryProcess.between(pair, { flags: ['--loadLevel', '1'] });
    // Slow enough to be met on its way.
    await holdCommands(source, { commands: ['getMore'] }, 700);
    using first = new FerryClient(ferry.grpcTarget);
    await first.start({ copyInNaturalOrder: [{ database: '.' }] });
    const destination = await pair.destination.connect();
    const partitions = destination.db(METADATA_DB).collection('partitions');
    const marked = async () =>
      (await partitions.findOne({ 'marks.1': { $exists: true } })) === null ? undefined : true;
    await eventually(60_000, marked, 'two marks');
    await ferry.kill();
    await releaseCommands(source);
    const partition = await partitions.findOne({ resumable: true });
    const newest = partition?.['marks'].at(-1);
    // Its record, found by where the server goes on: what stands before it is the last one read.
    const { documents } = newest;
    await db.collection('random').deleteOne({ n: Number(documents) - 1 });
    await ferry.restart();
    using second = new FerryClient(ferry.grpcTarget);
    await second.waitUntilInitialized();
    await eventually(60_000, () => ferry.linesWith('going back to one before it').length > 0, 'an older mark');
    await ferry.kill();
    await pair.source.restart();
    await ferry.restart();
    using third = new FerryClient(ferry.grpcTarget);
    await third.waitUntilInitialized();
    await third.commitAndWait(120_000);
    assert.equal(ferry.linesWith('reading it from the beginning').length, 1);
    assert.equal(await compareClusters(await pair.source.connect(), destination), []);
  };
  await within(TEST_MS, migrate(), 'the migration');
});

async function migratedOf(cluster: Cluster, db: string): Promise<Map<string, MigratedCollection>> {
  const entries = await listCollections(cluster, db, new AbortController().signal);
  return new Map(
    entries.map(({ ns, options }) => {
      const capped = options.get('capped') === true;
      return [ns.coll, migratedCollection({ id: ns.coll, ns, options, capped })];
    }),
  );
}

for (const version of ['6.0', '5.0', '4.4'] as const) {
  test(`random _ids are told from those that follow insertion (${version})`, async () => {
    const check = async () => {
      await using set = await ReplicaSet.start({ version });
      const db = (await set.connect()).db('ids');
      const count = 10_000;
      const random: Record<string, (n: number) => unknown> = {
        'random numbers': scattered,
        'random texts': (n) => `${scattered(n).toString(36)}-${n}`,
        'mixed types': (n) => (n % 2 === 0 ? `t${scattered(n)}` : scattered(n)),
      };
      const ordered: Record<string, (n: number) => unknown> = {
        counters: (n) => n,
        'counters, descending': (n) => -n,
        'object ids': () => new ObjectId(),
        'five sequences': (n) => `user${n % 5}-${String(n).padStart(9, '0')}`,
        longs: (n) => Long.fromNumber(n * 1e10),
      };
      for (const [name, idOf] of Object.entries({ ...random, ...ordered })) await fill(db, name, count, idOf, 10);
      if (version === '6.0')
        await db.createCollection('clustered', { clusteredIndex: { key: { _id: 1 }, unique: true } });
      await db.createCollection('capped', { capped: true, size: 1e7 });
      for (const name of version === '6.0' ? ['clustered', 'capped'] : ['capped'])
        await fill(db, name, 2000, scattered);
      await db.createCollection('empty');
      const cluster = await Cluster.connect({ name: 'cluster0', uri: set.uri, logger: silentLogger, maxPoolSize: 4 });
      const { signal } = new AbortController();
      try {
        const collections = await migratedOf(cluster, 'ids');
        const found = async (name: string) =>
          hasRandomIds(cluster, collections.get(name) as MigratedCollection, signal);
        for (const name of Object.keys(random)) assert.is(await found(name), true, name);
        for (const name of [...Object.keys(ordered), 'empty']) assert.is(await found(name), false, name);
        const chosen: string[] = [];
        const order = { named: [], detectRandomId: true, detectAboveBytes: 1000 };
        for (const [name, each] of collections)
          if (await isNatural(cluster, each, 1001, order, signal)) chosen.push(name);
        assert.equal(chosen.sort(), Object.keys(random).sort());
        const numbers = collections.get('random numbers') as MigratedCollection;
        assert.is(await isNatural(cluster, numbers, 1000, order, signal), false, 'not above the limit');
        assert.is(await isNatural(cluster, numbers, 1001, { ...order, detectRandomId: false }, signal), false);
      } finally {
        await cluster.close();
      }
    };
    await within(TEST_MS, check(), 'the check');
  });
}

test('names that are not on the source are a warning; a database, and everything, can be named', async () => {
  const check = async () => {
    await using pair = await startPair();
    const [source, destination] = [await pair.source.connect(), await pair.destination.connect()];
    await resetClusters(source);
    await fill(source.db('shop'), 'a', 500, scattered);
    await fill(source.db('shop'), 'b', 500, scattered);
    await fill(source.db('stock'), 'a', 500, scattered);
    const chosen = async (copyInNaturalOrder: { database: string; collections: string[] }[]) => {
      await resetClusters(destination);
      await using harness = await MigrationHarness.open(pair);
      const found = await harness.migration.check({ ...DEFAULT_START, copyInNaturalOrder });
      await harness.sync({ copyInNaturalOrder });
      const names = await naturalOnes(destination);
      await harness.commit();
      assert.equal(await compareClusters(source, destination), []);
      return { names, missing: found.find(({ name }) => name === 'NaturalOrderNotFound') };
    };
    const one = await chosen([
      { database: 'shop', collections: ['a', 'nothing'] },
      { database: 'none', collections: [] },
    ]);
    assert.equal(one.names, ['shop.a']);
    assert.equal([one.missing?.severity, one.missing?.namespaces], ['warning', ['shop.nothing', 'none']]);
    const database = await chosen([{ database: 'shop', collections: [] }]);
    assert.equal([database.names, database.missing], [['shop.a', 'shop.b'], undefined]);
    assert.equal((await chosen([{ database: '.', collections: [] }])).names, ['shop.a', 'shop.b', 'stock.a']);
  };
  await within(TEST_MS, check(), 'the checks');
});

/** The collections that were copied in natural order, as the metadata has it. */
async function naturalOnes(destination: MongoClient): Promise<string[]> {
  const metadata = destination.db(METADATA_DB);
  const partitions = await metadata.collection('partitions').find({ resumable: true }).toArray();
  const collections = await metadata
    .collection<{ _id: string; db: string; coll: string }>('collections')
    .find()
    .toArray();
  const names = new Map(collections.map(({ _id, db, coll }) => [_id, `${db}.${coll}`]));
  return partitions.map(({ collection }) => names.get(collection) ?? '').sort();
}

test('detectRandomId, with a lower limit: a whole migration in which it chooses', async () => {
  const migrate = async () => {
    await using pair = await startPair();
    const [source, destination] = [await pair.source.connect(), await pair.destination.connect()];
    await fill(source.db('shop'), 'scattered', 2000, scattered);
    await fill(source.db('shop'), 'ordered', 2000, (n) => n);
    for (const detectRandomId of [true, false]) {
      await resetClusters(destination);
      await using harness = await MigrationHarness.open(pair, {}, { detectAboveBytes: 1000 });
      await harness.sync({ detectRandomId });
      assert.equal(await naturalOnes(destination), detectRandomId ? ['shop.scattered'] : []);
      await source
        .db('shop')
        .collection('scattered')
        .updateMany({ n: { $lt: 9 } }, { $set: { seen: detectRandomId } });
      await harness.commit();
      assert.equal(await compareClusters(source, destination), []);
    }
  };
  await within(TEST_MS, migrate(), 'the migrations');
});

for (const version of ['4.4', '6.0'] as const) {
  test(`the documented privileges are enough for a scan in natural order and a source of ${version}`, async () => {
    const migrate = async () => {
      await using pair = await startPair({ auth: true, source: { version } });
      const [source, destination] = [await pair.source.connect(), await pair.destination.connect()];
      await fill(source.db('shop'), 'a', 500, scattered);
      await source.db('shop').createCollection('capped', { capped: true, size: 4096 });
      const users = {
        source: { uri: await createUser(pair.source, source, { name: 'ferry', privileges: SOURCE_PRIVILEGES }) },
        destination: {
          uri: await createUser(pair.destination, destination, { name: 'ferry', privileges: DESTINATION_PRIVILEGES }),
        },
      };
      await using harness = await MigrationHarness.open(users);
      const documentFilter = { field: 'pad', matchValues: ['x'.repeat(100)] };
      await harness.sync({
        copyInNaturalOrder: [{ database: '.', collections: [] }],
        ...(version === '6.0' ? { documentFilter } : {}),
      });
      await source
        .db('shop')
        .collection('capped')
        .insertMany(Array.from({ length: 99 }, (_, n) => ({ n, pad: 'x'.repeat(100) })));
      await source
        .db('shop')
        .collection('a')
        .updateMany({ n: { $lt: 9 } }, { $set: { n: -1 } });
      await harness.commit();
      assert.equal(await compareClusters(source, destination), []);
    };
    await within(TEST_MS, migrate(), 'the migration');
  });
}

test.run();
