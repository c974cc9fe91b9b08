import { Long, Timestamp } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type ApplyContext, ApplyPipeline } from '../../../src/apply/pipeline.js';
import { encode } from '../../../src/cluster/bson.js';
import { uuidFrom } from '../../../src/cluster/raw-writes.js';
import { createLogger } from '../../../src/lib/logger.js';
import { deferred } from '../../../src/lib/tasks.js';

const TIME = new Timestamp({ t: 16, i: 1 });
const TOKEN = { _data: '820000001000000001AA' };
const logger = createLogger({ level: 'ERROR', mongosyncId: 'test', sink: { write: () => undefined } });

const reply = (batch: Record<string, unknown>) => ({
  cursor: { id: Long.fromNumber(1), ns: 'admin.$cmd.aggregate', postBatchResumeToken: TOKEN, ...batch },
});

/** A pipeline for which nothing of what the source answers is to be applied. */
function pipelineOf(replies: Promise<unknown>[]): ApplyPipeline {
  const source = {
    isAtLeast: () => true,
    tellOutage: () => undefined,
    startSession: () => ({ endSession: () => Promise.resolve() }),
    command: (_db: string, command: object) =>
      'killCursors' in command ? Promise.resolve({}) : (replies.shift() ?? new Promise(() => undefined)),
  };
  const others = {
    scope: { stages: () => [], follows: async () => false },
    store: { loadDdl: async () => ({ done: undefined, intent: undefined }) },
    collections: { get: () => undefined, live: () => [] },
    appliers: [],
    windowBytes: 1000,
    rawDeltas: false,
    filter: undefined,
    logger,
  };
  return new ApplyPipeline({ source, ...others } as unknown as ApplyContext, undefined);
}

test('the changes of a transaction share a time: it is reached once the last of them is applied', async () => {
  const clusterTime = TIME;
  const collectionUUID = uuidFrom(Buffer.alloc(16, 1));
  const ns = { db: 'shop', coll: 'items' };
  const event = encode({ operationType: 'insert', clusterTime, collectionUUID, ns, documentKey: { _id: 1 } });
  const [second, third] = [deferred<unknown>(), deferred<unknown>()];
  // The first answer of a cursor may be empty though there is more to come.
  const pipeline = pipelineOf([Promise.resolve(reply({ firstBatch: [] })), second.promise, third.promise]);
  const stop = new AbortController();
  void pipeline.run({ time: TIME }, 0, stop.signal).catch(() => undefined);
  let isReached = false;
  const reaching = pipeline.reached(TIME, stop.signal).then(() => {
    isReached = true;
  });
  const pause = () => new Promise((resolve) => setTimeout(resolve, 30));
  await pause();
  assert.is(isReached, false);
  second.resolve(reply({ nextBatch: [event] }));
  await pause();
  assert.equal([isReached, pipeline.status.safeSeconds], [false, 16]);
  third.resolve(reply({ nextBatch: [] }));
  await reaching;
  stop.abort();
});

test.run();
