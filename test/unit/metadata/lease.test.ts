import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setImmediate as turn } from 'node:timers/promises';
import { Binary, MongoServerError } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Doc } from '../../../src/bson/bson.js';
import { TransientError } from '../../../src/cluster/errors.js';
import { AppError } from '../../../src/errors.js';
import { isAlive } from '../../../src/lib/host-process.js';
import { SharedDeadline } from '../../../src/lib/shared-deadline.js';
import { Lease, type LeaseStore } from '../../../src/metadata/lease.js';
import type { EarlierHolder } from '../../../src/metadata/lease-record.js';
import { silentLogger } from '../../support/silent-logger.js';
import { eventually, within } from '../../support/within.js';

const { signal: forever } = new AbortController();

/** The one record, which takes a change as the server would; its clock is the server's, and of no use to anyone. */
class FakeStore {
  record: Doc | undefined;
  /** Clients whose writes were ended, in order. */
  readonly ended: (readonly string[])[] = [];
  /** Those of them that may have been changing the catalog. */
  readonly changing: string[] = [];
  mayStillChange = false;
  /** Changes wait for it, as for a majority, after they took effect. */
  majority: Promise<void> = Promise.resolve();
  confirmed: () => Promise<void> = () => this.majority;
  fails: Error | undefined;
  renewals = 0;

  as(clientTag: string): LeaseStore {
    return {
      identity: { client: clientTag, sessions: [], user: '$ann@admin' },
      mayStillChange: () => this.mayStillChange,
      hasLost: () => this.mayStillChange,
      readLease: async () => this.record && { ...this.record },
      changeLease: async (filter, set, { upsert } = { upsert: false }) => {
        if (this.fails !== undefined) throw this.fails;
        const changed = this.#change(filter, set, upsert);
        await this.confirmed();
        return changed;
      },
      endEarlier: async (earlier: readonly EarlierHolder[]) => {
        this.ended.push(earlier.map(({ client }) => client));
        this.changing.push(...earlier.filter(({ wasChanging }) => wasChanging).map(({ client }) => client));
      },
    };
  }

  #change(filter: Doc, changes: Doc, upsert: boolean): boolean {
    const { record } = this;
    const matches = Object.entries(filter).every(([name, value]) => (record?.[name] ?? null) === (value ?? null));
    if (record === undefined ? !upsert : !matches) return false;
    const set: Doc = {};
    for (const [name, value] of Object.entries(changes)) {
      const { $literal, $max, $add, $setUnion, $setDifference } = value as {
        $literal?: unknown;
        $max?: [string, number];
        $add?: [string, number];
        $setUnion?: [string, { $literal: unknown[] }];
        $setDifference?: [string, { $literal: unknown[] }];
      };
      const list = (record?.[name] ?? []) as unknown[];
      if ($max !== undefined) set[name] = Math.max(Number(record?.[name] ?? 0), $max[1]);
      else if (name === 'renewals' && $add !== undefined) set[name] = Number(record?.[name]) + 1;
      else if ($setUnion !== undefined) set[name] = [...new Set([...list, ...$setUnion[1].$literal])];
      else if ($setDifference !== undefined) {
        const removed = new Set($setDifference[1].$literal);
        set[name] = list.filter((each) => !removed.has(each));
      } else set[name] = $literal === undefined ? value : $literal;
      if (name === 'renewals' && $add !== undefined) this.renewals++;
    }
    this.record = { _id: 'lease', ...record, ...set, expiresAt: 'whatever the server thinks' };
    return true;
  }
}

/** Time that moves only when the test says so; all that wait are woken when theirs has come. */
class FakeTime {
  nowMs = 0;
  #waiting: { atMs: number; wake: () => void }[] = [];
  readonly clock = { now: () => new Date(0), monotonicMs: () => this.nowMs };

  readonly wait = (ms: number, signal: AbortSignal): Promise<void> =>
    new Promise((resolve, reject) => {
      this.#waiting.push({ atMs: this.nowMs + ms, wake: resolve });
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
    });

