/** Tests what goes on beside the phases while nothing happens. */

import { mock } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { Timestamp } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { StreamPace } from '../../../src/documents/stream-pace.js';
import { keepWritingNotes, watchIdleStreams } from '../../../src/phases/watchers.js';
import { answeringCluster } from '../../support/answering-cluster.js';

/** Lets time pass, second by second, while work goes on that ends by its signal only. */
async function during(work: (signal: AbortSignal) => Promise<void>, seconds: number): Promise<void> {
  const controller = new AbortController();
  const over = new Error('over');
  const clock = mock.timers;
  clock.enable({ apis: ['setTimeout'] });
  let nowMs = 10_000;
  const now = mock.method(performance, 'now', () => nowMs);
  try {
    const ended = work(controller.signal).catch((error: unknown) => error);
    for (let second = 0; second < seconds; second++) {
      nowMs += 1000;
      clock.tick(1000);
      for (let n = 0; n < 20; n++) await turn();
    }
    controller.abort(over);
    assert.is(await ended, over);
  } finally {
    now.mock.restore();
    clock.reset();
  }
}

const at = (t: number): Timestamp => new Timestamp({ t, i: 0 });

test('the notes that keep a position moving show no lag', async () => {
  let t = 100;
  const names: string[] = [];
  const source = await answeringCluster((command) => {
    names.push(...Object.keys(command).slice(0, 1));
    return { ok: 1, operationTime: at(++t) };
  });
  await source.ping(new AbortController().signal);
  const before = source.now;
  await during((signal) => keepWritingNotes({ source }, signal), 25);
  assert.equal(
    names.filter((name) => name === 'appendOplogNote'),
    ['appendOplogNote', 'appendOplogNote'],
  );
  assert.equal(source.now, before);
});

test('an idle stream is looked at where the time is known to have gone on, and only there', async () => {
  let t = 100;
  const source = await answeringCluster(() => ({ ok: 1, operationTime: at(t) }));
  await source.read('a read', 'admin', { listDatabases: 1 }, new AbortController().signal);
  const pace = new StreamPace();
  let looks = 0;
  using _watch = pace.onLook(() => looks++);
  const watch = (applied: number) => during((signal) => watchIdleStreams({ source, pace }, () => applied, signal), 3);
  await watch(100);
  assert.is(looks, 0);
  t = 105;
  await source.read('a read', 'admin', { listDatabases: 1 }, new AbortController().signal);
  await watch(100);
  assert.is(looks, 3);
  await watch(105);
  assert.is(looks, 3);
});

test.run();
