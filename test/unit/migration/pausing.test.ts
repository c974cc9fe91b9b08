/** A pause is answered in time, tells what it waits for, and is never told before the work has ended. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { AppError } from '../../../src/errors.js';
import { deferred, type Task } from '../../../src/lib/tasks.js';
import { Pausing } from '../../../src/migration/pausing.js';
import { silentLogger } from '../../support/silent-logger.js';
import { within } from '../../support/within.js';

const LIMIT_MS = 100;
const { signal } = new AbortController();

function codeOf(call: Promise<void>): Promise<unknown> {
  return within(5000, call, 'the call').then(
    () => 'paused',
    (error: unknown) => (error instanceof AppError ? `${error.code}: ${error.message}` : error),
  );
}

/** A pausing whose later work begins at once. */
function pausingOf(): { pausing: Pausing; later: string[] } {
  const later: string[] = [];
  const moves = {
    later: (text: string, work: Task<void>): void => {
      later.push(text);
      void work(signal);
    },
  };
  return { pausing: new Pausing(moves, silentLogger, LIMIT_MS), later };
}

test('work that ends in time is followed by the pause, and nothing is left open', async () => {
  const { pausing, later } = pausingOf();
  const steps: string[] = [];
  const stop = async (): Promise<void> => void steps.push('stopped');
  const store = async (): Promise<void> => void steps.push('stored');
  assert.is(await codeOf(pausing.pause({ stop, store, waits: () => [] }, signal)), 'paused');
  assert.equal([steps, later, pausing.isUnfinished], [['stopped', 'stored'], [], false]);
});

test('work that does not end is told by name; the pause is stored after it, and a repeated call waits for that', async () => {
  const { pausing, later } = pausingOf();
  const [stopped, stored] = [deferred<void>(), deferred<void>()];
  let isStored = false;
  const store = async (): Promise<void> => {
    isStored = true;
    await stored.promise;
  };
  const waits = () => ['cluster1 has not answered drop of shop.items for 12 s'];
  const first = await codeOf(pausing.pause({ stop: () => stopped.promise, store, waits }, signal));
  assert.match(first as string, /^OutcomeUnknown: .*not paused yet.*drop of shop\.items/);
  assert.is(later.length, 1, 'other calls are refused meanwhile');
  assert.match((await codeOf(pausing.waitAgain())) as string, /^OutcomeUnknown: .*drop of shop\.items/);
  assert.is(isStored, false, 'not while something writes');
  const again = codeOf(pausing.waitAgain());
  stopped.resolve();
  stored.resolve();
  assert.is(await again, 'paused');
  assert.equal([isStored, pausing.isUnfinished], [true, false]);
});

test('a pause that cannot be stored is told to who waits for it', async () => {
  const { pausing } = pausingOf();
  const stopped = deferred<void>();
  const store = async (): Promise<void> => {
    throw new AppError('ClusterUnreachable', 'cluster1 is away');
  };
  await codeOf(pausing.pause({ stop: () => stopped.promise, store, waits: () => [] }, signal));
  const again = codeOf(pausing.waitAgain());
  stopped.resolve();
  assert.is(await again, 'ClusterUnreachable: cluster1 is away');
  assert.is(pausing.isUnfinished, false);
});

test.run();
