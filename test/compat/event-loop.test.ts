import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { EventLoopDelay } from '../../src/lib/event-loop.js';
import { hurry, LoopTurns } from '../../src/lib/loop-turns.js';
import { sendHttp } from '../support/api-doors.js';
import { DoorsProcess } from '../support/doors-process.js';
import { eventually, within } from '../support/within.js';

const WAIT_MS = 50_000;

function block(ms: number): void {
  const began = performance.now();
  while (performance.now() - began < ms);
}

test('what holds the event loop up is measured', async () => {
  using delay = new EventLoopDelay();
  const began = performance.now();
  await eventually(WAIT_MS, () => delay.longestMs > 0, 'the first time between two ticks');
  block(400);
  await eventually(WAIT_MS, () => delay.longestMs > 300, 'the delay');
  assert.ok(delay.longestMs < performance.now() - began);
});

test('a calm process is looked at more seldom, and what holds it up is measured all the same', async () => {
  using delay = new EventLoopDelay(undefined, 3000);
  assert.is(delay.lookMs, 100);
  await eventually(WAIT_MS, () => delay.lookMs === 500, 'calm', { everyMs: 100 });
  const seen = (): boolean => delay.longestMs > 400;
  // The first time a histogram sees is the one after its second look.
  await eventually(WAIT_MS, () => (seen() ? true : void block(1000)), 'the delay', { everyMs: 20 });
  await eventually(WAIT_MS, () => (delay.lookMs === 100 ? true : void block(50)), 'busy', { everyMs: 20 });
});

/** What happens while five pieces of work take their turns: "work", "timer", and "turn" for each turn of the loop. */
async function seenDuringWork(): Promise<string[]> {
  const turns = new LoopTurns();
  const seen: string[] = [];
  const timer = setInterval(() => seen.push('timer'), 1);
  let goesOn = true;
  const count = (): void => {
    seen.push('turn');
    if (goesOn) setImmediate(count);
  };
  setImmediate(count);
  const work = Array.from({ length: 5 }, async () => {
    await turns.next();
    seen.push('work');
    block(5);
  });
  try {
    await within(WAIT_MS, Promise.all(work), 'the work');
  } finally {
    goesOn = false;
    clearInterval(timer);
  }
  return seen;
}

function betweenPieces(seen: readonly string[]): string[] {
  const between = seen.join(' ').split('work').slice(1, -1);
  assert.is(between.length, 4);
  return between;
}

test('pieces of work that wait are done one in each turn, and timers run between them', async () => {
  const seen = await seenDuringWork();
  for (const each of betweenPieces(seen)) {
    assert.match(each, /timer/, seen.join(' '));
    assert.match(each, /turn/, seen.join(' '));
  }
});

test('while a call is answered, every other turn has no piece of work', async () => {
  const done = hurry();
  const seen = await seenDuringWork();
  done();
  done();
  for (const each of betweenPieces(seen)) assert.match(each, /turn.*turn/, seen.join(' '));
  // It is over: not every pause has two turns.
  const after = await seenDuringWork();
  assert.ok(
    betweenPieces(after).some((each) => !/turn.*turn/.test(each)),
    after.join(' '),
  );
});

test('many costly requests at one time hold the event loop up no longer than few of them', async () => {
  await using server = await DoorsProcess.start();
  const values = Array.from({ length: 9000 }, () => '{"$oid":"0"}').join();
  const body = `{"source":"cluster0","destination":"cluster1","documentFilter":{"field":"a","matchValues":[${values}]}}`;
  const send = (count: number) =>
    within(
      WAIT_MS,
      Promise.all(
        Array.from({ length: count }, () =>
          sendHttp(server.ports.httpPort, { method: 'POST', path: '/api/v1/start', body }),
        ),
      ),
      'the answers',
    );
  // The first ones also compile.
  await send(3);
  await server.usage();
  const before = await server.usage();
  await send(3);
  const few = await server.usage();
  const each = (few.cpuMs - before.cpuMs) / 3;
  await server.usage();
  const answers = await send(60);
  const many = await server.usage();
  for (const { status } of answers) assert.is(status, 400);
  assert.ok(many.stallMs < 15 * each + 500, `${many.stallMs} ms at a time, one request takes ${each} ms`);
});

test.run();
