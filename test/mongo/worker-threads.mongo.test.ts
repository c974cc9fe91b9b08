import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { LaneApplier } from '../../src/apply/lane-applier.js';
import { LocalLaneApplier } from '../../src/apply/lane-applier.js';
import type { Operation } from '../../src/apply/operation.js';
import { ThreadLaneApplier } from '../../src/apply/thread-lane-applier.js';
import { type Binary, encode } from '../../src/bson/bson.js';
import { documentKey } from '../../src/bson/document-key.js';
import { UNSHARDED } from '../../src/bson/key-query.js';
import { uuidBytes, uuidText } from '../../src/bson/uuid.js';
import { findCollection } from '../../src/catalog/catalog.js';
import { writeOplogNote } from '../../src/cluster/oplog-note.js';
import { writeSessions } from '../../src/cluster/write-sessions.js';
import { LocalRangeCopier } from '../../src/copy/local-range-copier.js';
import type { RangeTask } from '../../src/copy/range-task.js';
import { ThreadRangeCopier } from '../../src/copy/thread-range-copier.js';
import { DocumentWriter } from '../../src/documents/document-writer.js';
import { RawWriter } from '../../src/documents/raw-writes.js';
import { AppError } from '../../src/errors.js';
import { ByteBudget } from '../../src/lib/limit.js';
import type { SharedDeadline } from '../../src/lib/shared-deadline.js';
import { takeStageStats } from '../../src/metrics.js';
import { plainTime } from '../../src/threads/seen-times.js';
import { WriterThread, type WriterThreadParts } from '../../src/threads/writer-thread.js';
import type { WriterThreads } from '../../src/threads/writer-threads.js';
import { assertEqualClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS, holdCommands, releaseCommands, touchedCommands } from '../support/fail-points.js';
import { DEFAULT_START, MigrationHarness } from '../support/migration-harness.js';
import { sharedCluster, sharedPair } from '../support/shared-servers.js';
import { silentLogger } from '../support/silent-logger.js';
import { METADATA_DB } from '../support/stored-migration.js';
import { eventually, within } from '../support/within.js';
import { writableAlone } from '../support/writable.js';

const TEST_MS = 120_000;
const NS = { db: 'shop', coll: 'items' };
const { pair, source, destination } = await sharedPair(test, { setParameters: FAIL_POINTS });
const from = await sharedCluster(test, 'cluster0', pair.source);
const opened = await sharedCluster(test, 'cluster1', pair.destination);
const to = writableAlone(opened, { sessions: writeSessions(opened, 'thread_numbers') });
const { signal } = new AbortController();

interface Item {
  readonly _id: number;
  readonly n: number;
}
const items = source.db(NS.db).collection<Item>(NS.coll);
const copied = destination.db(NS.db).collection<Item>(NS.coll);

test.after.each(() => releaseCommands(destination));

/** A lease that tells in which order it was asked. */
class FakeLease {
  readonly told: string[] = [];
  readonly deadlines: SharedDeadline[] = [];

  async addSessions(ids: readonly Binary[]): Promise<void> {
    this.told.push(`add ${ids.length > 0}`);
  }

  async removeSessions(): Promise<void> {
    this.told.push('remove');
  }

  share(deadline: SharedDeadline): () => void {
    this.told.push('share');
    this.deadlines.push(deadline);
    deadline.set(() => 60_000);
    return () => deadline.end();
  }
}

function partsWith(lease: FakeLease): WriterThreadParts {
  return {
    ...{ source: from, destination: to, numbersDb: 'thread_numbers', lease, logger: silentLogger },
    ...{ filter: undefined, maxPoolSize: 4, bufferBytes: 50_000_000 },
    removeIndexes: async () => undefined,
    serve: () => undefined,
  };
}

