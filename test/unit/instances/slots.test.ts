import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Placing, type Slot, Slots, type Worker } from '../../../src/instances/slots.js';

const { signal } = new AbortController();

function slotsWith(workers: Worker[]): Slots {
  return new Slots(() => workers);
}

test('alone, every task is for this process', async () => {
  const slots = slotsWith([]);
  assert.is(slots.room('copy', 4), 4);
  const taken = await Promise.all([1, 2, 3, 4].map(() => slots.acquire('copy', 4, 'atOnce', signal)));
  assert.equal(
    taken.map(({ member }) => member),
    [undefined, undefined, undefined, undefined],
  );
});

test('who has least to do for what it can do is next', async () => {
  const slots = slotsWith([{ id: 'b', slots: 4 }]);
  assert.is(slots.room('copy', 2), 10);
  const members: (string | undefined)[] = [];
  for (let count = 0; count < 6; count++) members.push((await slots.acquire('copy', 2, 'atOnce', signal)).member);
  assert.equal(members, [undefined, 'b', 'b', undefined, 'b', 'b']);
});

test('what only this process can do waits for it, and one that is given back makes room', async () => {
  const slots = slotsWith([{ id: 'b', slots: 4 }]);
  const first = await slots.acquire('copy', 1, 'here', signal);
  let second: string | undefined = 'waiting';
  const waiting = slots.acquire('copy', 1, 'here', signal).then(({ member }) => {
    second = member;
  });
  assert.is((await slots.acquire('copy', 1, 'atOnce', signal)).member, 'b');
  assert.is(second, 'waiting');
  first[Symbol.dispose]();
  await waiting;
  assert.is(second, undefined);
});

test('an instance has tasks ahead, at first as many as it does at a time, then as many as it has ended lately', async () => {
  let nowMs = 0;
  const slots = new Slots(
    () => [{ id: 'b', slots: 2 }],
    () => nowMs,
  );
  const own = await slots.acquire('copy', 1, 'inTurn', signal);
  const atB = [];
  for (let count = 0; count < 4; count++) atB.push(await slots.acquire('copy', 1, 'inTurn', signal));
  assert.equal(
    [own, ...atB].map(({ member }) => member),
    [undefined, 'b', 'b', 'b', 'b'],
  );
  assert.is(slots.usedBy('b'), 2, 'two of them wait');
  for (let count = 0; count < 10; count++) {
    nowMs += 100;
    atB.shift()?.[Symbol.dispose]();
    atB.push(await slots.acquire('copy', 1, 'inTurn', signal));
  }
  assert.is(slots.room('copy', 1), 1 + 2 + 10);
  nowMs += 1500;
  assert.is(slots.room('copy', 1), 1 + 2 + 6, 'half of that is long ago');
  nowMs += 1500;
  assert.is(slots.room('copy', 1), 1 + 2 + 2);
});

test('a long task waits at no instance, and nobody is given what it waits for', async () => {
  const slots = slotsWith([{ id: 'b', slots: 1 }]);
  await slots.acquire('copy', 1, 'atOnce', signal);
  const short = await slots.acquire('copy', 1, 'inTurn', signal);
  const placed: string[] = [];
  const place = async (name: string, placing: Placing): Promise<Slot> => {
    const slot = await slots.acquire('copy', 1, placing, signal);
    placed.push(`${name} at ${slot.member}`);
    return slot;
  };
  const long = place('long', 'atOnce');
  const behind = place('behind', 'inTurn');
  await sleep(150);
  assert.equal(placed, []);
  short[Symbol.dispose]();
  await Promise.all([long, behind]);
  assert.equal(placed, ['long at b', 'behind at b']);
});

test('what only this process can do is not overtaken by what others can do, too', async () => {
  const slots = slotsWith([{ id: 'b', slots: 2 }]);
  const own = await slots.acquire('copy', 1, 'here', signal);
  const waiting = slots.acquire('copy', 1, 'here', signal);
  own[Symbol.dispose]();
  assert.is((await slots.acquire('copy', 1, 'inTurn', signal)).member, 'b');
  assert.is((await waiting).member, undefined);
});

test('kinds do not take room from each other', async () => {
  const slots = slotsWith([]);
  await slots.acquire('copy', 1, 'atOnce', signal);
  assert.is((await slots.acquire('compare', 1, 'atOnce', signal)).member, undefined);
  assert.is(slots.usedBy(undefined), 2);
});

test('waiting for a place ends with the signal', async () => {
  const slots = slotsWith([]);
  await slots.acquire('copy', 1, 'atOnce', signal);
  const controller = new AbortController();
  const waiting = slots.acquire('copy', 1, 'atOnce', controller.signal);
  controller.abort(new Error('stop'));
  assert.is(await waiting.catch((error: Error) => error.message), 'stop');
});

test.run();
