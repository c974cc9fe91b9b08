/** Helps with AbortSignals: linked controllers, sleeps, and races that leave no listener behind. */
import { setMaxListeners } from 'node:events';

/** A child of a longer-lived signal; stays linked until disposed. */
export interface LinkedAbort {
  /** Aborts when a parent does, or when `abort` is called. */
  readonly signal: AbortSignal;
  /** Aborts the child only. */
  abort(reason?: unknown): void;
  /** Unlinks from the parents without aborting; call it when the run or phase is done. Repeatable. */
  dispose(): void;
  [Symbol.dispose](): void;
}

/**
 * A controller that aborts with `parent`, or with `other`, and can be aborted alone. Unlike `AbortSignal.any`, it leaves no listener on
 * a parent once disposed (nodejs/node#55351), so a process-long signal may have any number of children, one after
 * the other.
 */
export function linkAbort(parent: AbortSignal, other?: AbortSignal): LinkedAbort {
  const controller = new AbortController();
  const parents = other === undefined ? [parent] : [parent, other];
  // As many as there are calls and pieces of work at one time, which is no leak.
  setMaxListeners(0, ...parents, controller.signal);
  const onParent = (): void => controller.abort(parents.find(({ aborted: has }) => has)?.reason);
  const dispose = (): void => {
    for (const each of parents) each.removeEventListener('abort', onParent);
  };
  if (parents.some(({ aborted: has }) => has)) onParent();
  else for (const each of parents) each.addEventListener('abort', onParent, { once: true });
  return {
    signal: controller.signal,
    abort: (reason) => controller.abort(reason),
    dispose,
    [Symbol.dispose]: dispose,
  };
}

/**
 * Resolves after `ms` milliseconds, or rejects with the signal's reason as soon as it aborts (also when it has
 * already). Leaves neither a timer nor a listener behind.
 */
export function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(asError(signal.reason));
      return;
    }
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(asError(signal.reason));
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    signal.addEventListener('abort', onAbort, { once: true });
  });
}

/**
 * As {@link sleep}, for about `everyMs`. What looks from time to time looks at the same moments so, and wakes an idle
 * process once for all.
 */
export function beat(everyMs: number, signal: AbortSignal): Promise<void> {
  return sleep(msToBeat(everyMs, performance.now()), signal);
}

/** Milliseconds until the next multiple of `everyMs` that is at least half of it away. */
export function msToBeat(everyMs: number, nowMs: number): number {
  return Math.ceil(Math.round((nowMs + everyMs) / everyMs) * everyMs - nowMs);
}

/** Resolves when `signal` aborts; at once if it has. Never rejects. */
export function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}

/** Rejects with the signal's reason when it aborts, at once if it has; for races with work that takes no signal. */
export function rejectOnAbort(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(asError(signal.reason));
    else signal.addEventListener('abort', () => reject(asError(signal.reason)), { once: true });
  });
}

/** What `work` comes to, or the signal's reason as soon as it aborts: `work` itself goes on, and its end is ignored. */
export function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(asError(signal.reason));
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

/** As {@link unlessAborted}, but undefined as soon as `signal` aborts. */
export async function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  return unlessAborted(work, signal).catch((error: unknown) => {
    if (signal.aborted) return undefined;
    throw error;
  });
}

/**
 * Waits for `work` at most `ms` milliseconds: true when it settled in time (its value or rejection is the caller's to
 * read from `work`), false when the time is over. Neither cancels `work` nor throws its error.
 */
export async function settlesWithin(work: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const timeUp = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), ms);
  });
  const settled = work.then(
    () => true,
    () => true,
  );
  try {
    return await Promise.race([settled, timeUp]);
  } finally {
    clearTimeout(timer);
  }
}

function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error(`aborted: ${String(reason)}`);
}
