import { setImmediate as turn } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { CommitFence } from '../../../src/apply/commit-fence.js';
import type { LaneApplier } from '../../../src/apply/lane-applier.js';
import type { Operation } from '../../../src/apply/operation.js';
import { type ApplyContext, ApplyPipeline, type ApplyRun } from '../../../src/apply/pipeline.js';
import type { ShareTask } from '../../../src/apply/share.js';
import type { ShareTakers } from '../../../src/apply/stretches.js';
import { type Doc, encode, Timestamp } from '../../../src/bson/bson.js';
import { Position, secondsOf } from '../../../src/bson/position.js';
import { uuidFrom, uuidText } from '../../../src/bson/uuid.js';
import { Scope } from '../../../src/catalog/scope.js';
import type { ChangeEvent } from '../../../src/documents/change-event.js';
import type { ChangeBatch, ChangeSource } from '../../../src/documents/change-source.js';
import { liveChanges } from '../../../src/documents/change-stream.js';
import { StreamPace } from '../../../src/documents/stream-pace.js';
import { deferred } from '../../../src/lib/tasks.js';
import { answeringCluster, unasked } from '../../support/answering-cluster.js';
import { answeringStream, STREAM_TIME, streamReply } from '../../support/answering-stream.js';
import { collectionMap } from '../../support/memory-catalog.js';
import { migratedCollection } from '../../support/migrated-collection.js';
import { OPTIONS } from '../../support/observed-work.js';
import { silentLogger } from '../../support/silent-logger.js';
import { eventually } from '../../support/within.js';
import { writableAlone } from '../../support/writable.js';

const WAIT_MS = 20_000;
/** No other instance helps. */
const NOBODY: ShareTakers = {
  names: () => [],
  countOwn: () => undefined,
  recall: async () => undefined,
  apply: async () => undefined,
};

/** A run from the beginning, whose late events are put into `late`. */
function runOf(late: ChangeEvent[] = []): ApplyRun {
  return {
    start: Position.startAt(STREAM_TIME),
    eventsApplied: 0,
    copyAgain: () => Promise.resolve(),
    onLateEvent: async (event) => void late.push(event),
  };
}

/** What a pipeline works with that applies everything of a source with these answers, but for these changes. */
async function contextOf(replies: Promise<Doc>[], changes: Partial<ApplyContext>): Promise<ApplyContext> {
  const source = await answeringStream(replies);
  return {
    source,
    destination: writableAlone(await answeringCluster(unasked, { name: 'cluster1' })),
    changes: liveChanges(source, silentLogger),
    scope: new Scope(source, OPTIONS),
    store: { loadDdl: async () => ({ done: undefined, intent: undefined }), saveDdl: async () => undefined },
    collections: await collectionMap([]),
    indexes: { hold: async () => undefined, release: () => undefined, changed: () => undefined },
    layout: { keysOf: () => undefined, spread: async () => [] },
    filter: undefined,
    logger: silentLogger,
    onWarning: () => undefined,
    appliers: [],
    windowBytes: 10_000,
    rawDeltas: false,
    takers: NOBODY,
    pace: new StreamPace(),
    ...changes,
  };
}

/** A pipeline for which nothing of what the source answers is to be applied. */
async function pipelineOf(replies: Promise<Doc>[]): Promise<ApplyPipeline> {
  const context = await contextOf(replies, { windowBytes: 1000 });
  const scope = new Scope(context.source, { ...OPTIONS, excludeNamespaces: [{ database: 'shop', collections: [] }] });
  return new ApplyPipeline({ ...context, scope }, new CommitFence(undefined));
}