  async pass(ms: number): Promise<void> {
    const end = this.nowMs + ms;
    while (this.nowMs < end) {
      this.nowMs = Math.min(end, this.nowMs + 250);
      const due = this.#waiting.filter((each) => each.atMs <= this.nowMs);
      this.#waiting = this.#waiting.filter((each) => each.atMs > this.nowMs);
      for (const each of due) each.wake();
      for (let turns = 0; turns < 5; turns++) await turn();
    }
  }
}

function newLease(store: LeaseStore, { clock, wait }: FakeTime, isAlive: boolean): Lease {
  return new Lease(store, silentLogger, { clock, wait, bootId: async () => 'this host', isAlive: () => isAlive });
}

function leaseOf(store: FakeStore, tag: string, time: FakeTime, isAlive = true): Lease {
  return newLease(store.as(tag), time, isAlive);
}

function codeOfThrown(work: () => unknown): string {
  try {
    work();
    return 'nothing';
  } catch (error) {
    return error instanceof AppError ? error.code : (error as Error).name;
  }
}

/** A record as a process on another host leaves it. */
async function heldElsewhere(store: FakeStore, time: FakeTime): Promise<Lease> {
  const holder = leaseOf(store, 'client-1', time);
  await holder.take(forever);
  store.record = { ...store.record, bootId: 'another host' };
  return holder;
}

test('the first taker has it, for as long as it lasts from before it was asked for', async () => {
  const [store, time] = [new FakeStore(), new FakeTime()];
  const lease = leaseOf(store, 'client-1', time);
  assert.is(
    codeOfThrown(() => lease.assertHeld()),
    'TransientError',
  );
  await lease.take(forever);
  assert.is(lease.assertHeld(), 30_000);
  await time.pass(29_000);
  assert.is(lease.assertHeld(), 1000);
  await time.pass(1000);
  assert.is(
    codeOfThrown(() => lease.assertHeld()),
    'TransientError',
  );
});

test('a taker takes what it has seen unchanged for longer than a lease lasts, whatever the servers clock says', async () => {
  const [store, time] = [new FakeStore(), new FakeTime()];
  const holder = await heldElsewhere(store, time);
  const taker = leaseOf(store, 'client-2', time);
  const taking = taker.take(forever);
  await time.pass(31_000);
  assert.not.ok(taker.held, 'taken before the time was over');
  assert.not.ok(holder.held);
  await time.pass(2000);
  await taking;
  assert.is(taker.term, 2);
  assert.equal(store.ended, [['client-1']]);
});

test('a holder that renews keeps it, and is known to be alive', async () => {
  const [store, time] = [new FakeStore(), new FakeTime()];
  const holder = await heldElsewhere(store, time);
  const stop = new AbortController();
  const keeping = holder.keep(stop.signal).catch(() => 'stopped');
  const taker = leaseOf(store, 'client-2', time);
  const taken = taker.takeFromDead(forever);
  await time.pass(5000);
  assert.is(await taken, false);
  void taker.take(stop.signal).catch(() => undefined);
  await time.pass(100_000);
  assert.ok(holder.held);
  assert.not.ok(taker.held);
  stop.abort();
  assert.is(await keeping, 'stopped');
});

test('a process of the same host is waited for while it lives, and not when it is gone', async () => {
  const [store, time] = [new FakeStore(), new FakeTime()];
  await leaseOf(store, 'client-1', time).take(forever);
  assert.is(await leaseOf(store, 'client-2', time).takeFromDead(forever), false);
  const taker = leaseOf(store, 'client-3', time, false);
  assert.is(await taker.takeFromDead(forever), true);
  assert.equal(store.ended, [['client-1']]);
});

test('what a taker did not live to end, the next one ends', async () => {
  const [store, time] = [new FakeStore(), new FakeTime()];
  await leaseOf(store, 'client-1', time).take(forever);
  const second = store.as('client-2');
  const dying = newLease({ ...second, endEarlier: () => Promise.reject(new Error('killed')) }, time, false);
  assert.is(await dying.take(forever).catch((error: Error) => error.message), 'killed');
  await leaseOf(store, 'client-3', time, false).take(forever);
  assert.equal(store.ended, [['client-1', 'client-2']]);
  await leaseOf(store, 'client-4', time, false).take(forever);
  assert.equal(store.ended.at(-1), ['client-3']);
});

