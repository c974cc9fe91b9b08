import { type Binary, BSON, type Document, Double, type MongoClient } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decodePlain } from '../../src/bson/bson.js';
import { UNSHARDED } from '../../src/bson/key-query.js';
import { uuidBytes } from '../../src/bson/uuid.js';
import { findCollection } from '../../src/catalog/catalog.js';
import { writeOplogNote } from '../../src/cluster/oplog-note.js';
import { LocalRangeCopier } from '../../src/copy/local-range-copier.js';
import type { CopyListener, RangeTask } from '../../src/copy/range-task.js';
import { DocumentWriter } from '../../src/documents/document-writer.js';
import { RawWriter } from '../../src/documents/raw-writes.js';
import { findStored } from '../../src/documents/stored-documents.js';
import { ByteBudget } from '../../src/lib/limit.js';
import { assertEqualClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS, holdCommands, releaseCommands } from '../support/fail-points.js';
import { DEFAULT_START, MigrationHarness } from '../support/migration-harness.js';
import { sharedCluster, sharedPair } from '../support/shared-servers.js';
import { silentLogger } from '../support/silent-logger.js';
import { METADATA_DB } from '../support/stored-migration.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 240_000;
const COUNT = 20_000;
const NS = { db: 'shop', coll: 'items' };

const { pair, source, destination } = await sharedPair(test, { setParameters: FAIL_POINTS });
const from = await sharedCluster(test, 'cluster0', pair.source);
const to = await sharedCluster(test, 'cluster1', pair.destination);
const { signal } = new AbortController();

interface Item {
  readonly _id: number;
  readonly n: number;
  readonly pad?: string;
}

const items = source.db(NS.db).collection<Item>(NS.coll);
const copied = destination.db(NS.db).collection<Item>(NS.coll);
const partitions = destination.db(METADATA_DB).collection('partitions');

async function fill(count: number, pad = 'x'.repeat(2000)): Promise<void> {
  for (let n = 0; n < count; n += 5000)
    await items.insertMany(Array.from({ length: 5000 }, (_, each) => ({ _id: n + each, n: 0, pad })));
}

interface Work {
  readonly inserted: number;
  readonly deleted: number;
  readonly returned: number;
  /** Inserts, with those that were refused. */
  readonly tried: number;
}

async function workOf(client: MongoClient): Promise<Work> {
  const { metrics, opcounters } = (await client.db('admin').command({ serverStatus: 1 })) as Document;
  const { inserted, deleted, returned } = metrics.document;
  return {
    inserted: Number(inserted),
    deleted: Number(deleted),
    returned: Number(returned),
    tried: Number(opcounters.insert),
  };
}

/** What has been written to the destination, and read from the source, since `before`. */
async function workSince(before: readonly [Work, Work]): Promise<Work> {
  const [read, written] = [await workOf(source), await workOf(destination)];
  return {
    inserted: written.inserted - before[1].inserted,
    deleted: written.deleted - before[1].deleted,
    returned: read.returned - before[0].returned,
    tried: written.tried - before[1].tried,
  };
}

