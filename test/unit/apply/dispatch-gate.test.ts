import { setImmediate as turn } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { DispatchGate } from '../../../src/apply/dispatch-gate.js';
import { deferred } from '../../../src/lib/tasks.js';
import { within } from '../../support/within.js';

test('who holds the gate waits for the batch that is being dispatched, and the next batch waits for them', async () => {
  const gate = new DispatchGate();
  const said: string[] = [];
  const [first, held] = [deferred<void>(), deferred<void>()];
  const passing = gate.pass(() => first.promise.then(() => void said.push('first')));
  const holding = gate.whileClosed(() => {
    said.push('held');
    return held.promise;
  });
  const next = gate.pass(async () => void said.push('next'));
  await turn();
  assert.equal(said, []);
  first.resolve();
  await passing;
  await turn();
  assert.equal(said, ['first', 'held']);
  held.resolve();
  await within(1000, Promise.all([holding, next]), 'the gate');
  assert.equal(said, ['first', 'held', 'next']);
});

test('those who hold it take turns, and a failure lets the others on', async () => {
  const gate = new DispatchGate();
  let holders = 0;
  const hold = async (fails: boolean): Promise<void> =>
    gate.whileClosed(async () => {
      assert.is(++holders, 1);
      await turn();
      holders--;
      if (fails) throw new Error('as wanted');
    });
  const results = await within(1000, Promise.allSettled([hold(true), hold(false), hold(false)]), 'three holders');
  assert.equal(
    results.map(({ status }) => status),
    ['rejected', 'fulfilled', 'fulfilled'],
  );
  await within(
    1000,
    gate.pass(async () => undefined),
    'a batch after them',
  );
});

test.run();
