/** When changes are applied in shares, and what several shares come to. */
import { mock } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ShareEnd, ShareTask } from '../../../src/apply/share.js';
import { Stretches } from '../../../src/apply/stretches.js';
import { Timestamp } from '../../../src/bson/bson.js';
import { Position } from '../../../src/bson/position.js';
import { deferred } from '../../../src/lib/tasks.js';
import { silentLogger } from '../../support/silent-logger.js';

const { signal } = new AbortController();
const NOW = 1000;

function at(t: number): Position {
  return Position.startAt(new Timestamp({ t, i: 0 }));
}

interface Situation {
  readonly names?: readonly string[];
  readonly live?: readonly { readonly id: string; readonly capped: boolean; readonly collated: boolean }[];
  readonly ends?: Readonly<Record<string, ShareEnd | undefined>>;
  /** Has the other shares never end by themselves; called when they are taken back. */
  readonly onRecall?: () => void;
}

/** `tasks`: what each instance is given; `''` is the own one. */
function stretchesOf({ names = ['b'], live = [], ends = {}, onRecall }: Situation): {
  readonly stretches: Stretches;
  readonly tasks: Map<string, ShareTask>;
  readonly applyOwn: (task: ShareTask) => Promise<ShareEnd>;
} {
  const tasks = new Map<string, ShareTask>();
  const whole = (task: ShareTask): ShareEnd => ({
    position: at(task.until[0]).toText(),
    isBetween: false,
    events: 1000,
  });
  const recalled = deferred<undefined>();
  const stretches = new Stretches({
    source: { now: new Timestamp({ t: NOW, i: 0 }) },
    collections: { live: () => live, version: 1 },
    logger: silentLogger,
    takers: {
      names: () => names,
      countOwn: () => undefined,
      recall: async () => {
        onRecall?.();
        recalled.resolve(undefined);
      },
      apply: async (name, task) => {
        tasks.set(name, task);
        if (onRecall !== undefined) return recalled.promise;
        return name in ends ? ends[name] : whole(task);
      },
    },
  });
  const applyOwn = async (task: ShareTask): Promise<ShareEnd> => {
    tasks.set('', task);
    return ends[''] ?? whole(task);
  };
  return { stretches, tasks, applyOwn };
}

const EVENTS = [Buffer.alloc(1)];

test('shares are due while the application is seconds behind and somebody can help', () => {
  const { stretches } = stretchesOf({});
  assert.is(stretches.isDue({ events: EVENTS, position: at(NOW - 3) }), true);
  assert.is(stretches.isDue({ events: EVENTS, position: at(NOW - 2) }), false);
  assert.is(stretches.isDue({ events: [], position: at(NOW - 100) }), false);
  assert.is(stretchesOf({ names: [] }).stretches.isDue({ events: EVENTS, position: at(NOW - 100) }), false);
});

test('more collections with an order than a read can name are no matter for shares', () => {
  const live = Array.from({ length: 1001 }, (_, id) => ({ id: `${id}`, capped: true, collated: false }));
  assert.is(stretchesOf({ live }).stretches.isDue({ events: EVENTS, position: at(1) }), false);
  assert.is(stretchesOf({ live: live.slice(1) }).stretches.isDue({ events: EVENTS, position: at(1) }), true);
});

test('each instance gets a share of its own, and this one the collections with an order', async () => {
  const live = [
    { id: 'aa', capped: true, collated: false },
    { id: 'bb', capped: false, collated: false },
    { id: 'cc', capped: false, collated: true },
  ];
  const { stretches, tasks, applyOwn } = stretchesOf({ names: ['b', 'c'], live });
  await stretches.apply(at(500), true, applyOwn, signal);
  assert.equal([...tasks].map(([name, { share, of, undivided }]) => [name, share, of, undivided]).sort(), [
    ['', 0, 3, ['aa', 'cc']],
    ['b', 1, 3, []],
    ['c', 2, 3, []],
  ]);
});

test('a stretch ends where the first of its shares does, never past the present', async () => {
  const early = { position: at(505).toText(), isBetween: false, events: 7 };
  const { stretches, tasks, applyOwn } = stretchesOf({ ends: { b: early } });
  const end = await stretches.apply(at(500), true, applyOwn, signal);
  assert.equal(end?.position, at(505));
  assert.is(end?.events, 1007);
  await stretches.apply(at(NOW - 4), true, applyOwn, signal);
  assert.equal(tasks.get('b')?.until, [NOW, 0]);
});

test('a share that comes back makes the stretch void, and the next one is not tried at once', async () => {
  const { stretches, applyOwn } = stretchesOf({ ends: { b: undefined } });
  assert.is(await stretches.apply(at(500), true, applyOwn, signal), undefined);
  assert.is(stretches.isDue({ events: EVENTS, position: at(500) }), false);
});

test('shares that do not come to an end are taken back: one may not reach the source', async () => {
  let isRecalled = false;
  const onRecall = (): void => {
    isRecalled = true;
  };
  const { stretches, applyOwn } = stretchesOf({ onRecall });
  const clock = mock.timers;
  clock.enable({ apis: ['setTimeout'] });
  try {
    const applying = stretches.apply(at(500), true, applyOwn, signal);
    for (let n = 0; n < 10; n++) await turn();
    clock.tick(29_000);
    for (let n = 0; n < 10; n++) await turn();
    assert.is(isRecalled, false);
    clock.tick(2000);
    assert.is(await applying, undefined);
    assert.is(isRecalled, true);
  } finally {
    clock.reset();
  }
});

test('what a stretch has taken for nothing, ten times that the next one is not tried', async () => {
  const { stretches, applyOwn } = stretchesOf({ ends: { b: undefined } });
  const slowly = async (task: ShareTask): Promise<ShareEnd> => {
    now += 30_000;
    return applyOwn(task);
  };
  let now = 0;
  const clock = mock.method(performance, 'now', () => now);
  try {
    await stretches.apply(at(500), true, slowly, signal);
    now += 299_000;
    assert.is(stretches.isDue({ events: EVENTS, position: at(500) }), false);
    now += 2000;
    assert.is(stretches.isDue({ events: EVENTS, position: at(500) }), true);
  } finally {
    clock.mock.restore();
  }
});

test('a stretch with few events is not worth the next one at once', async () => {
  const few = { position: at(510).toText(), isBetween: false, events: 3 };
  const { stretches, applyOwn } = stretchesOf({ ends: { '': few, b: few } });
  await stretches.apply(at(500), true, applyOwn, signal);
  assert.is(stretches.isDue({ events: EVENTS, position: at(510) }), false);
});

test.run();
