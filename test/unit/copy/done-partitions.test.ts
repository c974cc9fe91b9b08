import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { DonePartitions } from '../../../src/copy/done-partitions.js';
import { type Deferred, deferred } from '../../../src/lib/tasks.js';
import type { PartitionRecord } from '../../../src/metadata/records.js';

const { signal } = new AbortController();
const partition = (id: string) => ({ id }) as PartitionRecord;

/** A store whose writes end when they are told to. */
function slowStore() {
  const writes: { readonly ids: string[]; readonly ends: Deferred<void> }[] = [];
  const savePartitions = (records: readonly PartitionRecord[]): Promise<void> => {
    const ends = deferred<void>();
    writes.push({ ids: records.map(({ id }) => id), ends });
    return ends.promise;
  };
  return { writes, savePartitions };
}

test('what is done during a write goes together with the next one', async () => {
  const store = slowStore();
  const done = new DonePartitions(store, signal);
  for (const id of ['a', 'b', 'c']) await done.add(partition(id));
  assert.equal(
    store.writes.map(({ ids }) => ids),
    [['a']],
  );
  let isFlushed = false;
  const flushing = done.flush().then(() => {
    isFlushed = true;
  });
  store.writes[0]?.ends.resolve();
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(
    store.writes.map(({ ids }) => ids),
    [['a'], ['b', 'c']],
  );
  assert.not.ok(isFlushed, 'not before all are stored');
  store.writes[1]?.ends.resolve();
  await flushing;
});

test('whoever adds more than may wait, waits', async () => {
  const store = slowStore();
  const done = new DonePartitions(store, signal);
  for (let n = 0; n <= 1000; n++) await done.add(partition(String(n)));
  let isAdded = false;
  const adding = done.add(partition('one too many')).then(() => {
    isAdded = true;
  });
  await new Promise((resolve) => setImmediate(resolve));
  assert.not.ok(isAdded);
  store.writes[0]?.ends.resolve();
  await new Promise((resolve) => setImmediate(resolve));
  store.writes[1]?.ends.resolve();
  await adding;
});

test('a write that fails is told to whoever adds next, and to whoever awaits the end', async () => {
  const done = new DonePartitions({ savePartitions: () => Promise.reject(new Error('refused')) }, signal);
  await done.add(partition('a')).catch(() => undefined);
  for (const last of [() => done.add(partition('b')), () => done.flush()]) {
    const error = await last().then(
      () => undefined,
      (cause: unknown) => cause,
    );
    assert.match(String(error), /refused/);
  }
});

test.run();
