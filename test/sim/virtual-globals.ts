/** Puts a simulation's time and random numbers in place of Node's, for all code of the process. */
import crypto from 'node:crypto';
import fs from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import type { Random } from '../support/workload-random.js';
import { VirtualAbortController } from './virtual-abort.js';
import { EPOCH_MS, type Timer, type World } from './world.js';

let world: World | undefined;
let random: Random | undefined;

const real = {
  setTimeout: globalThis.setTimeout,
  clearTimeout: globalThis.clearTimeout,
  setInterval: globalThis.setInterval,
  clearInterval: globalThis.clearInterval,
  setImmediate: globalThis.setImmediate,
  clearImmediate: globalThis.clearImmediate,
  performanceNow: performance.now.bind(performance),
  Date: globalThis.Date,
  mathRandom: Math.random,
  abortAfter: AbortSignal.timeout.bind(AbortSignal),
  AbortController: globalThis.AbortController,
  randomUUID: crypto.randomUUID.bind(crypto),
  readFile: fs.readFile,
  readlink: fs.readlink,
};

/** Milliseconds of the real clock. */
export function realNowMs(): number {
  return real.performanceNow();
}

/** From now on all timers, clocks and random numbers of this process are the simulation's. */
export function enter(entered: World, seeded: Random): void {
  if (world === undefined) install();
  world = entered;
  random = seeded;
}

/** Node's own again. */
export function leave(): void {
  if (world === undefined) return;
  world = undefined;
  random = undefined;
  uninstall();
}

class VirtualTimer implements Timer {
  #timer: Timer | undefined;

  constructor(ms: number, run: () => void, isRepeated: boolean) {
    // As Node does, below a millisecond and beyond what fits.
    const delay = ms >= 1 && ms < 2 ** 31 ? Math.trunc(ms) : 1;
    const again = (): void => {
      if (isRepeated) this.#timer = world?.after(delay, again);
      run();
    };
    this.#timer = world?.after(delay, again);
  }

  cancel(): void {
    this.#timer?.cancel();
  }

  ref(): this {
    return this;
  }

  unref(): this {
    this.#timer?.unref();
    return this;
  }

  hasRef(): boolean {
    return true;
  }

  [Symbol.dispose](): void {
    this.cancel();
  }
}

type Callback = (...args: unknown[]) => void;

function cancel(timer: unknown): void {
  if (timer instanceof VirtualTimer || isTimer(timer)) timer.cancel();
}

function isTimer(timer: unknown): timer is Timer {
  return timer !== null && typeof timer === 'object' && 'cancel' in timer;
}

class VirtualDate extends real.Date {
  constructor(...args: unknown[]) {
    if (args.length === 0) super(VirtualDate.now());
    else super(...(args as [number]));
  }

  static override now(): number {
    return world === undefined ? real.Date.now() : EPOCH_MS + Math.floor(world.nowMs);
  }
}

function uuid(): `${string}-${string}-${string}-${string}-${string}` {
  const hex = Array.from({ length: 8 }, () => (random?.int(0x10000) ?? 0).toString(16).padStart(4, '0')).join('');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20)}`;
}

function install(): void {
  Object.assign(globalThis, {
    setTimeout: (run: Callback, ms = 0, ...args: unknown[]) => new VirtualTimer(ms, () => run(...args), false),
    clearTimeout: cancel,
    setInterval: (run: Callback, ms = 0, ...args: unknown[]) => new VirtualTimer(ms, () => run(...args), true),
    clearInterval: cancel,
    setImmediate: (run: Callback, ...args: unknown[]) => world?.after(0, () => run(...args)),
    clearImmediate: cancel,
    Date: VirtualDate,
    AbortController: VirtualAbortController,
  });
  performance.now = () => world?.nowMs ?? 0;
  Math.random = () => random?.next() ?? 0;
  AbortSignal.timeout = (ms) => {
    const controller = new AbortController();
    const reason = new DOMException('The operation was aborted due to timeout', 'TimeoutError');
    world?.after(ms, () => controller.abort(reason)).unref();
    return controller.signal;
  };
  crypto.randomUUID = uuid;
  // What is read of the system: the ids of the kernel and of the process namespace.
  Object.assign(fs, {
    readFile: () => Promise.resolve(`kernel of ${world?.current.name ?? ''}`),
    readlink: () => Promise.resolve('namespace'),
  });
  syncBuiltinESMExports();
}

function uninstall(): void {
  Object.assign(globalThis, {
    setTimeout: real.setTimeout,
    clearTimeout: real.clearTimeout,
    setInterval: real.setInterval,
    clearInterval: real.clearInterval,
    setImmediate: real.setImmediate,
    clearImmediate: real.clearImmediate,
    Date: real.Date,
    AbortController: real.AbortController,
  });
  performance.now = real.performanceNow;
  Math.random = real.mathRandom;
  AbortSignal.timeout = real.abortAfter;
  crypto.randomUUID = real.randomUUID;
  Object.assign(fs, { readFile: real.readFile, readlink: real.readlink });
  syncBuiltinESMExports();
}
