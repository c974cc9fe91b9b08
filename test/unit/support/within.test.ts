import { EventEmitter, once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { DeadlineError, eventually, within } from '../../support/within.js';

test('within gives the value of a promise and of a function', async () => {
  assert.is(await within(20_000, Promise.resolve(1), 'one'), 1);
  assert.is(await within(20_000, () => 2, 'two'), 2);
});

test('within passes a failure on, also one thrown at once', async () => {
  const fail = () => {
    throw new TypeError('broken');
  };
  assert.instance(await rejection(within(20_000, fail, 'failing')), TypeError);
});

test('within names what was not done in time, and aborts the signal', async () => {
  let seen: AbortSignal | undefined;
  const work = async (signal: AbortSignal) => {
    seen = signal;
    await sleep(5_000, undefined, { signal });
  };
  const error = await rejection(within(20, work, 'the long work'));
  assert.instance(error, DeadlineError);
  assert.match(String(error), 'the long work');
  assert.is(seen?.aborted, true);
});

test('eventually gives the first truthy value', async () => {
  let looks = 0;
  assert.is(await eventually(20_000, () => (looks++ < 3 ? 0 : 'ready'), 'readiness', { everyMs: 1 }), 'ready');
});

test('eventually tells the last value seen', async () => {
  const error = await rejection(eventually(60, () => 0, 'a count', { everyMs: 5 }));
  assert.match(String(error), /a count.*last seen: 0/);
});

test('eventually forgives a throwing condition, and reports it at the end', async () => {
  let looks = 0;
  const recovering = () => {
    looks += 1;
    if (looks < 3) throw new Error('no primary');
    return looks;
  };
  assert.is(await eventually(20_000, recovering, 'recovery', { everyMs: 1 }), 3);

  const failing = () => {
    throw new RangeError('no primary');
  };
  const error = await rejection(eventually(40, failing, 'recovery', { everyMs: 5 }));
  assert.match(String(error), /no primary/);
  assert.instance(error instanceof Error ? error.cause : undefined, RangeError);
});

test('eventually bounds a condition that hangs', async () => {
  const error = await rejection(eventually(30, () => once(new EventEmitter(), 'never'), 'an answer'));
  assert.match(String(error), /an answer.*never came back/);
});

test('eventually ends with the reason of the signal', async () => {
  const signal = AbortSignal.timeout(20);
  const error = await rejection(eventually(5_000, () => false, 'nothing', { signal }));
  assert.is(error, signal.reason);
});

async function rejection(work: Promise<unknown>): Promise<unknown> {
  return await work.then(
    () => {
      throw new Error('expected a rejection');
    },
    (error: unknown) => error,
  );
}

test.run();
