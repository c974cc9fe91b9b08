import { setImmediate as tick } from 'node:timers/promises';
import * as fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ByteBudget, mapLimit } from '../../../src/lib/limit.js';
import { sleep } from '../../../src/lib/signals.js';

const forever = new AbortController().signal;
const hour = 3_600_000;

test('keeps the order of the results and the limit of those that run', async () => {
  let running = 0;
  let most = 0;
  const results = await mapLimit(
    [5, 1, 4, 2, 3],
    2,
    async (item) => {
      most = Math.max(most, ++running);
      for (let i = 0; i < item; i++) await tick();
      running--;
      return item * 10;
    },
    forever,
  );
  assert.equal(results, [50, 10, 40, 20, 30]);
  assert.is(most, 2);
});

test('takes an async generator one item at a time, and closes it after a failure', async () => {
  let asked = 0;
  let closed = false;
  async function* numbers() {
    try {
      for (;;) {
        await tick();
        yield ++asked;
      }
    } finally {
      closed = true;
    }
  }
  const failing = mapLimit(
    numbers(),
    3,
    async (item) => {
      if (item === 10) throw new Error('ten');
    },
    forever,
  );
  assert.match(String(await failing.catch((error: unknown) => error)), 'ten');
  assert.is(closed, true);
});

test('reports the first real cause, after all siblings have stopped', async () => {
  const stopped: string[] = [];
  const failing = mapLimit(
    ['slow', 'bad', 'never started'],
    2,
    async (item, signal) => {
      if (item === 'bad') throw new Error('the cause');
      try {
        await sleep(hour, signal);
      } finally {
        stopped.push(item);
      }
    },
    forever,
  );
  assert.is(((await failing.catch((error: unknown) => error)) as Error).message, 'the cause');
  assert.equal(stopped, ['slow']);
});

test('rejects with the reason of the signal, and starts nothing when it has aborted', async () => {
  const controller = new AbortController();
  const reason = new Error('stop');
  controller.abort(reason);
  let started = 0;
  const failing = mapLimit([1, 2], 2, async () => started++, controller.signal);
  assert.is(await failing.catch((error: unknown) => error), reason);
  assert.is(started, 0);
});

test('a byte budget waits for room, first come first served', async () => {
  const budget = new ByteBudget(10);
  const order: string[] = [];
  await budget.acquire(8, forever);
  const large = budget.acquire(9, forever).then(() => order.push('large'));
  const small = budget.acquire(1, forever).then(() => order.push('small'));
  await tick();
  assert.equal(order, [], 'the small one does not overtake');
  budget.release(8);
  await Promise.all([large, small]);
  assert.equal(order, ['large', 'small']);
  assert.is(budget.heldBytes, 10);
});

test('an item larger than the limit goes in alone', async () => {
  const budget = new ByteBudget(10);
  await budget.acquire(100, forever);
  let next = false;
  const waiting = budget.acquire(1, forever).then(() => {
    next = true;
  });
  await tick();
  assert.is(next, false);
  budget.release(100);
  await waiting;
  assert.is(budget.heldBytes, 1);
});

test('an aborted waiter holds nothing and lets the next one in', async () => {
  const budget = new ByteBudget(10);
  const controller = new AbortController();
  await budget.acquire(5, forever);
  const large = budget.acquire(9, controller.signal).catch((error: unknown) => error);
  const small = budget.acquire(5, forever);
  const reason = new Error('gone');
  controller.abort(reason);
  assert.is(await large, reason);
  await small;
  assert.is(budget.heldBytes, 10);
});

test('releasing more than is held is an error', () => {
  assert.throws(() => new ByteBudget(10).release(1), 'released 1 bytes of 0 held');
});

test('whatever the sizes: never over the limit but by one alone, and all get in', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 30 }), { maxLength: 40 }), async (sizes) => {
      const budget = new ByteBudget(20);
      let holders = 0;
      await Promise.all(
        sizes.map(async (bytes) => {
          await budget.acquire(bytes, forever);
          holders++;
          assert.ok(budget.heldBytes <= 20 || holders === 1);
          await tick();
          holders--;
          budget.release(bytes);
        }),
      );
      assert.is(budget.heldBytes, 0);
    }),
    { numRuns: 30 },
  );
});

test('a limit that grows lets more begin meanwhile, and one that falls lets those under way end', async () => {
  let limit = 1;
  let running = 0;
  let most = 0;
  const open: (() => void)[] = [];
  const work = mapLimit(
    Array.from({ length: 12 }, (_, index) => index),
    () => limit,
    async (item) => {
      most = Math.max(most, ++running);
      await new Promise<void>((resolve) => open.push(resolve));
      running--;
      return item;
    },
    forever,
  );
  await tick();
  assert.is(running, 1);
  limit = 4;
  while (running < 4) await tick();
  limit = 2;
  while (open.length > 0) {
    for (const end of open.splice(0)) end();
    await tick();
    await tick();
  }
  assert.equal(await work, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
  assert.is(most, 4);
});

test.run();
