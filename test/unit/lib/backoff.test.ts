import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { backoffDelayMs, type RetryNotice, retry } from '../../../src/lib/backoff.js';

/** A clock that moves only by waiting. */
function fakeTime() {
  let nowMs = 0;
  return {
    clock: { now: () => new Date(nowMs), monotonicMs: () => nowMs },
    wait: async (ms: number, signal: AbortSignal): Promise<void> => {
      signal.throwIfAborted();
      nowMs += ms;
    },
    random: () => 0.5,
  };
}

const forever = new AbortController().signal;

test('tries until it works, and says so each time', async () => {
  const notices: RetryNotice[] = [];
  const result = await retry(
    async (attempt) => {
      if (attempt < 4) throw new Error(`try ${attempt}`);
      return attempt;
    },
    { isRetryable: () => true, signal: forever, onRetry: (notice) => notices.push(notice), ...fakeTime() },
  );
  assert.is(result, 4);
  assert.equal(
    notices.map(({ attempt, delayMs, level }) => ({ attempt, delayMs, level })),
    [
      { attempt: 1, delayMs: 75, level: 'debug' },
      { attempt: 2, delayMs: 150, level: 'debug' },
      { attempt: 3, delayMs: 300, level: 'info' },
    ],
  );
});

test('does not try again what cannot succeed', async () => {
  const fatal = new Error('never');
  let tries = 0;
  const failing = retry(
    async () => {
      tries++;
      throw fatal;
    },
    { isRetryable: () => false, signal: forever, ...fakeTime() },
  );
  assert.is(await failing.catch((error: unknown) => error), fatal);
  assert.is(tries, 1);
});

test('gives up after the time limit with the last error', async () => {
  let tries = 0;
  const time = fakeTime();
  const failing = retry(
    async () => {
      throw new Error(`try ${++tries}`);
    },
    { isRetryable: () => true, signal: forever, ...time },
  );
  const error = await failing.catch((reason: unknown) => reason);
  assert.is((error as Error).message, `try ${tries}`);
  assert.ok(time.clock.monotonicMs() <= 30 * 60_000);
  assert.ok(time.clock.monotonicMs() > 29 * 60_000);
});

test('hours without a failure do not count, nor failures before the last progress', async () => {
  const time = fakeTime();
  const pass = (minutes: number): Promise<void> => time.wait(minutes * 60_000, forever);
  const notices: RetryNotice[] = [];
  const result = await retry(
    async (_, progressed) => {
      // Goes on for two hours, then fails: time and again, but never for half an hour in a row.
      await pass(120);
      progressed();
      if (notices.length < 5) throw new Error('cut off');
      return 'done';
    },
    { isRetryable: () => true, signal: forever, onRetry: (notice) => notices.push(notice), ...time },
  );
  assert.is(result, 'done');
  assert.equal(
    notices.map(({ attempt, elapsedMs }) => [attempt, elapsedMs]),
    Array.from({ length: 5 }, () => [1, 0]),
  );
});

test('ends at once when aborted while waiting', async () => {
  const controller = new AbortController();
  const reason = new Error('shutting down');
  const failing = retry(
    async () => {
      throw new Error('down');
    },
    { isRetryable: () => true, signal: controller.signal, onRetry: () => controller.abort(reason) },
  );
  assert.is(await failing.catch((error: unknown) => error), reason);
});

test('delays double, stay within half and all of the step, and never exceed 30 s', () => {
  assert.is(
    backoffDelayMs(1, () => 0),
    50,
  );
  assert.is(
    backoffDelayMs(3, () => 0),
    200,
  );
  for (const attempt of [1, 5, 9, 20, 1000]) {
    const low = backoffDelayMs(attempt, () => 0);
    const high = backoffDelayMs(attempt, () => 0.999_999);
    assert.ok(low >= 50 && high <= 30_000 && high <= low * 2);
  }
});

test.run();