test('the changes of a transaction share a time: it is reached once the last of them is applied', async () => {
  const clusterTime = STREAM_TIME;
  const collectionUUID = uuidFrom(Buffer.alloc(16, 1));
  const ns = { db: 'shop', coll: 'items' };
  const event = encode({ operationType: 'insert', clusterTime, collectionUUID, ns, documentKey: { _id: 1 } });
  const [second, third] = [deferred<Doc>(), deferred<Doc>()];
  // The first answer of a cursor may be empty though there is more to come.
  const replies = [Promise.resolve(streamReply({ batch: [] })), second.promise, third.promise];
  const pipeline = await pipelineOf(replies);
  const stop = new AbortController();
  void pipeline.run(runOf(), stop.signal).catch(() => undefined);
  let isReached = false;
  const reaching = pipeline.reached(STREAM_TIME, stop.signal).then(() => {
    isReached = true;
  });
  await eventually(WAIT_MS, () => pipeline.status.safeSeconds === 16, 'the first answer being passed');
  assert.is(isReached, false);
  second.resolve(streamReply({ batch: [event], isNext: true }));
  await eventually(WAIT_MS, () => pipeline.status.safe?.eventsApplied === 1, 'the event being passed');
  assert.is(isReached, false);
  third.resolve(streamReply({ batch: [], isNext: true }));
  await reaching;
  stop.abort();
});

const ITEMS = uuidFrom(Buffer.alloc(16, 1));

/** A change of one document, `increment` within the second of {@link STREAM_TIME}. */
function insertOf(id: number, increment: number): Buffer {
  return encode({
    operationType: 'insert',
    clusterTime: new Timestamp({ t: 16, i: increment }),
    collectionUUID: ITEMS,
    ns: { db: 'shop', coll: 'items' },
    documentKey: { _id: id },
    fullDocument: { _id: id },
  });
}

interface Applying {
  readonly pipeline: ApplyPipeline;
  /** Operations given to the only lane, by the moment they were given. */
  readonly given: Operation[];
  /** The events that were judged late. */
  readonly late: ChangeEvent[];
}

/** A pipeline whose one collection's changes go to `apply`. `changes`: what else is otherwise. */
async function applying(
  replies: Promise<Doc>[],
  apply: () => Promise<void>,
  changes: Partial<ApplyContext> = {},
): Promise<Applying> {
  const given: Operation[] = [];
  const late: ChangeEvent[] = [];
  const applier: LaneApplier = {
    apply: async (operations) => {
      given.push(...operations);
      await apply();
    },
  };
  const collections = await collectionMap([migratedCollection({ id: uuidText(ITEMS) })]);
  const context = await contextOf(replies, { collections, appliers: [applier], ...changes });
  return { pipeline: new ApplyPipeline(context, new CommitFence(undefined)), given, late };
}

test('the safe position does not move before the writes are done, however much comes after them', async () => {
  const written = deferred<void>();
  const later = deferred<Doc>();
  const replies = [
    Promise.resolve(streamReply({ batch: [insertOf(1, 2)] })),
    Promise.resolve(streamReply({ batch: [], isNext: true })),
    Promise.resolve(streamReply({ batch: [], isNext: true })),
    later.promise,
  ];
  const { pipeline, given } = await applying(replies, () => written.promise);
  const stop = new AbortController();
  void pipeline.run(runOf(), stop.signal).catch(() => undefined);
  await eventually(WAIT_MS, () => given.length === 1 && replies.length === 0, 'everything being read');
  for (let n = 0; n < 20; n++) await turn();
  assert.is(pipeline.status.safe, undefined);
  written.resolve();
  await eventually(WAIT_MS, () => pipeline.status.safe?.eventsApplied === 1, 'the position moving');
  stop.abort();
});

