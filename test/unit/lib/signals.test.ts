import { getEventListeners } from 'node:events';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { aborted, beat, linkAbort, msToBeat, settlesWithin, sleep } from '../../../src/lib/signals.js';

test('a linked child aborts with its parent, for the same reason', () => {
  const parent = new AbortController();
  const child = linkAbort(parent.signal);
  const reason = new Error('stop');
  parent.abort(reason);
  assert.is(child.signal.aborted, true);
  assert.is(child.signal.reason, reason);
});

test('a child of an aborted parent is born aborted', () => {
  assert.is(linkAbort(AbortSignal.abort()).signal.aborted, true);
});

test('a child of two parents aborts with the first that does, and leaves no listener on either', () => {
  const [one, other] = [new AbortController(), new AbortController()];
  const child = linkAbort(one.signal, other.signal);
  const reason = new Error('stop');
  other.abort(reason);
  one.abort(new Error('later'));
  assert.is(child.signal.reason, reason);
  assert.is(linkAbort(new AbortController().signal, other.signal).signal.reason, reason);
  const parents = [new AbortController(), new AbortController()];
  linkAbort((parents[0] as AbortController).signal, parents[1]?.signal).dispose();
  assert.equal(
    parents.map(({ signal }) => getEventListeners(signal, 'abort').length),
    [0, 0],
  );
});

test('aborting the child leaves the parent alone', () => {
  const parent = new AbortController();
  const child = linkAbort(parent.signal);
  child.abort(new Error('only me'));
  assert.is(child.signal.aborted, true);
  assert.is(parent.signal.aborted, false);
});

test('a disposed child leaves no listener and does not follow any more', () => {
  const parent = new AbortController();
  const child = linkAbort(parent.signal);
  child.dispose();
  assert.is(getEventListeners(parent.signal, 'abort').length, 0);
  parent.abort();
  assert.is(child.signal.aborted, false);
});

test('sleep ends by itself and leaves no listener', async () => {
  const controller = new AbortController();
  await sleep(1, controller.signal);
  assert.is(getEventListeners(controller.signal, 'abort').length, 0);
});

test('sleep rejects with the reason when aborted, before or meanwhile', async () => {
  const reason = new Error('enough');
  const controller = new AbortController();
  const sleeping = sleep(3_600_000, controller.signal).catch((error: unknown) => error);
  controller.abort(reason);
  assert.is(await sleeping, reason);
  assert.is(await sleep(3_600_000, controller.signal).catch((error: unknown) => error), reason);
});

test('whoever looks at times does so at the same moments, about as often as wanted', async () => {
  const moments = [3000.2, 3300, 3499.9].map((now) => Math.floor(now + msToBeat(1000, now)));
  assert.equal(moments, [4000, 4000, 4000]);
  // Half the time at least, so that nothing is done twice in a row.
  assert.is(msToBeat(1000, 3500), 1500);
  assert.is(msToBeat(1000, 3999), 1001);
  await beat(1, new AbortController().signal);
});

test('aborted resolves once the signal has aborted', async () => {
  const controller = new AbortController();
  const waiting = aborted(controller.signal);
  controller.abort();
  await waiting;
  await aborted(controller.signal);
});

test('settlesWithin tells a settled promise from one that hangs', async () => {
  assert.is(await settlesWithin(Promise.resolve(), 3_600_000), true);
  assert.is(await settlesWithin(Promise.reject(new Error('no')), 3_600_000), true);
  assert.is(await settlesWithin(new Promise(() => undefined), 1), false);
});

test.run();