/** A collection of so many documents on the source, and an empty one on the destination. */
async function taskOf(count: number): Promise<RangeTask> {
  await items.insertMany(Array.from({ length: count }, (_, n) => ({ _id: n, n: 0 })));
  await destination.db(NS.db).createCollection(NS.coll);
  const [original, target] = [await findCollection(from, NS, signal), await findCollection(to, NS, signal)];
  return {
    ...{ ns: NS, uuid: uuidBytes(original?.uuid as Binary) },
    target: { ns: NS, uuid: uuidBytes(target?.uuid as Binary), keyPaths: UNSHARDED },
    ...{ lower: undefined, upper: undefined, natural: false, resumable: false, marks: [], position: undefined },
    ...{ isAgain: false, filter: undefined, ordered: false, estimatedBytes: 1_000_000, behind: 0, batchDocuments: 500 },
    afterTime: plainTime(await writeOplogNote(from, 'test', signal)),
  };
}

async function localWriter(): Promise<DocumentWriter> {
  return new DocumentWriter(to, await RawWriter.create(to, 'probe', signal), async () => undefined);
}

/** A single thread in the place of several. */
function threadsOf(thread: WriterThread): Pick<WriterThreads, 'call'> {
  return { call: (kind, task, { number: _, ...options }) => thread.call(kind, task, options) };
}

async function copierWith(thread: WriterThread): Promise<ThreadRangeCopier> {
  const [writer, budget] = [await localWriter(), new ByteBudget(50_000_000)];
  const local = new LocalRangeCopier({ source: from, destination: to, writer, budget, logger: silentLogger });
  return new ThreadRangeCopier(threadsOf(thread), local);
}

test('a thread may write only once its sessions are stored, and leaves none when it is closed', async () => {
  const check = async (): Promise<void> => {
    const task = await taskOf(3000);
    takeStageStats();
    const lease = new FakeLease();
    const thread = await WriterThread.start(partsWith(lease), 1, signal);
    let documents = 0;
    const written = (more: number): void => {
      documents += more;
    };
    const listener = { written, marked: async () => undefined };
    assert.is(await (await copierWith(thread)).copy(task, listener, signal), 'copied');
    assert.equal([documents, await copied.countDocuments()], [3000, 3000]);
    assert.is(thread.hasLost, false);
    await thread.close();
    // What it has measured counts in the process, at the latest when it closes.
    assert.ok(takeStageStats().CollectionCopySourceRead.numOperations > 0);
    assert.equal(lease.told, ['add true', 'share', 'remove']);
    assert.equal([to.otherWriters.hasLost, lease.deadlines[0]?.isOver], [false, true]);
  };
  await within(TEST_MS, check(), 'the check');
});

test('a thread waits while the right to write is not certain, and stops when it is over', async () => {
  const check = async (): Promise<void> => {
    const task = await taskOf(1000);
    const lease = new FakeLease();
    const thread = await WriterThread.start(partsWith(lease), 1, signal);
    const [deadline] = lease.deadlines;
    deadline?.set(() => 0);
    const copier = await copierWith(thread);
    const listener = { written: () => undefined, marked: async () => undefined };
    let isCopied = false;
    const copying = copier.copy(task, listener, signal).then(() => {
      isCopied = true;
    });
    // It tells that it waits, as for any outage.
    await eventually(20_000, () => to.waitsFor.some((each) => each.includes('lease')), 'the thread waiting');
    assert.equal([isCopied, await copied.countDocuments()], [false, 0]);
    deadline?.set(() => 60_000);
    await copying;
    assert.is(await copied.countDocuments(), 1000);
    await copied.deleteMany({});
    deadline?.end();
    const error = await copier.copy(task, listener, signal).catch((cause: unknown) => cause);
    assert.is(AppError.from(error).code, 'LeaseLost');
    assert.is(await copied.countDocuments(), 0);
    await thread.close();
  };
  await within(TEST_MS, check(), 'the check');
});

