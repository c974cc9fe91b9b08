/** Runs pieces of work beside each other, so that none outlives the others' failure. */
import { linkAbort } from './signals.js';

/** A piece of work that ends early when its signal aborts. */
export type Task<T> = (signal: AbortSignal) => Promise<T>;

/**
 * Runs `main` with `companions` beside it, and stops the companions once it has ended; resolves with its value after
 * all of them have stopped. When any of them fails first, all stop and that failure is the result: never one of the
 * aborts it caused. A companion that resolves is done, and ends nothing.
 */
export async function runWith<T>(main: Task<T>, companions: readonly Task<unknown>[], signal: AbortSignal): Promise<T> {
  const link = linkAbort(signal);
  let failure: { readonly cause: unknown } | undefined;
  let ended = false;
  const guarded = async <V>(task: Task<V>): Promise<V | undefined> => {
    try {
      return await task(link.signal);
    } catch (cause) {
      if (!ended) failure ??= { cause };
      ended = true;
      link.abort(cause);
      return undefined;
    }
  };
  try {
    const others = companions.map((task) => guarded(task));
    const value = await guarded(async (inner) => {
      const result = await main(inner);
      ended = true;
      return { result };
    });
    link.abort(new Error('the work this belonged to has ended'));
    await Promise.all(others);
    if (failure !== undefined) throw failure.cause;
    signal.throwIfAborted();
    return (value as { result: T }).result;
  } finally {
    link.dispose();
  }
}

/** Waits for all of them, then rejects with the first failure, if any: nothing of them goes on after that. */
export async function awaitAll(work: readonly Promise<unknown>[]): Promise<void> {
  for (const result of await Promise.allSettled(work)) {
    if (result.status === 'rejected') throw result.reason;
  }
}

/**
 * The same promise, which somebody awaits later: until then a rejection would count as unhandled, and end the process.
 */
export function readLater<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}

/** A promise with its ends at hand. */
export interface Deferred<T> {
  readonly promise: Promise<T>;
  resolve(value: T): void;
  reject(reason: unknown): void;
}

/** A deferred whose rejection counts as handled even before anyone waits for it. */
export function deferred<T>(): Deferred<T> {
  let resolve: (value: T) => void = () => undefined;
  let reject: (reason: unknown) => void = () => undefined;
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise: readLater(promise), resolve, reject };
}
