/** When changes are applied in shares, and what several shares come to. */
import { mock } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ShareEnd, SharePlace, ShareTask } from '../../../src/apply/share.js';
import { Stretches, type StretchHandlers, type StretchPlace } from '../../../src/apply/stretches.js';
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
  readonly handlers: StretchHandlers;
  /** How far all shares were, as it was told. */
  readonly told: StretchPlace[];
  /** Tells how far the share of an instance is; `''` is the own one. */
  readonly tell: (name: string, place: SharePlace) => void;
} {
  const tasks = new Map<string, ShareTask>();
  const whole = (task: ShareTask): ShareEnd => ({
    position: at(task.until[0]).toText(),
    isBetween: false,
    events: 1000,
  });
  const recalled = deferred<undefined>();
  const hearers = new Map<string, (place: SharePlace) => void>();
  const told: StretchPlace[] = [];
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
      apply: async (name, task, onPlace) => {
        tasks.set(name, task);
        hearers.set(name, onPlace);
        if (onRecall !== undefined) return recalled.promise;
        return name in ends ? ends[name] : whole(task);
      },
    },
  });
  const applyOwn = async (task: ShareTask, onPlace: (place: SharePlace) => void): Promise<ShareEnd> => {
    tasks.set('', task);
    hearers.set('', onPlace);
    return ends[''] ?? whole(task);
  };
  const handlers = { applyOwn, onPlace: (place: StretchPlace) => void told.push(place) };
  const tell = (name: string, place: SharePlace): void => hearers.get(name)?.(place);
  return { stretches, tasks, handlers, told, tell };
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
  const { stretches, tasks, handlers } = stretchesOf({ names: ['b', 'c'], live });
  await stretches.apply(at(500), true, handlers, signal);
  assert.equal([...tasks].map(([name, { share, of, undivided }]) => [name, share, of, undivided]).sort(), [
    ['', 0, 3, ['aa', 'cc']],
    ['b', 1, 3, []],
    ['c', 2, 3, []],
  ]);
});

test('a stretch ends where the first of its shares does, never past the present', async () => {
  const early = { position: at(505).toText(), isBetween: false, events: 7 };
  const { stretches, tasks, handlers } = stretchesOf({ ends: { b: early } });
  const end = await stretches.apply(at(500), true, handlers, signal);
  assert.equal(end?.position, at(505));
  assert.is(end?.events, 1007);
  await stretches.apply(at(NOW - 4), true, handlers, signal);
  assert.equal(tasks.get('b')?.until, [NOW, 0]);
});

test('a time is passed only where all shares that are there have passed it', async () => {
  for (const [own, other, both] of [
    [true, false, false],
    [false, true, false],
    [true, true, true],
  ]) {
    const end = (isBetween = false): ShareEnd => ({ position: at(505).toText(), isBetween, events: 1 });
    const { stretches, handlers } = stretchesOf({ ends: { '': end(own), b: end(other) } });
    assert.is((await stretches.apply(at(500), true, handlers, signal))?.isBetween, both);
  }
});

test('a share that comes back makes the stretch void, and the next one is not tried at once', async () => {
  const { stretches, handlers } = stretchesOf({ ends: { b: undefined } });
  assert.is(await stretches.apply(at(500), true, handlers, signal), undefined);
  assert.is(stretches.isDue({ events: EVENTS, position: at(500) }), false);
});

test('shares that do not come to an end are taken back: one may not reach the source', async () => {
  let isRecalled = false;
  const onRecall = (): void => {
    isRecalled = true;
  };
  const { stretches, handlers } = stretchesOf({ onRecall });
  const clock = mock.timers;
  clock.enable({ apis: ['setTimeout'] });
  try {
    const applying = stretches.apply(at(500), true, handlers, signal);
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
  const { stretches, handlers } = stretchesOf({ ends: { b: undefined } });
  const slowly: StretchHandlers = {
    ...handlers,
    applyOwn: async (task, onPlace) => {
      now += 30_000;
      return handlers.applyOwn(task, onPlace);
    },
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

test('what was told of a stretch is not lost with it, and does not hold up the next one', async () => {
  const { stretches, handlers, tell } = stretchesOf({ ends: { b: undefined } });
  let now = 0;
  const slowly: StretchHandlers = {
    ...handlers,
    applyOwn: async (task, onPlace) => {
      const end = await handlers.applyOwn(task, onPlace);
      now += 30_000;
      for (const name of ['', 'b']) tell(name, { position: at(505).toText(), isBetween: false, events: 1 });
      now += 1000;
      return end;
    },
  };
  const clock = mock.method(performance, 'now', () => now);
  try {
    assert.is(await stretches.apply(at(500), true, slowly, signal), undefined);
    now += 9000;
    assert.is(stretches.isDue({ events: EVENTS, position: at(505) }), false);
    now += 2000;
    assert.is(stretches.isDue({ events: EVENTS, position: at(505) }), true);
  } finally {
    clock.mock.restore();
  }
});

test('a stretch is as far as the share that is least far, and nowhere before all of them have told', async () => {
  const { stretches, handlers, told, tell } = stretchesOf({ names: ['b', 'c'] });
  const place = (t: number, events: number): SharePlace => ({ position: at(t).toText(), isBetween: false, events });
  const telling: StretchHandlers = {
    ...handlers,
    applyOwn: async (task, onPlace) => {
      const end = await handlers.applyOwn(task, onPlace);
      tell('', place(502, 10));
      tell('c', place(507, 70));
      assert.equal(told, []);
      tell('b', place(504, 40));
      tell('', place(509, 90));
      return end;
    },
  };
  await stretches.apply(at(500), true, telling, signal);
  assert.equal(told, [
    { position: at(502), isBetween: false, events: 120 },
    { position: at(504), isBetween: false, events: 200 },
  ]);
});

test('where a stretch has ended at its time the next one is due at once, and not where somebody met a change of the catalog', async () => {
  const { stretches, handlers } = stretchesOf({});
  const whole = await stretches.apply(at(500), true, handlers, signal);
  assert.is(whole !== undefined && stretches.isDueAfter(whole), true);
  const early = { position: at(505).toText(), isBetween: false, events: 700 };
  const other = stretchesOf({ ends: { '': early, b: early } });
  const broken = await other.stretches.apply(at(500), true, other.handlers, signal);
  assert.is(broken !== undefined && other.stretches.isDueAfter(broken), false);
});

test('a stretch with few events is not worth the next one at once', async () => {
  const few = { position: at(510).toText(), isBetween: false, events: 3 };
  const { stretches, handlers } = stretchesOf({ ends: { '': few, b: few } });
  await stretches.apply(at(500), true, handlers, signal);
  assert.is(stretches.isDue({ events: EVENTS, position: at(510) }), false);
});

test.run();