test('when a thread ends within a write, its work is done here, and what it has sent never comes later', async () => {
  const check = async (): Promise<void> => {
    const task = await taskOf(2000);
    const thread = await WriterThread.start(partsWith(new FakeLease()), 1, signal);
    const copier = await copierWith(thread);
    const before = await touchedCommands(destination);
    const namespace = `${NS.db}.${NS.coll}`;
    await holdCommands(destination, { commands: ['insert'], namespace, times: 2 }, 5000);
    let documents = 0;
    const written = (more: number): void => {
      documents += more;
    };
    const listener = { written, marked: async () => undefined };
    const copying = copier.copy(task, listener, signal);
    await eventually(20_000, async () => (await touchedCommands(destination)) > before, 'the insert being held');
    await thread.endAtOnce();
    assert.is(await copying, 'copied');
    assert.equal([documents, await copied.countDocuments(), to.otherWriters.hasLost], [2000, 2000, false]);
    await copied.deleteMany({});
    await releaseCommands(destination);
    const held = [{ $currentOp: {} }, { $match: { 'command.insert': NS.coll } }];
    const isOver = async (): Promise<boolean> => (await destination.db('admin').aggregate(held).toArray()).length === 0;
    await eventually(20_000, isOver, 'the inserts no longer being held');
    assert.is(await copied.countDocuments(), 0);
    await thread.close();
  };
  await within(TEST_MS, check(), 'the check');
});

test('a lane goes on here when its thread has ended, in the order of its operations', async () => {
  const check = async (): Promise<void> => {
    const task = await taskOf(10);
    const original = await findCollection(from, NS, signal);
    const target = await findCollection(to, NS, signal);
    const collection = {
      ...{ id: uuidText(original?.uuid as Binary), ns: NS, sourceNs: NS, name: 'shop.items' },
      ...{ destinationUuid: target?.uuid as Binary, capped: false, collated: false, keyPaths: UNSHARDED },
    };
    const operation = (kind: Operation['kind'], _id: number, n?: number): Operation => {
      const id = encode({ _id });
      const content = n === undefined ? undefined : encode({ _id, n });
      return { collection, kind, id, wholeKey: id, key: documentKey(id), content };
    };
    const thread = await WriterThread.start(partsWith(new FakeLease()), 1, signal);
    const refetching = { filter: undefined, readTime: () => undefined, onStateGone: async () => undefined };
    const local = new LocalLaneApplier(from, await localWriter(), silentLogger, refetching);
    const applier: LaneApplier = new ThreadLaneApplier({
      ...{ threads: threadsOf(thread), number: 0, local },
      readTime: refetching.readTime,
    });
    const batch = [
      operation('put', 100, 1),
      operation('put', 101, 1),
      operation('delete', 100),
      operation('refetch', 3),
    ];
    await applier.apply(batch, signal);
    assert.equal(await copied.find().sort({ _id: 1 }).toArray(), [
      { _id: 3, n: 0 },
      { _id: 101, n: 1 },
    ]);
    await thread.endAtOnce();
    await applier.apply([operation('replace', 101, 2), operation('replace', 101, 3)], signal);
    assert.equal(await copied.findOne({ _id: 101 }), { _id: 101, n: 3 });
    assert.ok(task.batchDocuments > 0);
    await thread.close();
  };
  await within(TEST_MS, check(), 'the check');
});

test('the record of the lease names the sessions of all threads while they write, and none after a pause', async () => {
  const check = async (): Promise<void> => {
    await items.insertMany(Array.from({ length: 5000 }, (_, n) => ({ _id: n, n: 0 })));
    const sessionsOf = async (): Promise<number> => {
      const lease = await destination.db(METADATA_DB).collection<{ _id: string }>('lease').findOne({ _id: 'lease' });
      return ((lease as { sessions?: unknown[] } | null)?.sessions ?? []).length;
    };
    await using harness = await MigrationHarness.open(pair, { workerThreads: 2 });
    await harness.migration.start(DEFAULT_START);
    const own = await sessionsOf();
    await harness.caughtUp();
    await items.updateMany({}, { $inc: { n: 1 } });
    await eventually(30_000, async () => (await copied.countDocuments({ n: 1 })) === 5000, 'the updates applied');
    assert.ok((await sessionsOf()) > own + 16, `${await sessionsOf()} of them, ${own} before`);
    await harness.migration.pause();
    await eventually(10_000, async () => (await sessionsOf()) === own, 'the sessions of the threads being gone');
    await harness.migration.resume();
    await items.updateMany({}, { $inc: { n: 1 } });
    await harness.commit();
    await assertEqualClusters(source, destination);
  };
  await within(TEST_MS, check(), 'the check');
});

test.run();