test('a majority that confirms later than a lease lasts has it made for longer, and is told of', async () => {
  const [store, time] = [new FakeStore(), new FakeTime()];
  const lease = leaseOf(store, 'client-1', time);
  await lease.take(forever);
  const stop = new AbortController();
  const keeping = lease.keep(stop.signal).catch(() => undefined);
  await time.pass(10_000);
  assert.ok(lease.majorityDelayMs < 1000);
  store.confirmed = () => time.wait(45_000, forever);
  await time.pass(20_000);
  assert.ok(lease.majorityDelayMs > 10_000, 'known before the first confirmation');
  await time.pass(160_000);
  for (let looks = 0; looks < 100; looks++) {
    await time.pass(2000);
    assert.ok(lease.held, `look ${looks}`);
  }
  store.confirmed = () => Promise.resolve();
  await time.pass(60_000);
  assert.ok(lease.majorityDelayMs < 1000);
  assert.is(store.record?.['leaseMs'], 30_000);
  stop.abort();
  await keeping;
});

test('with somebody who waits to take over a lease lasts shorter, and its holder does not count on longer', async () => {
  const [store, time] = [new FakeStore(), new FakeTime()];
  const holder = await heldElsewhere(store, time);
  const stop = new AbortController();
  void holder.keep(stop.signal).catch(() => undefined);
  assert.is(holder.assertHeld(), 30_000);
  holder.expectTaker(true);
  // Sent, and without an answer: it may have taken effect.
  store.confirmed = () => new Promise(() => undefined);
  await time.pass(4000);
  assert.is(store.record?.['leaseMs'], 10_000);
  assert.is(holder.assertHeld(), 10_000);
  stop.abort();
  const taker = leaseOf(store, 'client-2', time);
  store.confirmed = () => Promise.resolve();
  const taking = taker.take(forever);
  await time.pass(11_000);
  assert.not.ok(taker.held);
  assert.not.ok(holder.held, 'before anybody may take it');
  await time.pass(2000);
  assert.ok(taker.held);
  await taking;
});

test('an earlier renewal for longer that is confirmed after a later one for shorter gives no more', async () => {
  const [store, time] = [new FakeStore(), new FakeTime()];
  const holder = await heldElsewhere(store, time);
  const stop = new AbortController();
  void holder.keep(stop.signal).catch(() => undefined);
  store.confirmed = () => time.wait(6000, forever);
  await time.pass(4000);
  assert.is(store.record?.['leaseMs'], 30_000);
  holder.expectTaker(true);
  await time.pass(4500);
  assert.ok(Number(store.record?.['leaseMs']) < 30_000);
  await time.pass(2000);
  assert.ok(holder.assertHeld() <= Number(store.record?.['leaseMs']));
  stop.abort();
});

test('a lease that was made for longer is waited for longer', async () => {
  const [store, time] = [new FakeStore(), new FakeTime()];
  await heldElsewhere(store, time);
  store.record = { ...store.record, leaseMs: 90_000 };
  const taker = leaseOf(store, 'client-2', time);
  const taking = taker.take(forever);
  await time.pass(91_000);
  assert.not.ok(taker.held);
  await time.pass(3000);
  assert.ok(taker.held);
  await taking;
});

test('a majority that is slow to confirm holds up no renewal', async () => {
  const [store, time] = [new FakeStore(), new FakeTime()];
  const lease = leaseOf(store, 'client-1', time);
  await lease.take(forever);
  const stop = new AbortController();
  const keeping = lease.keep(stop.signal).catch(() => undefined);
  let confirm: () => void = () => undefined;
  store.majority = new Promise((resolve) => {
    confirm = resolve;
  });
  await time.pass(20_500);
  assert.is(store.renewals, 5);
  confirm();
  await time.pass(250);
  assert.ok(lease.assertHeld() > 25_000, `${lease.assertHeld()} ms are left`);
  stop.abort();
  await keeping;
});

test('an outage longer than the lease ends the writing, and the lease goes on after it where nobody took it', async () => {
  const [store, time] = [new FakeStore(), new FakeTime()];
  const lease = leaseOf(store, 'client-1', time);
  await lease.take(forever);
  const stop = new AbortController();
  const keeping = lease.keep(stop.signal).catch(() => undefined);
  store.fails = new TransientError('away');
  await time.pass(40_000);
  assert.is(
    codeOfThrown(() => lease.assertHeld()),
    'TransientError',
  );
  store.fails = undefined;
  await time.pass(1000);
  assert.ok(lease.held);
  stop.abort();
  await keeping;
});

