/** When a full queue is told of. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ApplyWindow } from '../../../src/apply/apply-window.js';
import { ByteBudget } from '../../../src/lib/limit.js';
import type { Logger } from '../../../src/lib/logger.js';
import { PushBack } from '../../../src/lib/push-back.js';
import { deferred } from '../../../src/lib/tasks.js';
import { DirtySet } from '../../../src/verify/dirty-set.js';
import { type LoggedLine, recordingLogger } from '../../support/api-doors.js';
import { silentLogger } from '../../support/silent-logger.js';

const { signal } = new AbortController();

class FakeQueue {
  nowMs = 0;
  waitedMs = 0;
  full = 0;
  readonly lines: LoggedLine[] = [];
  readonly pushBack: PushBack;

  constructor(logger: Logger = recordingLogger(this.lines)) {
    this.pushBack = new PushBack({
      queue: 'change events',
      logger,
      onWaited: (ms) => {
        this.waitedMs += ms;
      },
      onFull: () => this.full++,
      clock: { now: () => new Date(0), monotonicMs: () => this.nowMs },
    });
  }

  /** Lets time pass, and looks as often as the timer would. */
  pass(ms: number): void {
    for (let n = 0; n < ms; n += 1000) {
      this.nowMs += 1000;
      this.pushBack.look();
    }
  }

  get messages(): string[] {
    return this.lines.map(({ message }) => message);
  }
}

test('a queue that is full for moments says nothing', async () => {
  const queue = new FakeQueue();
  const room = deferred<void>();
  const waiting = queue.pushBack.during(room.promise);
  queue.pass(4000);
  room.resolve();
  await waiting;
  queue.pass(3000);
  assert.equal([queue.messages, queue.full, queue.waitedMs], [[], 0, 4000]);
});

test('one that is full for seconds is told of once, and again when nobody waits any more', async () => {
  const queue = new FakeQueue();
  // A busy one lets its writers in one after the other.
  for (let n = 0; n < 8; n++) {
    const room = deferred<void>();
    const waiting = queue.pushBack.during(room.promise);
    queue.pass(1000);
    room.resolve();
    await waiting;
  }
  assert.equal([queue.messages.length, queue.full, queue.waitedMs], [1, 1, 8000]);
  assert.match(queue.messages[0] ?? '', 'full for several seconds');
  queue.pass(2000);
  assert.match(queue.messages[1] ?? '', 'has room again');
  assert.is(queue.lines[1]?.fields?.['seconds'], 8);
});

test('every bounded queue tells how long it has kept its writers waiting', async () => {
  const queues = [new FakeQueue(silentLogger), new FakeQueue(silentLogger), new FakeQueue(silentLogger)] as const;
  const [window, budget, dirty] = [
    new ApplyWindow<string>({ limitBytes: 10, pushBack: queues[0].pushBack }),
    new ByteBudget(10, queues[1].pushBack),
    new DirtySet({ documents: 1, bytes: 10 }, queues[2].pushBack),
  ];
  const settle = await window.admit('a', 10, signal);
  await budget.acquire(10, signal);
  dirty.add('a', Buffer.from('b'));
  const waiting = [window.admit('b', 10, signal), budget.acquire(10, signal), dirty.room(signal)];
  for (const queue of queues) queue.nowMs += 300;
  settle();
  budget.release(10);
  dirty.take();
  await Promise.all(waiting);
  assert.equal(
    queues.map(({ waitedMs }) => waitedMs),
    [300, 300, 300],
  );
});

test.run();
