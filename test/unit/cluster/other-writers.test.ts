import { Binary } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { OtherWriters } from '../../../src/cluster/other-writers.js';

const [first, second] = [new Binary(Buffer.alloc(16, 1)), new Binary(Buffer.alloc(16, 2))];

test('sessions that were left are closed once, whoever asks, and again where that failed', async () => {
  const closed: (readonly Binary[])[] = [];
  let fails = true;
  const others = new OtherWriters(async (sessions) => {
    closed.push(sessions);
    await Promise.resolve();
    if (fails) throw new Error('away');
  });
  await others.resolveLeft();
  assert.equal([others.hasLost, closed], [false, []]);
  others.leave([first]);
  assert.ok(others.hasLost);
  assert.is(String(await others.resolveLeft().catch((error: unknown) => error)), 'Error: away');
  assert.ok(others.hasLost);
  fails = false;
  const both = Promise.all([others.resolveLeft(), others.resolveLost()]);
  // One more while the first ones are being closed.
  others.leave([second]);
  await both;
  assert.equal([closed, others.hasLost], [[[first], [first], [second]], false]);
});

test('threads that live are settled by themselves, and count for what may be lost', async () => {
  const others = new OtherWriters(() => Promise.reject(new Error('nothing was left')));
  let hasLost = true;
  const writer = {
    get hasLost() {
      return hasLost;
    },
    resolveLost: async () => {
      hasLost = false;
    },
  };
  const remove = others.add(writer);
  await others.resolveLeft();
  assert.ok(others.hasLost);
  await others.resolveLost();
  assert.not.ok(others.hasLost);
  hasLost = true;
  remove();
  assert.not.ok(others.hasLost);
});

test.run();