test('whatever code a renewal meets, the lease goes on once the server takes it', async () => {
  for (const code of [1, 13, 20, 72, 4711]) {
    const [store, time] = [new FakeStore(), new FakeTime()];
    const lease = leaseOf(store, 'client-1', time);
    await lease.take(forever);
    const stop = new AbortController();
    const keeping = lease.keep(stop.signal).catch(String);
    store.fails = new MongoServerError({ message: 'refused for a test', code });
    await time.pass(31_000);
    assert.throws(() => lease.assertHeld(), new RegExp(`refused for a test \\(code ${code}\\)`));
    store.fails = undefined;
    await time.pass(30_000);
    assert.ok(lease.held, `after code ${code}`);
    stop.abort(new Error('stopped'));
    assert.is(await keeping, 'Error: stopped');
  }
});

test('an error that no server has brought about is told, not waited for', async () => {
  const [store, time] = [new FakeStore(), new FakeTime()];
  const lease = leaseOf(store, 'client-1', time);
  await lease.take(forever);
  const keeping = lease.keep(forever).catch(String);
  store.fails = new TypeError('a fault of this program');
  await time.pass(5000);
  assert.is(await keeping, 'TypeError: a fault of this program');
});

test('a holder that slept through its lease is told that another one has it', async () => {
  const [store, time] = [new FakeStore(), new FakeTime()];
  const holder = await heldElsewhere(store, time);
  const taking = leaseOf(store, 'client-2', time).take(forever);
  await time.pass(33_000);
  await taking;
  const kept = holder.keep(forever).catch(AppError.from);
  await time.pass(1000);
  assert.is((await kept)?.code, 'LeaseLost');
  assert.is(
    codeOfThrown(() => holder.assertHeld()),
    'LeaseLost',
  );
});

test('what was given back is free, also when a renewal comes late', async () => {
  const [store, time] = [new FakeStore(), new FakeTime()];
  const holder = await heldElsewhere(store, time);
  await holder.release();
  assert.not.ok(holder.held);
  const taker = leaseOf(store, 'client-2', time);
  await taker.take(forever);
  assert.is(taker.term, 2);
});

test('a process that has given it back may live on: what it has sent is looked for only if an answer was lost', async () => {
  for (const lost of [false, true]) {
    const [store, time] = [new FakeStore(), new FakeTime()];
    const holder = leaseOf(store, 'client-1', time);
    await holder.take(forever);
    await holder.changing(async () => undefined);
    store.mayStillChange = lost;
    await holder.release();
    // No process has the pid that stands there then.
    await leaseOf(store, 'client-2', time, false).take(forever);
    assert.equal(store.ended, lost ? [['client-1']] : []);
    assert.equal(store.changing, lost ? ['client-1'] : []);
  }
});

test('a taker learns that a structural command may be under way, and when none has been for a while', async () => {
  const [store, time] = [new FakeStore(), new FakeTime()];
  const holder = await heldElsewhere(store, time);
  const stop = new AbortController();
  const keeping = holder.keep(stop.signal).catch(() => undefined);
  let isAnnounced = false;
  let end: () => void = () => undefined;
  const work = holder.changing(async () => {
    isAnnounced = Number(store.record?.['begun']) > Number(store.record?.['ended']);
    await new Promise<void>((resolve) => {
      end = resolve;
    });
  });
  // However long it takes.
  await time.pass(60_000);
  assert.ok(isAnnounced, 'it was sent before the record told of it');
  assert.is(store.record?.['ended'], 0);
  store.mayStillChange = true;
  end();
  await work;
  await time.pass(20_000);
  assert.is(store.record?.['ended'], 0, 'its answer was lost');
  store.mayStillChange = false;
  await time.pass(20_000);
  assert.is(store.record?.['ended'], 1);
  await holder.changing(async () => undefined);
  assert.is(store.record?.['begun'], 2);
  stop.abort();
  await keeping;
  const taker = leaseOf(store, 'client-2', time);
  const taking = taker.take(forever);
  await time.pass(33_000);
  await taking;
  assert.equal(store.changing, ['client-1']);
});

