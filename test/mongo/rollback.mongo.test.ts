import { BSON } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { LocalLaneApplier } from '../../src/apply/lane-applier.js';
import type { AppliedCollection } from '../../src/apply/operation.js';
import type { Binary } from '../../src/bson/bson.js';
import { documentKey } from '../../src/bson/document-key.js';
import { UNSHARDED } from '../../src/bson/key-query.js';
import { uuidBytes, uuidText } from '../../src/bson/uuid.js';
import { findCollection } from '../../src/catalog/catalog.js';
import { writeOplogNote } from '../../src/cluster/oplog-note.js';
import { LocalRangeCopier } from '../../src/copy/local-range-copier.js';
import type { RangeTask } from '../../src/copy/range-task.js';
import { DocumentWriter } from '../../src/documents/document-writer.js';
import { RawWriter } from '../../src/documents/raw-writes.js';
import { ByteBudget } from '../../src/lib/limit.js';

import { assertEqualClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS } from '../support/fail-points.js';
import { MigrationHarness } from '../support/migration-harness.js';
import { cutReplication } from '../support/rollback.js';
import { sharedCluster, sharedSet } from '../support/shared-servers.js';
import { silentLogger } from '../support/silent-logger.js';
import { resetClusters } from '../support/stored-migration.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 180_000;
const NS = { db: 'shop', coll: 'items' };

interface Item {
  readonly _id: number;
  readonly n: number;
}

const [sourceSet, destinationSet] = await Promise.all([
  sharedSet(test, { name: 'source', members: 3, setParameters: FAIL_POINTS }),
  sharedSet(test, { name: 'destination', members: 3, setParameters: FAIL_POINTS }),
]);
const [source, destination] = await Promise.all([
  sharedCluster(test, 'cluster0', sourceSet),
  sharedCluster(test, 'cluster1', destinationSet),
]);
const [sourceClient, destinationClient] = await Promise.all([sourceSet.connect(), destinationSet.connect()]);
const [original, copied] = [sourceClient, destinationClient].map((each) => each.db(NS.db).collection<Item>(NS.coll));
const { signal } = new AbortController();

async function uuidOf(cluster: typeof source): Promise<Binary> {
  return (await findCollection(cluster, NS, signal))?.uuid as Binary;
}

async function writerHere(): Promise<DocumentWriter> {
  return new DocumentWriter(destination, await RawWriter.create(destination, 'probe', signal), async () => undefined);
}

/** Copies the collection, by ranges of `_id`s or in natural order. */
async function copy(kind: 'ranges' | 'natural' | 'resumable'): Promise<void> {
  const uuid = await uuidOf(source);
  const afterTime = await writeTime();
  const half = Buffer.from(BSON.serialize({ _id: 50 }));
  const whole = { lower: undefined, upper: undefined };
  const parts =
    kind === 'ranges'
      ? [
          { ...whole, upper: half },
          { ...whole, lower: half },
        ]
      : [whole];
  const copier = new LocalRangeCopier({
    source,
    destination,
    writer: await writerHere(),
    budget: new ByteBudget(1_000_000),
    logger: silentLogger,
  });
  const listener = { written: () => undefined, marked: () => Promise.resolve() };
  const common: Omit<RangeTask, 'lower' | 'upper'> = {
    ns: NS,
    uuid: uuidBytes(uuid),
    target: { ns: NS, uuid: uuidBytes(await uuidOf(destination)), keyPaths: UNSHARDED },
    natural: kind !== 'ranges',
    resumable: kind === 'resumable',
    marks: [],
    position: undefined,
    isAgain: false,
    filter: undefined,
    ordered: false,
    estimatedBytes: 1_000_000,
    behind: 0,
    batchDocuments: 10,
    afterTime: [afterTime.getHighBitsUnsigned(), afterTime.getLowBitsUnsigned()],
  };
  for (const part of parts) await copier.copy({ ...common, ...part }, listener, signal);
}

let time: Awaited<ReturnType<typeof writeOplogNote>>;
const writeTime = async (): Promise<typeof time> => time;

/** Reads these documents again, as changes of which nothing else is known. */
async function refetch(ids: readonly number[]): Promise<void> {
  const refetching = { filter: undefined, readTime: () => undefined, onStateGone: async () => undefined };
  const applier = new LocalLaneApplier(source, await writerHere(), silentLogger, refetching);
  const collection: AppliedCollection = {
    ...{ id: uuidText(await uuidOf(source)), ns: NS, sourceNs: NS, name: `${NS.db}.${NS.coll}` },
    ...{ destinationUuid: await uuidOf(destination), capped: false, collated: false, keyPaths: UNSHARDED },
  };
  const operations = ids.map((id) => {
    const raw = Buffer.from(BSON.serialize({ _id: id }));
    return { collection, kind: 'refetch' as const, id: raw, wholeKey: raw, key: documentKey(raw), content: undefined };
  });
  await applier.apply(operations, signal);
}

