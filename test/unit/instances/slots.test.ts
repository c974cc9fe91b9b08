import { mock } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Placing, Slots, type Worker } from '../../../src/instances/slots.js';

const { signal } = new AbortController();
const atOnce = (own: number): Placing => ({ own, isOwn: false, ahead: 0, mostAhead: 0 });
const inTurn = (own: number): Placing => ({ own, isOwn: false, ahead: 1, mostAhead: 100 });
const here = (own: number): Placing => ({ own, isOwn: true, ahead: 0, mostAhead: 0 });

function slotsWith(workers: Worker[]): Slots {
  return new Slots(() => workers);
}

test('alone, every task is for this process', async () => {
  const slots = slotsWith([]);
  assert.is(slots.room('copy', 4), 4);
  const taken = await Promise.all([1, 2, 3, 4].map(() => slots.acquire('copy', atOnce(4), signal)));
  assert.equal(
    taken.map(({ member }) => member),
    [undefined, undefined, undefined, undefined],
  );
});

test('who has least to do for what it can do is next', async () => {
  const slots = slotsWith([{ id: 'b', slots: 4 }]);
  assert.is(slots.room('copy', 2), 2 + 4 + 16, 'some of them wait there');
  const members: (string | undefined)[] = [];
  for (let count = 0; count < 6; count++) members.push((await slots.acquire('copy', atOnce(2), signal)).member);
  assert.equal(members, [undefined, 'b', 'b', undefined, 'b', 'b']);
});

test('what only this process can do waits for it, and one that is given back makes room', async () => {
  const slots = slotsWith([{ id: 'b', slots: 4 }]);
  const first = await slots.acquire('copy', here(1), signal);
  let second: string | undefined = 'waiting';
  const waiting = slots.acquire('copy', here(1), signal).then(({ member }) => {
    second = member;
  });
  assert.is((await slots.acquire('copy', atOnce(1), signal)).member, 'b');
  assert.is(second, 'waiting');
  first[Symbol.dispose]();
  await waiting;
  assert.is(second, undefined);
});

test('an instance has tasks ahead, at first some, then as many as it has ended lately', async () => {
  let nowMs = 0;
  const slots = new Slots(
    () => [{ id: 'b', slots: 1 }],
    () => nowMs,
  );
  const own = await slots.acquire('copy', inTurn(1), signal);
  const atB = [];
  for (let count = 0; count < 2; count++) atB.push(await slots.acquire('copy', inTurn(1), signal));
  assert.equal(
    [own, ...atB].map(({ member }) => member),
    [undefined, 'b', 'b'],
  );
  assert.is(slots.usedBy('b'), 1, 'the other one waits');
  for (let count = 0; count < 10; count++) {
    nowMs += 100;
    atB.shift()?.[Symbol.dispose]();
    atB.push(await slots.acquire('copy', inTurn(1), signal));
  }
  assert.is(slots.room('copy', 1), 1 + 1 + 10);
  nowMs += 1500;
  assert.is(slots.room('copy', 1), 1 + 1 + 6, 'half of that is long ago');
  nowMs += 1500;
  assert.is(slots.room('copy', 1), 1 + 1 + 4, 'as short ones are given at first');
});

/** So many times have those who wait looked for a place. */
async function looks(clock: typeof mock.timers, times = 5): Promise<void> {
  for (let time = 0; time < times; time++) {
    clock.tick(100);
    await turn();
  }
}

test('a long task waits at no instance, and nobody is given what it waits for', async () => {
  const slots = slotsWith([{ id: 'b', slots: 1 }]);
  await slots.acquire('copy', atOnce(1), signal);
  // It has ended some, so that others would be given to it ahead.
  for (let count = 0; count < 5; count++) (await slots.acquire('copy', inTurn(1), signal))[Symbol.dispose]();
  const short = await slots.acquire('copy', inTurn(1), signal);
  const placed: string[] = [];
  const place = async (name: string, placing: Placing): Promise<void> => {
    const { member } = await slots.acquire('copy', placing, signal);
    placed.push(`${name} at ${member}`);
  };
  const clock = mock.timers;
  clock.enable({ apis: ['setTimeout'] });
  try {
    const placing = Promise.all([place('long', atOnce(1)), place('behind', inTurn(1))]);
    await looks(clock);
    assert.equal(placed, []);
    short[Symbol.dispose]();
    await looks(clock);
    await placing;
  } finally {
    clock.reset();
  }
  assert.equal(placed, ['long at b', 'behind at b']);
});

test('towards the end little waits, whatever an instance does', async () => {
  const slots = slotsWith([{ id: 'b', slots: 2 }]);
  await slots.acquire('copy', atOnce(1), signal);
  for (let count = 0; count < 9; count++) (await slots.acquire('copy', inTurn(1), signal))[Symbol.dispose]();
  const last = { ...inTurn(1), ahead: 4, mostAhead: 1 };
  for (let count = 0; count < 4; count++) await slots.acquire('copy', last, signal);
  const controller = new AbortController();
  const fifth = slots.acquire('copy', last, controller.signal).catch((error: Error) => error.message);
  controller.abort(new Error('no place'));
  assert.is(await fifth, 'no place');
});

test('what only this process can do is not overtaken by what others can do, too', async () => {
  const slots = slotsWith([{ id: 'b', slots: 2 }]);
  const own = await slots.acquire('copy', here(1), signal);
  const waiting = slots.acquire('copy', here(1), signal);
  own[Symbol.dispose]();
  assert.is((await slots.acquire('copy', inTurn(1), signal)).member, 'b');
  assert.is((await waiting).member, undefined);
});

test('kinds do not take room from each other', async () => {
  const slots = slotsWith([]);
  await slots.acquire('copy', atOnce(1), signal);
  assert.is((await slots.acquire('compare', atOnce(1), signal)).member, undefined);
  assert.is(slots.usedBy(undefined), 2);
});

test('waiting for a place ends with the signal', async () => {
  const slots = slotsWith([]);
  await slots.acquire('copy', atOnce(1), signal);
  const controller = new AbortController();
  const waiting = slots.acquire('copy', atOnce(1), controller.signal);
  controller.abort(new Error('stop'));
  assert.is(await waiting.catch((error: Error) => error.message), 'stop');
});

test.run();
