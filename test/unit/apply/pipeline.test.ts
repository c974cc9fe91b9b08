import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type ApplyContext, ApplyPipeline } from '../../../src/apply/pipeline.js';
import { encode } from '../../../src/cluster/bson.js';
import { uuidFrom } from '../../../src/cluster/raw-writes.js';
import { deferred } from '../../../src/lib/tasks.js';
import { answeringStream, STREAM_TIME, streamReply } from '../../support/answering-stream.js';
import { silentLogger } from '../../support/silent-logger.js';
import { eventually } from '../../support/within.js';

const WAIT_MS = 20_000;

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
  };
  return new ApplyPipeline({ source, ...others } as unknown as ApplyContext, undefined);
}

test('the changes of a transaction share a time: it is reached once the last of them is applied', async () => {
  const clusterTime = STREAM_TIME;
  const collectionUUID = uuidFrom(Buffer.alloc(16, 1));
  const ns = { db: 'shop', coll: 'items' };
  const event = encode({ operationType: 'insert', clusterTime, collectionUUID, ns, documentKey: { _id: 1 } });
  const [second, third] = [deferred<unknown>(), deferred<unknown>()];
  // The first answer of a cursor may be empty though there is more to come.
  const replies = [Promise.resolve(streamReply({ firstBatch: [] })), second.promise, third.promise];
  const pipeline = pipelineOf(replies);
  const stop = new AbortController();
  void pipeline.run({ time: STREAM_TIME }, 0, stop.signal).catch(() => undefined);
  let isReached = false;
  const reaching = pipeline.reached(STREAM_TIME, stop.signal).then(() => {
    isReached = true;
  });
  await eventually(WAIT_MS, () => pipeline.status.safeSeconds === 16, 'the first answer being passed');
  assert.is(isReached, false);
  second.resolve(streamReply({ nextBatch: [event] }));
  await eventually(WAIT_MS, () => pipeline.status.safe?.eventsApplied === 1, 'the event being passed');
  assert.is(isReached, false);
  third.resolve(streamReply({ nextBatch: [] }));
  await reaching;
  stop.abort();
});

test.run();
