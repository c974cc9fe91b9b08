/** Tasks from the board of a coordinator to the workshop of an instance and back, without servers. */
import { setImmediate as settled } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Doc } from '../../../src/bson/bson.js';
import { fromDoc, type TaskRecord } from '../../../src/instances/records.js';
import { HandedBack, TaskBoard, type TaskListener } from '../../../src/instances/task-board.js';
import { type TaskDoer, Workshop } from '../../../src/instances/workshop.js';
import { deferred } from '../../../src/lib/tasks.js';

const { signal } = new AbortController();
const IGNORED: TaskListener = { counted: () => undefined };

/** The documents of the coordinator, and an instance `b` that does tasks. */
class Two {
  readonly board: TaskBoard;
  readonly workshop: Workshop;
  readonly stored = new Map<string, Doc>();
  isPaused = false;

  constructor(doer: TaskDoer) {
    this.board = new TaskBoard({
      putDocuments: async (_coll, docs) => {
        for (const doc of docs) this.stored.set(String(doc['_id']), doc);
      },
      deleteDocuments: async (_coll, ids) => {
        for (const id of ids) this.stored.delete(id);
      },
    });
    this.workshop = new Workshop({ copy: doer, compare: doer, apply: doer }, { copy: 1, compare: 1, apply: 1 }, signal);
  }

  call(task: unknown, listener: TaskListener = IGNORED, ends: AbortSignal = signal): Promise<unknown> {
    return this.board.call({ to: 'b', kind: 'copy', epoch: '1.1', task }, listener, ends);
  }

  /** Both look once at what the other one has written. */
  async turn(): Promise<void> {
    this.workshop.set(
      [...this.stored.values()].map((doc) => fromDoc<TaskRecord>(doc)),
      this.isPaused,
    );
    await settled();
    this.board.hear({ id: 'b', work: this.workshop.reports }, signal);
    await settled();
    await this.board.sweep(signal);
  }
}

test('a task is done once, its counts, place and pages are told, and its end removes it', async () => {
  let done = 0;
  const two = new Two(async (task, { count, place, page }) => {
    done++;
    count(1, 10);
    place({ at: Uint8Array.of(7) });
    count(2, 20);
    await page(['first']);
    await page(['second']);
    return { answered: task };
  });
  const heard: unknown[] = [];
  const answer = two.call(
    { bytes: Uint8Array.of(1, 2) },
    {
      counted: (...counts) => heard.push(counts),
      placed: async (place) => {
        heard.push(place);
      },
      paged: async (page) => {
        heard.push(page);
      },
    },
  );
  for (let turn = 0; turn < 6; turn++) await two.turn();
  assert.equal(await answer, { answered: { bytes: Uint8Array.of(1, 2) } });
  assert.equal(heard, [[3, 30], { at: Uint8Array.of(7) }, ['first'], ['second']]);
  assert.is(done, 1);
  await two.turn();
  assert.is(two.stored.size, 0);
  assert.ok(two.workshop.isIdle);
});

test('what fails comes back as failed, what an instance gives up as handed back', async () => {
  const failing = new Two(() => Promise.reject(new Error('no such index')));
  const failed = failing.call('task').catch((error: unknown) => error);
  await failing.turn();
  const error = (await failed) as HandedBack;
  assert.instance(error, HandedBack);
  assert.is(error.message, 'no such index');
  assert.ok(error.failed);
  const slow = new Two((_task, _events, ends) => new Promise((_, reject) => ends.addEventListener('abort', reject)));
  const given = slow.call('task').catch((reason: unknown) => reason);
  await slow.turn();
  await slow.workshop.stop();
  await slow.turn();
  assert.not.ok(((await given) as HandedBack).failed);
});

test('a paused instance gives back what it is given', async () => {
  const two = new Two(() => Promise.resolve('done'));
  two.isPaused = true;
  const given = two.call('task').catch((reason: unknown) => reason);
  await two.turn();
  assert.instance(await given, HandedBack);
});

test('a task of a dead instance comes back, and one that is taken away ends there', async () => {
  let ended = false;
  const two = new Two(async (_task, _events, ends) => {
    await new Promise((resolve) => ends.addEventListener('abort', resolve));
    ended = true;
  });
  const given = two.call('task').catch((reason: unknown) => reason);
  await two.turn();
  two.board.giveUp('b', 'the instance "b" has ended');
  assert.is(((await given) as HandedBack).message, 'the instance "b" has ended');
  await two.turn();
  await two.turn();
  assert.ok(ended);
  await two.turn();
  assert.ok(two.workshop.isIdle);
});

test('a call ends with its signal, at once', async () => {
  const two = new Two(() => new Promise(() => undefined));
  const controller = new AbortController();
  const given = two.call('task', IGNORED, controller.signal).catch((reason: Error) => reason.message);
  controller.abort(new Error('stop'));
  assert.is(await given, 'stop');
  assert.ok(two.board.isIdle);
});

test('tasks of earlier orders are given up, and those of the present ones go on', async () => {
  const two = new Two(() => new Promise(() => undefined));
  const earlier = two.call('of 1.1').catch((error: unknown) => error);
  const present = two.board.call({ to: 'b', kind: 'copy', epoch: '1.2', task: 'of 1.2' }, IGNORED, signal);
  let isOver = false;
  const over = (): void => {
    isOver = true;
  };
  present.then(over, over);
  await two.turn();
  two.board.giveUpEarlier('1.2', 'it was taken back');
  assert.instance(await earlier, HandedBack);
  await settled();
  assert.is(isOver, false);
});

test('tasks are begun in turn, as many as there are slots; one that is taken away while it waits is never begun', async () => {
  const begun: unknown[] = [];
  const ends = [deferred<void>(), deferred<void>(), deferred<void>()];
  const two = new Two(async (task) => {
    begun.push(task);
    await ends[begun.length - 1]?.promise;
    return task;
  });
  const controller = new AbortController();
  const [first, taken, last] = [two.call('first'), two.call('taken', IGNORED, controller.signal), two.call('last')];
  taken.catch(() => undefined);
  await two.turn();
  assert.equal(begun, ['first']);
  controller.abort(new Error('not needed any more'));
  await two.turn();
  await two.turn();
  ends[0]?.resolve();
  for (let turn = 0; turn < 3; turn++) await two.turn();
  assert.is(await first, 'first');
  assert.equal(begun, ['first', 'last']);
  ends[1]?.resolve();
  for (let turn = 0; turn < 3; turn++) await two.turn();
  assert.is(await last, 'last');
  assert.ok(two.workshop.isIdle);
});

test('an instance that is paused gives back what waits, too', async () => {
  const two = new Two((_task, _events, ends) => new Promise((_, reject) => ends.addEventListener('abort', reject)));
  const given = [two.call('under way'), two.call('waiting')].map((each) => each.catch((error: unknown) => error));
  await two.turn();
  await two.workshop.stop();
  await two.turn();
  for (const error of await Promise.all(given)) assert.not.ok((error as HandedBack).failed);
});

test('who waits for news has it at once, and otherwise waits as long as he wants', async () => {
  const end = deferred<void>();
  const two = new Two(() => end.promise.then(() => 'done'));
  const answer = two.call('task');
  await two.turn();
  const known = two.workshop.news;
  let isTold = false;
  const waiting = two.workshop.newsWithin(60_000, known, signal).then(() => {
    isTold = true;
  });
  await settled();
  assert.is(isTold, false);
  end.resolve();
  await waiting;
  await two.workshop.newsWithin(60_000, known, signal);
  await two.workshop.newsWithin(1, two.workshop.news, signal);
  await two.turn();
  await answer;
});

test.run();
