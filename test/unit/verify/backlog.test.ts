import { Timestamp } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encode } from '../../../src/bson/bson.js';
import { idKey } from '../../../src/matching/id-key.js';
import { Backlog } from '../../../src/verify/backlog.js';
import { addIds, type DirtyIds } from '../../../src/verify/dirty-set.js';
import { MemoryVerificationState } from '../../../src/verify/memory-state.js';

const { signal } = new AbortController();
const at = (seconds: number): Timestamp => new Timestamp({ t: seconds, i: 1 });

function named(collection: string, ...ids: unknown[]): DirtyIds {
  const result: DirtyIds = new Map();
  for (const _id of ids) {
    const id = encode({ _id });
    addIds(result, collection, new Map([[idKey(id), id]]));
  }
  return result;
}

test('what goes in first comes out first, as it was', async () => {
  const backlog = new Backlog(new MemoryVerificationState());
  const first = named('source:a', 1, 'two', { three: 3 });
  await backlog.add(first, at(1), { source: at(1), destination: at(2) }, signal);
  await backlog.add(named('destination:b', 4), at(5), undefined, signal);
  const chunk = await backlog.first(signal);
  assert.equal([...(chunk?.ids.get('source:a')?.keys() ?? [])], [...(first.get('source:a')?.keys() ?? [])]);
  assert.equal(chunk?.readUpTo, { source: at(1), destination: at(2) });
  await backlog.dropFirst(signal);
  assert.is((await backlog.first(signal))?.readUpTo, undefined);
  await backlog.dropFirst(signal);
  assert.ok(backlog.isEmpty);
});

test('much of it goes in parts, of which only the last says how far the streams were read', async () => {
  const backlog = new Backlog(new MemoryVerificationState());
  const large = Array.from({ length: 5 }, (_, n) => `${n}${'x'.repeat(1_500_000)}`);
  await backlog.add(named('source:a', ...large), at(1), { source: at(1), destination: at(1) }, signal);
  const parts: [number, boolean][] = [];
  while (!backlog.isEmpty) {
    const chunk = await backlog.first(signal);
    parts.push([chunk?.ids.get('source:a')?.size ?? 0, chunk?.readUpTo !== undefined]);
    await backlog.dropFirst(signal);
  }
  assert.equal(parts, [
    [2, false],
    [2, false],
    [1, true],
  ]);
});

test('another process goes on where its predecessor stored it; what was not yet counted does not count', async () => {
  const state = new MemoryVerificationState();
  const earlier = new Backlog(state);
  await earlier.add(named('source:a', 1), at(1), undefined, signal);
  const { next } = earlier;
  await earlier.add(named('source:a', 2), at(2), undefined, signal);
  const later = new Backlog(state);
  await later.load(next, signal);
  assert.not.ok(later.isEmpty);
  await later.dropFirst(signal);
  assert.is((await later.first(signal))?.ids.get('source:a')?.size, 1);
  await later.dropFirst(signal);
  assert.ok(later.isEmpty);
});

test.run();
