/** Sets deadlines to waits in tests. */
import { setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';

/** What {@link within} and {@link eventually} throw when the time is up. `cause` holds the last failure of a polled condition. */
export class DeadlineError extends Error {
  override readonly name = 'DeadlineError';
}

/**
 * Settles as `work` does, or rejects once `ms` milliseconds have passed: uvu has no time-out of its own, so a hung
 * test would hang the whole run. A function is given a signal that aborts at the deadline, for work that can be
 * stopped; a bare promise cannot be, and goes on unobserved.
 *
 * Errors: {@link DeadlineError} naming `what`; otherwise whatever `work` rejects with.
 */
export async function within<T>(
  ms: number,
  work: PromiseLike<T> | ((signal: AbortSignal) => T | PromiseLike<T>),
  what: string,
): Promise<T> {
  const deadline = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const timeUp = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      const error = new DeadlineError(`${what}: not done within ${ms} ms`);
      // Rejected before the abort, so that the race is won by this error and not by the work's own AbortError.
      reject(error);
      deadline.abort(error);
    }, ms);
  });
  try {
    return await Promise.race([typeof work === 'function' ? run(work, deadline.signal) : work, timeUp]);
  } finally {
    clearTimeout(timer);
  }
}

/** Options of {@link eventually}. */
export interface EventuallyOptions {
  /** Pause between two looks, in milliseconds. Default 25. */
  readonly everyMs?: number;
  /** Ends the wait early, with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Calls `condition` until it gives a truthy value, and returns that value. A condition that throws counts as not yet
 * met, since servers refuse commands for a moment during elections and restarts.
 *
 * Units: `ms` is the whole wait in milliseconds, a condition that hangs included.
 * Errors: {@link DeadlineError} naming `what` and the last value seen, or with the last error as its `cause`; the
 * signal's reason once it aborts.
 */
export async function eventually<T>(
  ms: number,
  condition: (signal: AbortSignal) => T | PromiseLike<T>,
  what: string,
  options: EventuallyOptions = {},
): Promise<Truthy<T>> {
  const stop = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
  let last: Look<T> = { kind: 'none' };

  const poll = async (): Promise<Truthy<T>> => {
    for (;;) {
      signal.throwIfAborted();
      last = await look(condition, signal);
      if (last.kind === 'value' && isTruthy(last.value)) return last.value;
      await sleep(options.everyMs ?? 25, undefined, { signal });
    }
  };

  try {
    return await within(ms, poll(), what);
  } catch (error) {
    options.signal?.throwIfAborted();
    if (!(error instanceof DeadlineError)) throw error;
    throw describeLast(error, last);
  } finally {
    stop.abort();
  }
}

/** `T` without the values JavaScript counts as false. */
export type Truthy<T> = Exclude<T, false | 0 | 0n | '' | null | undefined>;

type Look<T> = { kind: 'none' } | { kind: 'value'; value: T } | { kind: 'error'; error: unknown };

async function look<T>(condition: (signal: AbortSignal) => T | PromiseLike<T>, signal: AbortSignal): Promise<Look<T>> {
  try {
    return { kind: 'value', value: await condition(signal) };
  } catch (error) {
    return { kind: 'error', error };
  }
}

function describeLast(error: DeadlineError, last: Look<unknown>): DeadlineError {
  switch (last.kind) {
    case 'none':
      return new DeadlineError(`${error.message}; the first look never came back`);
    case 'value':
      return new DeadlineError(`${error.message}; last seen: ${inspect(last.value, { depth: 5, breakLength: 120 })}`);
    case 'error':
      return new DeadlineError(`${error.message}; last look threw: ${String(last.error)}`, { cause: last.error });
  }
}

function isTruthy<T>(value: T): value is Truthy<T> {
  return Boolean(value);
}

async function run<T>(work: (signal: AbortSignal) => T | PromiseLike<T>, signal: AbortSignal): Promise<T> {
  return await work(signal);
}
