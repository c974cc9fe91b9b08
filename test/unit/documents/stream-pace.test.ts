/** Tests how long reads of change streams wait. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { StreamPace } from '../../../src/documents/stream-pace.js';

test('a read waits as long as its reader wants, and longer where nothing happens', () => {
  const pace = new StreamPace();
  assert.is(pace.waitMs(250, 0), 250);
  assert.ok(pace.waitMs(250, 60_000) > 250);
});

test('while something is waited for, all reads are short', () => {
  const pace = new StreamPace();
  pace.hurry(Number.POSITIVE_INFINITY);
  assert.ok(pace.waitMs(250, 60_000) <= 20);
});

test('changes are gathered while there are few of them, and nobody waits', () => {
  const pace = new StreamPace();
  assert.is(pace.gatherMs(60, 3), 60);
  assert.is(pace.gatherMs(60, 0), 0);
  assert.is(pace.gatherMs(60, 10_000), 0);
  pace.hurry(Number.POSITIVE_INFINITY);
  assert.is(pace.gatherMs(60, 3), 0);
});

test('whoever waits for a stream has idle ones tell where they are, and none idle meanwhile', async () => {
  const pace = new StreamPace();
  let looks = 0;
  const watch = pace.onLook(() => looks++);
  const waits = await pace.during(async () => {
    assert.is(looks, 1);
    return pace.waitMs(250, 60_000);
  });
  assert.is(waits, 250);
  assert.ok(pace.waitMs(250, 60_000) > 250, 'then they may wait again');
  pace.hurry(1);
  assert.is(looks, 2);
  watch[Symbol.dispose]();
  pace.look();
  assert.is(looks, 2);
});

test('a hurry that is over leaves nothing behind', () => {
  const pace = new StreamPace();
  pace.hurry(0);
  assert.is(pace.waitMs(250, 0), 250);
});

test.run();
