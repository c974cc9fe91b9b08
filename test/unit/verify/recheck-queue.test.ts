import { Timestamp } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encode, idText } from '../../../src/bson/bson.js';
import { type RecheckRecord, recheckKey } from '../../../src/metadata/verification-store.js';
import { MemoryVerificationState } from '../../../src/verify/memory-state.js';
import { RecheckQueue } from '../../../src/verify/recheck-queue.js';

const C = 'a'.repeat(32);
const LIMITS = { documents: 100, bytes: 10_000 };
const ID = encode({ _id: 7 });
const KEY = ID.toString('latin1');
const at = (seconds: number): Timestamp => new Timestamp({ t: seconds, i: 1 });
const { signal } = new AbortController();

class Recorded extends MemoryVerificationState {
  readonly stored = new Map<string, RecheckRecord>();

  override async putRechecks(records: readonly RecheckRecord[] = []): Promise<void> {
    for (const each of records) this.stored.set(recheckKey(each), each);
  }

  override async deleteRechecks(keys: readonly string[] = []): Promise<void> {
    for (const key of keys) this.stored.delete(key);
  }

  override async *loadRechecks(): AsyncGenerator<RecheckRecord> {
    yield* this.stored.values();
  }
}

/** One comparison of document 7. */
function compare(
  queue: RecheckQueue,
  {
    differs,
    changed = false,
    seconds,
    readUpTo = seconds,
  }: { differs: boolean; changed?: boolean; seconds: number; readUpTo?: number },
): string[] {
  const ids = new Map([[KEY, ID]]);
  return queue
    .note(C, {
      compared: ids,
      differing: differs ? [ID] : [],
      changed: changed ? ids : new Map(),
      readUpTo: at(readUpTo),
      now: at(seconds),
    })
    .confirmed.map((id) => idText(id));
}

test('a document that keeps differing with nothing changing it is a mismatch after some comparisons', () => {
  const queue = new RecheckQueue(new Recorded(), LIMITS);
  const outcomes = [1, 2, 3, 4].map((seconds) => compare(queue, { differs: true, seconds }));
  assert.equal(outcomes, [[], [], [], ['7']]);
  assert.equal([queue.size, queue.suspects], [1, 1]);
  queue.remove(C, [ID]);
  assert.equal([queue.size, queue.suspects], [0, 0]);
});

test('each change of a document begins the count anew', () => {
  const queue = new RecheckQueue(new Recorded(), LIMITS);
  for (let seconds = 1; seconds < 20; seconds++)
    assert.equal(compare(queue, { differs: true, changed: seconds % 2 === 0, seconds }), []);
});

test('a comparison does not count until the stream has been read up to the one before', () => {
  const queue = new RecheckQueue(new Recorded(), LIMITS);
  for (let seconds = 10; seconds < 20; seconds++)
    assert.equal(compare(queue, { differs: true, seconds, readUpTo: 5 }), []);
});

test('what is equal leaves the queue', () => {
  const queue = new RecheckQueue(new Recorded(), LIMITS);
  compare(queue, { differs: true, seconds: 1 });
  assert.is(queue.size, 1);
  compare(queue, { differs: false, seconds: 2 });
  assert.is(queue.size, 0);
});

test('another process finds what was stored, and nothing that was equal by then', async () => {
  const state = new Recorded();
  const queue = new RecheckQueue(state, LIMITS);
  queue.add(C, [ID, encode({ _id: 8 })]);
  await queue.store(signal);
  compare(queue, { differs: false, seconds: 1 });
  await queue.store(signal);
  const next = new RecheckQueue(state, LIMITS);
  await next.load(signal);
  assert.equal(
    [...(next.ids().get(C)?.values() ?? [])].map((id) => idText(id)),
    ['8'],
  );
});

test('documents that expiry explains leave the room to others, and take it again once they have changed', () => {
  const queue = new RecheckQueue(new Recorded(), { documents: 2, bytes: 10_000 });
  const ids = [1, 2, 3].map((n) => encode({ _id: n }));
  queue.add(C, ids);
  assert.ok(queue.isFull);
  queue.keepPending(C, ids);
  assert.equal([queue.isFull, queue.size], [false, 3]);
  const all = new Map(ids.map((id) => [id.toString('latin1'), id]));
  queue.note(C, { compared: all, differing: ids, changed: all, readUpTo: at(1), now: at(1) });
  assert.ok(queue.isFull);
  queue.forget(C);
  assert.equal([queue.isFull, queue.size], [false, 0]);
});

test('one that differs again before the queue is stored stays stored', async () => {
  const state = new Recorded();
  const queue = new RecheckQueue(state, LIMITS);
  queue.add(C, [ID]);
  await queue.store(signal);
  compare(queue, { differs: false, seconds: 1 });
  queue.add(C, [ID]);
  await queue.store(signal);
  assert.is(state.stored.size, 1);
});

test.run();
