import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Doc, encode } from '../../../src/bson/bson.js';
import { Position } from '../../../src/bson/position.js';
import { liveChanges } from '../../../src/documents/change-stream.js';
import { deferred } from '../../../src/lib/tasks.js';
import { ChangeReader } from '../../../src/verify/change-reader.js';
import { DirtySet } from '../../../src/verify/dirty-set.js';
import { answeringStream, STREAM_TIME, streamReply } from '../../support/answering-stream.js';
import { silentLogger } from '../../support/silent-logger.js';
import { eventually } from '../../support/within.js';

const WAIT_MS = 20_000;
test('the changes of a transaction share a time: that time is reached once none came with it any more', async () => {
  const second = deferred<Doc>();
  const event = encode({ documentKey: { _id: 1 }, ns: { db: 'shop', coll: 'items' } });
  const replies = [Promise.resolve(streamReply({ batch: [event] })), second.promise];
  const cluster = await answeringStream(replies);
  const narrowing = { source: [], destination: [] };
  const dirty = new DirtySet({ documents: 10, bytes: 1000 });
  const reader = new ChangeReader('source', Position.startAt(STREAM_TIME), {
    changes: liveChanges(cluster, silentLogger),
    dirty,
    narrowing,
  });
  const stop = new AbortController();
  void reader.run(stop.signal).catch(() => undefined);
  await eventually(WAIT_MS, () => reader.time?.equals(STREAM_TIME), 'the time of the first batch');
  assert.equal([dirty.size, reader.hasReached(STREAM_TIME)], [1, false]);
  second.resolve(streamReply({ batch: [], isNext: true }));
  await eventually(WAIT_MS, () => reader.hasReached(STREAM_TIME), 'the end of that time');
  stop.abort();
});

test('a document of a sharded collection is named by its _id, not by the first field of its key', async () => {
  const event = encode({ documentKey: { a: 95, _id: 7 }, ns: { db: 'shop', coll: 'items' } });
  const cluster = await answeringStream([Promise.resolve(streamReply({ batch: [event] }))]);
  const dirty = new DirtySet({ documents: 10, bytes: 1000 });
  const parts = { changes: liveChanges(cluster, silentLogger), dirty, narrowing: { source: [], destination: [] } };
  const reader = new ChangeReader('source', Position.startAt(STREAM_TIME), parts);
  const stop = new AbortController();
  void reader.run(stop.signal).catch(() => undefined);
  await eventually(WAIT_MS, () => dirty.size === 1, 'the change');
  stop.abort();
  assert.equal([...(dirty.take().get('source:shop.items')?.values() ?? [])], [encode({ _id: 7 })]);
});

test.run();
