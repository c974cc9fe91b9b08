import { Long, Timestamp } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encode } from '../../../src/cluster/bson.js';
import type { Cluster } from '../../../src/cluster/cluster.js';
import { deferred } from '../../../src/lib/tasks.js';
import { ChangeReader } from '../../../src/verify/change-reader.js';
import { DirtySet } from '../../../src/verify/dirty-set.js';
import { silentLogger } from '../../support/silent-logger.js';
import { eventually } from '../../support/within.js';

const WAIT_MS = 20_000;
const TIME = new Timestamp({ t: 16, i: 1 });
const TOKEN = { _data: '820000001000000001AA' };

const reply = (batch: Record<string, unknown>) => ({
  cursor: { id: Long.fromNumber(1), ns: 'admin.$cmd.aggregate', postBatchResumeToken: TOKEN, ...batch },
});

test('the changes of a transaction share a time: that time is reached once none came with it any more', async () => {
  const second = deferred<unknown>();
  const event = encode({ documentKey: { _id: 1 }, ns: { db: 'shop', coll: 'items' } });
  const replies = [Promise.resolve(reply({ firstBatch: [event] })), second.promise];
  const cluster = {
    isAtLeast: () => false,
    tellOutage: () => undefined,
    startSession: () => ({ endSession: () => Promise.resolve() }),
    command: (_db: string, command: object) =>
      'killCursors' in command ? Promise.resolve({}) : (replies.shift() ?? new Promise(() => undefined)),
  } as unknown as Cluster;
  const narrowing = { source: [], destination: [] };
  const dirty = new DirtySet({ documents: 10, bytes: 1000 });
  const reader = new ChangeReader(cluster, 'source', { time: TIME }, { dirty, narrowing, logger: silentLogger });
  const stop = new AbortController();
  void reader.run(stop.signal).catch(() => undefined);
  await eventually(WAIT_MS, () => reader.time?.equals(TIME), 'the time of the first batch');
  assert.equal([dirty.size, reader.hasReached(TIME)], [1, false]);
  second.resolve(reply({ nextBatch: [] }));
  await eventually(WAIT_MS, () => reader.hasReached(TIME), 'the end of that time');
  stop.abort();
});

test.run();
