import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Slots, type Worker } from '../../../src/instances/slots.js';

const { signal } = new AbortController();

function slotsWith(workers: Worker[]): Slots {
  return new Slots(() => workers);
}

test('alone, every task is for this process', async () => {
  const slots = slotsWith([]);
  assert.is(slots.room('copy', 4), 4);
  const taken = await Promise.all([1, 2, 3, 4].map(() => slots.acquire('copy', 4, false, signal)));
  assert.equal(
    taken.map(({ member }) => member),
    [undefined, undefined, undefined, undefined],
  );
});

test('who has least to do for what it can do is next', async () => {
  const slots = slotsWith([{ id: 'b', slots: 4 }]);
  assert.is(slots.room('copy', 2), 6);
  const members: (string | undefined)[] = [];
  for (let count = 0; count < 6; count++) members.push((await slots.acquire('copy', 2, false, signal)).member);
  assert.equal(members, [undefined, 'b', 'b', undefined, 'b', 'b']);
});

test('what only this process can do waits for it, and one that is given back makes room', async () => {
  const slots = slotsWith([{ id: 'b', slots: 4 }]);
  const first = await slots.acquire('copy', 1, true, signal);
  let second: string | undefined = 'waiting';
  const waiting = slots.acquire('copy', 1, true, signal).then(({ member }) => {
    second = member;
  });
  assert.is((await slots.acquire('copy', 1, false, signal)).member, 'b');
  assert.is(second, 'waiting');
  first[Symbol.dispose]();
  await waiting;
  assert.is(second, undefined);
});

test('kinds do not take room from each other', async () => {
  const slots = slotsWith([]);
  await slots.acquire('copy', 1, false, signal);
  assert.is((await slots.acquire('compare', 1, false, signal)).member, undefined);
  assert.is(slots.usedBy(undefined), 2);
});

test('waiting for a place ends with the signal', async () => {
  const slots = slotsWith([]);
  await slots.acquire('copy', 1, false, signal);
  const controller = new AbortController();
  const waiting = slots.acquire('copy', 1, false, controller.signal);
  controller.abort(new Error('stop'));
  assert.is(await waiting.catch((error: Error) => error.message), 'stop');
});

test.run();