for (const partitionBytes of [1e9, 2e6]) {
  const kind = partitionBytes === 1e9 ? 'one partition' : 'many ranges';
  test(`sessions that are killed again and again cost a copy little more than what was under way: ${kind}`, async () => {
    const migrate = async (): Promise<void> => {
      await fill(COUNT);
      const hooks = { partitionBytes };
      await using harness = await MigrationHarness.open(pair, { disableVerification: true, loadLevel: 1 }, hooks);
      const before = [await workOf(source), await workOf(destination)] as const;
      // Slow enough to be met on its way.
      await holdCommands(source, { commands: ['getMore'], namespace: `${NS.db}.${NS.coll}` }, 50);
      await harness.migration.start({ ...DEFAULT_START });
      let kills = 0;
      const isOver = (): boolean => harness.snapshot.canCommit;
      for (let next = 1000; !isOver(); next = (await copied.estimatedDocumentCount()) + 1000) {
        const isNext = async (): Promise<boolean> => isOver() || (await copied.estimatedDocumentCount()) >= next;
        await eventually(TEST_MS, isNext, 'the copy going on');
        for (const client of [source, destination]) await client.db('admin').command({ killAllSessions: [] });
        kills++;
      }
      await releaseCommands(source);
      await harness.caughtUp();
      const work = await workSince(before);
      assert.ok(kills >= 5, `${kills} kills`);
      assert.ok(work.inserted < 1.2 * COUNT, `${JSON.stringify(work)} after ${kills} kills`);
      assert.ok(work.deleted < 0.2 * COUNT, `${JSON.stringify(work)} after ${kills} kills`);
      assert.ok(work.returned < 2 * COUNT, `${JSON.stringify(work)} after ${kills} kills`);
      await harness.commit();
      await assertEqualClusters(source, destination);
    };
    await within(TEST_MS, migrate(), 'the migration');
  });

  test(`a copy goes on where it was when its process ended, and what changed since is as on the source: ${kind}`, async () => {
    const migrate = async (): Promise<void> => {
      await fill(COUNT);
      // Large enough for several reads each.
      const hooks = { partitionBytes: Math.max(partitionBytes, 1e7) };
      const config = { disableVerification: true, loadLevel: 1 };
      await holdCommands(source, { commands: ['getMore'], namespace: `${NS.db}.${NS.coll}` }, 1200);
      const before = [await workOf(source), await workOf(destination)] as const;
      {
        await using harness = await MigrationHarness.open(pair, config, hooks);
        await harness.migration.start({ ...DEFAULT_START });
        await eventually(TEST_MS, async () => (await copied.estimatedDocumentCount()) > COUNT / 4, 'half of it');
        if (kind === 'many ranges')
          await eventually(
            TEST_MS,
            async () => await partitions.findOne({ position: { $exists: true }, done: false }),
            'a position',
          );
      }
      const half = await copied.estimatedDocumentCount();
      assert.ok(half < COUNT, `${half} copied`);
      await releaseCommands(source);
      await items.updateMany({ n: 0, _id: { $mod: [100, 0] } }, { $inc: { n: 1 } });
      await items.deleteMany({ _id: { $mod: [100, 1] } });
      // They are there, and are other documents by now.
      await items.updateOne({ _id: 3 }, { $set: { pad: 'other' } });
      await using harness = await MigrationHarness.open(pair, config, hooks);
      await harness.caughtUp();
      const work = await workSince(before);
      assert.ok(work.inserted < 1.1 * COUNT, JSON.stringify(work));
      assert.ok(work.deleted < 0.1 * COUNT, JSON.stringify(work));
      await harness.commit();
      await assertEqualClusters(source, destination);
    };
    await within(TEST_MS, migrate(), 'the migration');
  });
}

/** Copies the whole collection as one range; with what `changes` says of it. */
async function copyRange(changes: Partial<RangeTask>, listener: Partial<CopyListener> = {}): Promise<void> {
  const [original, target] = [await findCollection(from, NS, signal), await findCollection(to, NS, signal)];
  const writer = new DocumentWriter(to, await RawWriter.create(to, 'probe', signal), async () => undefined);
  const budget = new ByteBudget(50_000_000);
  const copier = new LocalRangeCopier({ source: from, destination: to, writer, budget, logger: silentLogger });
  const time = await writeOplogNote(from, 'test', signal);
  const task: RangeTask = {
    ns: NS,
    uuid: uuidBytes(original?.uuid as Binary),
    target: { ns: NS, uuid: uuidBytes(target?.uuid as Binary), keyPaths: UNSHARDED },
    lower: undefined,
    upper: undefined,
    natural: false,
    resumable: false,
    marks: [],
    position: undefined,
    isAgain: false,
    filter: undefined,
    ordered: false,
    estimatedBytes: 1_000_000,
    behind: 0,
    batchDocuments: 5000,
    afterTime: [time.getHighBitsUnsigned(), time.getLowBitsUnsigned()],
    ...changes,
  };
  const silent = { written: () => undefined, marked: async () => undefined };
  await copier.copy(task, { ...silent, ...listener }, signal);
}