for (const kind of ['ranges', 'natural', 'resumable', 'refetch'] as const) {
  test(`what is rolled back on the source was never read: ${kind}`, async () => {
    const check = async (): Promise<void> => {
      await Promise.all([original?.drop(), copied?.drop()]);
      await destinationClient.db(NS.db).createCollection(NS.coll);
      const docs = Array.from({ length: 100 }, (_, n) => ({ _id: n, n: 0 }));
      await original?.insertMany(docs, { writeConcern: { w: 'majority' } });
      time = await writeOplogNote(source, 'test', signal);
      await using cut = await cutReplication(sourceSet);
      const alone = cut.client.db(NS.db).collection<Item>(NS.coll);
      await alone.updateMany({ _id: { $lt: 60 } }, { $set: { n: 1 } }, { writeConcern: { w: 1 } });
      await alone.insertMany([{ _id: 200, n: 1 }], { writeConcern: { w: 1 } });
      // A reader may wait for what a majority has not yet; it must not go on with less.
      let isDone = false;
      const reading = (kind === 'refetch' ? refetch([...docs.map(({ _id }) => _id), 200]) : copy(kind)).then(() => {
        isDone = true;
      });
      reading.catch(() => undefined);
      const isWaiting = async (): Promise<boolean> => {
        const finds = { appName: 'mongoferry', 'command.find': NS.coll };
        return (
          (
            await cut.client
              .db('admin')
              .aggregate([{ $currentOp: {} }, { $match: finds }])
              .toArray()
          ).length > 0
        );
      };
      await eventually(TEST_MS, async () => isDone || (await isWaiting()), 'the documents being read');
      await cut.rollBack();
      await reading;
      assert.equal(await copied?.find().sort({ _id: 1 }).toArray(), docs);
      assert.equal(await original?.find().sort({ _id: 1 }).toArray(), docs);
    };
    await within(TEST_MS, check(), kind);
  });
}

test('a rollback on the source in the middle of a migration: it ends as the source is then', async () => {
  const migrate = async (): Promise<void> => {
    await resetClusters(sourceClient, destinationClient);
    await original?.insertMany(
      [
        { _id: 1, n: 0 },
        { _id: 2, n: 0 },
      ],
      { writeConcern: { w: 'majority' } },
    );
    await using harness = await MigrationHarness.open({ source: sourceSet, destination: destinationSet });
    await harness.sync();
    {
      await using cut = await cutReplication(sourceSet);
      const alone = cut.client.db(NS.db);
      await alone.collection<Item>(NS.coll).updateOne({ _id: 1 }, { $set: { n: 1 } }, { writeConcern: { w: 1 } });
      await alone.collection<Item>(NS.coll).deleteOne({ _id: 2 }, { writeConcern: { w: 1 } });
      await alone.createCollection('undone', { writeConcern: { w: 1 } });
      await cut.rollBack();
    }
    await original?.insertOne({ _id: 3, n: 0 }, { writeConcern: { w: 'majority' } });
    await harness.commit();
    await assertEqualClusters(sourceClient, destinationClient);
    assert.is(await copied?.countDocuments(), 3);
  };
  await within(TEST_MS, migrate(), 'the migration');
});

test('what was applied and is rolled back on the destination is applied again', async () => {
  const migrate = async (): Promise<void> => {
    await resetClusters(sourceClient, destinationClient);
    await original?.insertOne({ _id: 1, n: 0 });
    await using harness = await MigrationHarness.open({ source: sourceSet, destination: destinationSet });
    await harness.sync();
    {
      await using cut = await cutReplication(destinationSet);
      const alone = cut.client.db(NS.db);
      await original?.insertOne({ _id: 2, n: 0 }, { writeConcern: { w: 'majority' } });
      await original?.updateOne({ _id: 1 }, { $set: { n: 1 } }, { writeConcern: { w: 'majority' } });
      await sourceClient.db(NS.db).createCollection('made', { writeConcern: { w: 'majority' } });
      const applied = async (): Promise<boolean> =>
        (await alone.collection<Item>(NS.coll).findOne({ _id: 2 })) !== null;
      await eventually(TEST_MS, applied, 'the insert on the primary that is cut off');
      await cut.rollBack();
    }
    await harness.commit();
    await assertEqualClusters(sourceClient, destinationClient);
    assert.equal(await copied?.find().sort({ _id: 1 }).toArray(), [
      { _id: 1, n: 1 },
      { _id: 2, n: 0 },
    ]);
  };
  await within(TEST_MS, migrate(), 'the migration');
});

test.run();
