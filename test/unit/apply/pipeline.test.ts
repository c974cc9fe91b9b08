import { setImmediate as turn } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { CommitFence } from '../../../src/apply/commit-fence.js';
import type { Operation } from '../../../src/apply/operation.js';
import { type ApplyContext, ApplyPipeline, type ApplyRun } from '../../../src/apply/pipeline.js';
import type { ShareTask } from '../../../src/apply/share.js';
import type { ShareTakers } from '../../../src/apply/stretches.js';
import { encode, Timestamp } from '../../../src/bson/bson.js';
import { Position } from '../../../src/bson/position.js';
import { uuidFrom, uuidText } from '../../../src/bson/uuid.js';
import type { Cluster } from '../../../src/cluster/cluster.js';
import type { ChangeEvent } from '../../../src/documents/change-event.js';
import { liveChanges } from '../../../src/documents/change-stream.js';

import { deferred } from '../../../src/lib/tasks.js';
import { answeringStream, STREAM_TIME, streamReply } from '../../support/answering-stream.js';
import { silentLogger } from '../../support/silent-logger.js';
import { eventually } from '../../support/within.js';

const WAIT_MS = 20_000;
/** No other instance helps. */
const NOBODY: ShareTakers = { names: () => [], countOwn: () => undefined, apply: async () => undefined };

/** A run from the beginning, whose late events are put into `late`. */
function runOf(late: ChangeEvent[] = []): ApplyRun {
  return {
    start: Position.startAt(STREAM_TIME),
    eventsApplied: 0,
    copyAgain: () => Promise.resolve(),
    onLateEvent: async (event) => void late.push(event),
  };
}

/** A pipeline for which nothing of what the source answers is to be applied. */
function pipelineOf(replies: Promise<unknown>[]): ApplyPipeline {
  const source = answeringStream(replies);
  const others = {
    scope: { stages: () => [], follows: async () => false },
    store: { loadDdl: async () => ({ done: undefined, intent: undefined }) },
    collections: { get: () => undefined, live: () => [] },
    appliers: [],
    windowBytes: 1000,
    rawDeltas: false,
    filter: undefined,
    logger: silentLogger,
    takers: NOBODY,
  };
  return new ApplyPipeline(
    { source, changes: liveChanges(source, silentLogger), ...others } as unknown as ApplyContext,
    new CommitFence(undefined),
  );
}

test('the changes of a transaction share a time: it is reached once the last of them is applied', async () => {
  const clusterTime = STREAM_TIME;
  const collectionUUID = uuidFrom(Buffer.alloc(16, 1));
  const ns = { db: 'shop', coll: 'items' };
  const event = encode({ operationType: 'insert', clusterTime, collectionUUID, ns, documentKey: { _id: 1 } });
  const [second, third] = [deferred<unknown>(), deferred<unknown>()];
  // The first answer of a cursor may be empty though there is more to come.
  const replies = [Promise.resolve(streamReply({ batch: [] })), second.promise, third.promise];
  const pipeline = pipelineOf(replies);
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

/** A pipeline whose one collection's changes go to `apply`. `others`: what else it is to have. */
function applying(replies: Promise<unknown>[], apply: () => Promise<void>, others: object = {}): Applying {
  const given: Operation[] = [];
  const late: ChangeEvent[] = [];
  const collection = { id: uuidText(ITEMS), dropped: false, ns: { db: 'shop', coll: 'items' } };
  const source = answeringStream(replies);
  const context = {
    source,
    changes: liveChanges(source, silentLogger),
    scope: { stages: () => [], follows: async () => true },
    store: { loadDdl: async () => ({ done: undefined, intent: undefined }) },
    collections: { get: () => collection, live: () => [collection], version: 1 },
    appliers: [
      {
        apply: async (operations: readonly Operation[]) => {
          given.push(...operations);
          await apply();
        },
      },
    ],
    windowBytes: 10_000,
    rawDeltas: false,
    filter: undefined,
    logger: silentLogger,
    takers: NOBODY,
    ...others,
  };
  return { pipeline: new ApplyPipeline(context as unknown as ApplyContext, new CommitFence(undefined)), given, late };
}

test('the safe position does not move before the writes are done, however much comes after them', async () => {
  const written = deferred<void>();
  const later = deferred<unknown>();
  const replies = [
    Promise.resolve(streamReply({ batch: [insertOf(1, 2)] })),
    Promise.resolve(streamReply({ batch: [], isNext: true })),
    Promise.resolve(streamReply({ batch: [], isNext: true })),
    later.promise,
  ];
  const { pipeline, given } = applying(replies, () => written.promise);
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
  const event = deferred<unknown>();
  const replies = [Promise.resolve(streamReply({ batch: [] })), event.promise];
  const { pipeline, given, late } = applying(replies, async () => undefined);
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
  const source = { ...answeringStream(replies), now: new Timestamp({ t: 100, i: 0 }) };
  const behind = { source, changes: liveChanges(source as unknown as Cluster, silentLogger), takers };
  const { pipeline, given } = applying([], () => written.promise, behind);
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

test.run();