test('a range that is copied again writes only what is missing or different, wherever that is', async () => {
  const check = async (): Promise<void> => {
    await fill(10_000);
    await destination.db(NS.db).createCollection(NS.coll);
    await copyRange({});
    await copied.deleteMany({ _id: { $gte: 4000, $lt: 4500 } });
    await copied.updateMany({ _id: { $gte: 9000, $lt: 9010 } }, { $set: { n: 7 } });
    await items.deleteOne({ _id: 5 });
    await items.insertOne({ _id: new Double(5) as never, n: 5 });
    for (const natural of [false, true]) {
      const before = [await workOf(source), await workOf(destination)] as const;
      await copyRange({ isAgain: true, natural });
      const { inserted, deleted, tried } = await workSince(before);
      assert.ok(tried < 600, `${tried} inserts tried`);
      assert.equal([inserted, deleted], natural ? [0, 0] : [511, 11]);
      assert.equal(await copied.countDocuments({ n: 0 }), 9999);
    }
  };
  await within(TEST_MS, check(), 'the check');
});

for (const options of [
  {},
  { collation: { locale: 'en', strength: 2 } },
  { clusteredIndex: { key: { _id: 1 }, unique: true } },
]) {
  test(`what was copied is found again by every kind of _id: ${JSON.stringify(options)}`, async () => {
    const check = async (): Promise<void> => {
      for (const client of [source, destination]) await client.db(NS.db).createCollection(NS.coll, options);
      const values = (n: number): unknown[] => [
        n,
        `s${n}`,
        new Double(n + 0.5),
        { n },
        new Date(n),
        `T${n}`,
        null,
        true,
      ];
      const docs = Array.from({ length: 3000 }, (_, n) => ({ _id: values(n)[n < 6 ? n : n % 6], n: 0 }));
      await items.insertMany([...docs, { _id: null, n: 0 }, { _id: true, n: 0 }] as never[]);
      await copyRange({ batchDocuments: 500 });
      const before = [await workOf(source), await workOf(destination)] as const;
      await copyRange({ batchDocuments: 400, isAgain: true });
      const { inserted, deleted } = await workSince(before);
      assert.equal([inserted, deleted, await copied.countDocuments()], [0, 0, 3002]);
    };
    await within(TEST_MS, check(), 'the check');
  });
}

test('a range goes on at its position, and tells of it about once a second, however many batches it has', async () => {
  const check = async (): Promise<void> => {
    await fill(10_000);
    await destination.db(NS.db).createCollection(NS.coll);
    const started = performance.now();
    const places: { readonly documents: number; readonly id: Uint8Array }[] = [];
    let documents = 0;
    await copyRange(
      { batchDocuments: 10 },
      {
        marked: async (place) => {
          if ('position' in place && place.position !== undefined) places.push(place.position);
        },
        written: (more) => {
          documents += more;
        },
      },
    );
    const seconds = (performance.now() - started) / 1000;
    assert.is(documents, 10_000);
    assert.ok(places.length <= seconds + 1, `${places.length} in ${seconds} s`);
    for (const { id, documents } of places) assert.is(decodePlain(id)['_id'], documents - 1);
    await copied.deleteMany({});
    const id = Buffer.from(BSON.serialize({ _id: 7000 }));
    documents = 0;
    const position = { id, documents: 7001, bytes: 1 };
    await copyRange({ position, isAgain: true }, { written: (more) => (documents += more) });
    assert.equal([documents, await copied.countDocuments()], [10_000, 2999]);
  };
  await within(TEST_MS, check(), 'the check');
});

test('what is stored is told from what is other, missing, or of an _id that is only equal', async () => {
  const check = async (): Promise<void> => {
    const documents = [{ _id: 1 }, { _id: 2, n: 1 }, { _id: new Double(3) }, { _id: 4 }, { _id: 'a', n: /x/ }];
    const raw = documents.map((each) => Buffer.from(BSON.serialize(each)));
    await destination.db(NS.db).createCollection(NS.coll);
    await destination
      .db(NS.db)
      .collection<{ _id: unknown }>(NS.coll)
      .insertMany([{ _id: 1 }, { _id: 2, n: 2 } as never, { _id: 3 }, { _id: 'a', n: /x/ } as never]);
    const uuid = (await findCollection(to, NS, signal))?.uuid;
    const { others, found } = await findStored(to, { ns: NS, uuid }, { documents: raw, isRun: false }, signal);
    assert.equal([others.map((doc) => raw.findIndex((each) => each.equals(doc))), found], [[1, 2, 3], 4]);
  };
  await within(TEST_MS, check(), 'the check');
});

test.run();