test('of a holder that numbered no writes all connections are waited for', async () => {
  const [store, time] = [new FakeStore(), new FakeTime()];
  await heldElsewhere(store, time);
  const { sessions, ...record } = store.record as Doc;
  store.record = { ...record, ending: ['client-0'] };
  const taking = leaseOf(store, 'client-2', time).take(forever);
  await time.pass(33_000);
  await taking;
  assert.equal(store.changing, ['client-0', 'client-1']);
});

test('a process that has ended, and that its parent has not looked after, is not alive', async () => {
  assert.is(isAlive(process.pid), true);
  // The shell becomes a program that never asks after the child that it has.
  const parent = spawn('/bin/sh', ['-c', 'sleep 0.01 & echo $!; exec sleep 600'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  try {
    const [said] = (await within(20_000, once(parent.stdout, 'data'), 'the pid')) as [Buffer];
    const pid = Number(said.toString());
    await eventually(20_000, () => !isAlive(pid), 'the end of the child');
    // The system still knows it: it can be sent signals.
    assert.is(process.kill(pid, 0), true);
  } finally {
    parent.kill('SIGKILL');
  }
});

test('sessions of threads are in the record while they are used, and when it changes hands', async () => {
  const [store, time] = [new FakeStore(), new FakeTime()];
  const lease = leaseOf(store, 'client-1', time);
  await lease.take(forever);
  const [first, second] = [new Binary(Buffer.alloc(16, 1)), new Binary(Buffer.alloc(16, 2))];
  await lease.threads.addSessions([first]);
  await lease.threads.addSessions([second, first]);
  assert.equal(store.record?.['sessions'], [first, second]);
  await lease.threads.removeSessions([first]);
  assert.equal(store.record?.['sessions'], [second]);
  store.mayStillChange = true;
  await lease.release();
  assert.equal(store.record?.['sessions'], [second]);
});

test('the deadline of a thread follows the lease: renewed with it, uncertain once it has run out, over when it is lost', async () => {
  const [store, time] = [new FakeStore(), new FakeTime()];
  const lease = leaseOf(store, 'client-1', time);
  await lease.take(forever);
  const [early, late] = [new SharedDeadline(), new SharedDeadline()];
  const stop = lease.threads.share(early);
  const left = (deadline: SharedDeadline): number => Math.round(deadline.leftMs / 1000);
  assert.is(left(early), 30);
  await time.pass(20_000);
  lease.threads.share(late);
  assert.equal([left(early), left(late)], [10, 10]);
  stop();
  assert.equal([early.isOver, late.isOver], [true, false]);
  const keeping = lease.keep(forever).catch((error: unknown) => AppError.from(error).code);
  await time.pass(5000);
  assert.is(left(late), 30);
  store.record = { ...store.record, owner: 'another' };
  await time.pass(5000);
  assert.is(await keeping, 'LeaseLost');
  assert.equal([late.isOver, left(late)], [true, 0]);
});

test('what is given back is over for the threads before anything else is done', async () => {
  const [store, time] = [new FakeStore(), new FakeTime()];
  const lease = leaseOf(store, 'client-1', time);
  await lease.take(forever);
  const deadline = new SharedDeadline();
  lease.threads.share(deadline);
  const releasing = lease.release();
  assert.ok(deadline.isOver);
  await releasing;
});

test('what a try of this process has taken, and never learned of, the next one takes at once', async () => {
  const store = new FakeStore();
  const time = new FakeTime();
  store.confirmed = () => Promise.reject(new AppError('ClusterUnreachable', 'the answer was lost'));
  const given = new AbortController();
  const trying = leaseOf(store, 'client a', time).takeFromDead(given.signal);
  trying.catch(() => undefined);
  while (store.record === undefined) await turn();
  given.abort(new Error('the caller has gone'));
  store.confirmed = () => Promise.resolve();
  assert.is(await within(5000, leaseOf(store, 'client a', time).takeFromDead(forever), 'the next try'), true);
  assert.is(await within(5000, leaseOf(store, 'client b', time).takeFromDead(forever), 'another process'), false);
});

test.run();
