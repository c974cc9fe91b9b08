import { MessageChannel, type MessagePort } from 'node:worker_threads';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { SharedDeadline } from '../../../src/lib/shared-deadline.js';
import { sleep } from '../../../src/lib/signals.js';
import { Tally } from '../../../src/lib/tally.js';
import { callKind, type ErrorForm, ThreadChannel, ThreadEnded } from '../../../src/lib/thread-channel.js';
import { within } from '../../support/within.js';

const TEST_MS = 20_000;
const FORM: ErrorForm = {
  toPlain: (error) => String(error),
  fromPlain: (plain) => new Error(`there: ${String(plain)}`),
};
const WORK = callKind<unknown, unknown, unknown>('work');

interface Ends extends Disposable {
  readonly here: ThreadChannel;
  readonly there: ThreadChannel;
  readonly port: MessagePort;
}

function ends(): Ends {
  const { port1, port2 } = new MessageChannel();
  return {
    here: new ThreadChannel(port1, FORM),
    there: new ThreadChannel(port2, FORM),
    port: port1,
    [Symbol.dispose]: () => port1.close(),
  };
}

const forever = new AbortController().signal;
const caught = (work: Promise<unknown>): Promise<unknown> => work.catch((error: unknown) => error);
const textOf = async (work: Promise<unknown>): Promise<string> => String(await caught(work));

/** What survives structured clone as it is. */
const plain = fc.letrec((tie) => ({
  leaf: fc.oneof(
    fc.string(),
    fc.double(),
    fc.boolean(),
    fc.bigInt(),
    fc.uint8Array(),
    fc.constant(null),
    fc.constant(undefined),
  ),
  any: fc.oneof(
    { maxDepth: 3 },
    tie('leaf'),
    fc.array(tie('any'), { maxLength: 4 }),
    fc.dictionary(
      fc.string().filter((name) => name !== '__proto__'),
      tie('any'),
      { maxKeys: 4, noNullPrototype: true },
    ),
  ),
})).any;

test('tasks, progress and answers arrive as they were sent', async () => {
  using both = ends();
  both.there.serve(WORK, async (task, { tell }) => {
    await tell(task);
    return task;
  });
  const check = fc.asyncProperty(plain, async (value) => {
    const told: unknown[] = [];
    const answer = await both.here.call(WORK, value, { signal: forever, onProgress: (each) => void told.push(each) });
    assert.equal([told, answer], [[value], value]);
  });
  await within(TEST_MS, fc.assert(check, { numRuns: 200 }), 'the property');
});

test('many calls at a time, of both ends, get each its own answer', async () => {
  using both = ends();
  both.there.serve(WORK, async (task, { signal }) => {
    await sleep(Number(task) % 7, signal);
    return Number(task) * 2;
  });
  both.here.serve(WORK, async (task) => `back ${String(task)}`);
  const there = Array.from({ length: 100 }, (_, n) => both.here.call(WORK, n, { signal: forever }));
  const here = Array.from({ length: 100 }, (_, n) => both.there.call(WORK, n, { signal: forever }));
  const answers = await within(TEST_MS, Promise.all([...there, ...here]), 'the answers');
  assert.equal(
    answers.slice(0, 100),
    [...there.keys()].map((n) => n * 2),
  );
  assert.equal(
    answers.slice(100),
    [...here.keys()].map((n) => `back ${n}`),
  );
});

test('progress is told one after the other when it is awaited: the caller sets the pace', async () => {
  using both = ends();
  const order: string[] = [];
  both.there.serve(WORK, async (_task, { tell }) => {
    for (let n = 0; n < 3; n++) {
      await tell(n);
      order.push(`taken ${n}`);
    }
  });
  const onProgress = async (n: unknown): Promise<void> => {
    await sleep(5, forever);
    order.push(`took ${String(n)}`);
  };
  await within(TEST_MS, both.here.call(WORK, undefined, { signal: forever, onProgress }), 'the call');
  assert.equal(order, ['took 0', 'taken 0', 'took 1', 'taken 1', 'took 2', 'taken 2']);
});