test('an event that comes while the end of the line is being fixed is judged by it, never applied', async () => {
  const event = deferred<Doc>();
  const replies = [Promise.resolve(streamReply({ batch: [] })), event.promise];
  const { pipeline, given, late } = await applying(replies, async () => undefined);
  const stop = new AbortController();
  void pipeline.run(runOf(late), stop.signal).catch(() => undefined);
  await eventually(WAIT_MS, () => replies.length === 0, 'the stream being read');
  await pipeline.setFence(async () => {
    // The time is taken; before it is known here, somebody writes, and the stream tells of it.
    event.resolve(streamReply({ batch: [insertOf(1, 5)], isNext: true }));
    for (let n = 0; n < 50; n++) await turn();
    return new Timestamp({ t: 16, i: 4 });
  });
  await eventually(WAIT_MS, () => late.length + given.length > 0, 'the event being met');
  assert.equal([given.length, late.length], [0, 1]);
  stop.abort();
});

test('a stretch begins once everything before it is on the destination', async () => {
  const written = deferred<void>();
  const shares: ShareTask[] = [];
  const takers: ShareTakers = {
    names: () => ['b'],
    countOwn: () => undefined,
    recall: async () => undefined,
    apply: async (_name, task) => {
      shares.push(task);
      return { position: task.from, isBetween: false, events: 600 };
    },
  };
  const drop = encode({ operationType: 'drop', clusterTime: new Timestamp({ t: 17, i: 1 }) });
  const replies = [
    Promise.resolve(streamReply({ batch: [insertOf(1, 2)] })),
    // The own share of the stretch ends at once.
    Promise.resolve(streamReply({ batch: [drop] })),
    Promise.resolve(streamReply({ batch: [insertOf(2, 3)] })),
  ];
  const source = await answeringStream(replies);
  source.saw(new Timestamp({ t: 100, i: 0 }));
  const behind = { source, changes: liveChanges(source, silentLogger), takers };
  const { pipeline, given } = await applying([], () => written.promise, behind);
  const stop = new AbortController();
  void pipeline.run(runOf(), stop.signal).catch(() => undefined);
  await eventually(WAIT_MS, () => given.length === 1, 'the event before the stretch');
  for (let n = 0; n < 20; n++) await turn();
  assert.is(shares.length, 0);
  written.resolve();
  await eventually(WAIT_MS, () => given.length === 2, 'the event behind the stretch');
  assert.ok(shares.length >= 1);
  assert.is(shares[0]?.share, 1);
  stop.abort();
});

test('the safe position moves with the shares, and what is behind it is applied once more where one comes back', async () => {
  const drop = encode({ operationType: 'drop', clusterTime: new Timestamp({ t: 30, i: 1 }) });
  const batch = (t: number, events: Buffer[]): ChangeBatch => {
    return { events, position: Position.startAt(new Timestamp({ t, i: 9 })), isBetween: false, reduced: false };
  };
  const told = deferred<void>();
  const takers: ShareTakers = {
    names: () => ['b'],
    countOwn: () => undefined,
    recall: async () => undefined,
    apply: async (_name, _task, onPlace) => {
      onPlace({ position: batch(18, []).position.toText(), isBetween: false, events: 5 });
      await told.promise;
      return undefined;
    },
  };
  const froms: number[] = [];
  const answers: ChangeBatch[][] = [[batch(16, [insertOf(1, 2)])], [batch(20, []), batch(30, [drop])], []];
  const changes: ChangeSource = {
    async *read(from) {
      froms.push(secondsOf(from.time));
      yield* answers.shift() ?? [];
      await new Promise(() => undefined);
    },
  };
  const source = await answeringStream([]);
  source.saw(new Timestamp({ t: 100, i: 0 }));
  const { pipeline } = await applying([], async () => undefined, { source, changes, takers });
  const stop = new AbortController();
  void pipeline.run(runOf(), stop.signal).catch(() => undefined);
  await eventually(WAIT_MS, () => pipeline.status.safeSeconds === 18, 'the shares being told of');
  assert.is(pipeline.status.safe?.eventsApplied, 6);
  told.resolve();
  await eventually(WAIT_MS, () => froms.length === 3, 'the stream being read again');
  assert.equal(froms, [16, 16, 18]);
  stop.abort();
});

test.run();