test('an error of the handler arrives in its form, one of the caller ends the call as it is', async () => {
  using both = ends();
  const mine = new Error('cannot take it');
  both.there.serve(WORK, async (task, { tell }) => {
    await tell(1);
    throw new Error(String(task));
  });
  assert.is(await textOf(both.here.call(WORK, 'oh', { signal: forever })), 'Error: there: Error: oh');
  const failing = both.here.call(WORK, 'oh', {
    signal: forever,
    onProgress: () => {
      throw mine;
    },
  });
  assert.is(await caught(failing), mine);
  const other = both.here.call(callKind('other'), 1, { signal: forever });
  assert.match(await textOf(other), 'nothing serves calls of other');
  assert.match(await textOf(both.here.call(WORK, () => 1, { signal: forever })), 'could not be cloned');
});

for (const onAbort of ['wait', 'leave'] as const) {
  test(`an abort reaches the handler; the caller ${onAbort}s`, async () => {
    using both = ends();
    const stop = new AbortController();
    let ended = false;
    both.there.serve(WORK, async (_task, { signal }) => {
      try {
        await sleep(60_000, signal);
      } finally {
        await sleep(30, forever);
        ended = true;
      }
    });
    const call = both.here.call(WORK, 1, { signal: stop.signal, onAbort });
    setTimeout(() => stop.abort(new Error('enough')), 20);
    assert.is(await textOf(within(TEST_MS, call, 'the call')), 'Error: enough');
    assert.is(ended, onAbort === 'wait');
    assert.is(both.here.callsUnderWay, 0);
  });
}

test('when the channel ends, calls of both directions end, and new ones are refused', async () => {
  using both = ends();
  let reason = '';
  both.there.serve(WORK, async (_task, { signal }) => {
    await sleep(60_000, signal).catch((error: unknown) => {
      reason = String(error);
    });
  });
  const call = caught(both.here.call(WORK, 1, { signal: forever }));
  await sleep(20, forever);
  both.here.end(new ThreadEnded('gone'));
  both.there.end(new ThreadEnded('gone, too'));
  assert.is(String(await call), 'ThreadEnded: gone');
  assert.is(await textOf(both.here.call(WORK, 1, { signal: forever })), 'ThreadEnded: gone');
  await sleep(1, forever);
  assert.is(reason, 'ThreadEnded: gone, too');
});

test('a tally tells everything, one telling at a time', async () => {
  const told: number[] = [];
  let under = 0;
  const tally = new Tally(async (first, second) => {
    under++;
    assert.is(under, 1);
    await sleep(5, forever);
    told.push(first, second);
    under--;
  });
  for (let n = 0; n < 1000; n++) tally.add(1, 2);
  await sleep(2, forever);
  tally.add(0, 0);
  tally.add(7, 0);
  await tally.flush();
  tally.add(0, 0);
  await tally.flush();
  tally.add(1, 0);
  await tally.flush();
  assert.equal(told, [1000, 2000, 7, 0, 1, 0]);
});

test('a deadline is the same through its buffer, and over for good once it is', () => {
  const owner = new SharedDeadline();
  const reader = new SharedDeadline(owner.buffer);
  assert.equal([reader.leftMs, reader.isOver], [0, false]);
  owner.set(() => 1000);
  assert.ok(reader.leftMs > 900 && reader.leftMs <= 1000, `${reader.leftMs}`);
  owner.set(() => Number.NEGATIVE_INFINITY);
  assert.equal([reader.leftMs, reader.isOver], [0, false]);
  owner.set(() => 1000);
  owner.end();
  owner.set(() => 1000);
  assert.equal([reader.leftMs, reader.isOver], [0, true]);
});

test.run();
