/** Bounds work: so many pieces at a time, or so many bytes in memory. */
import type { PushBack } from './push-back.js';
import { SerialQueue } from './serial-queue.js';
import { linkAbort } from './signals.js';

/** A limit that may change while the work goes on; at least 1. */
export type ChangingLimit = () => number;

/** How often a limit that may change is looked at. */
const GROW_MS = 200;

/**
 * Runs `fn` on every item, at most `limit` at a time, in the order of `items`; resolves with the results in that order.
 *
 * On the first failure the siblings' signal aborts, no further item starts, and once all running ones have settled the
 * promise rejects with that first failure: never with the aborts it caused. When `signal` aborts first, it rejects with
 * the signal's reason.
 */
export async function mapLimit<T, R>(
  items: Iterable<T> | AsyncIterable<T>,
  limit: number | ChangingLimit,
  fn: (item: T, signal: AbortSignal, index: number) => Promise<R>,
  signal: AbortSignal,
): Promise<R[]> {
  const limitNow = typeof limit === 'number' ? (): number => limit : limit;
  if (!Number.isInteger(limitNow()) || limitNow() < 1)
    throw new RangeError(`limit must be a whole number of at least 1, not ${limitNow()}`);
  const source = pullOneAtATime(items);
  const results: R[] = [];
  const link = linkAbort(signal);
  let failure: { readonly cause: unknown } | undefined;
  let running = 0;
  const worker = async (): Promise<void> => {
    try {
      while (running <= limitNow()) {
        link.signal.throwIfAborted();
        const next = await source.next();
        if (next === undefined) return;
        results[next.index] = await fn(next.item, link.signal, next.index);
      }
    } catch (cause) {
      failure ??= { cause };
      link.abort(cause);
    } finally {
      running--;
    }
  };
  const workers: Promise<void>[] = [];
  const grow = (): void => {
    while (running < limitNow() && !source.finished && failure === undefined) {
      running++;
      workers.push(worker());
    }
  };
  const timer = typeof limit === 'number' ? undefined : setInterval(grow, GROW_MS);
  try {
    grow();
    // More may come while these are waited for.
    for (let index = 0; index < workers.length; index++) await workers[index];
  } finally {
    clearInterval(timer);
    link.dispose();
    await source.close();
  }
  if (failure !== undefined) throw failure.cause;
  return results;
}

interface Pull<T> {
  /** Whether all items were taken. */
  readonly finished: boolean;
  next(): Promise<{ readonly item: T; readonly index: number } | undefined>;
  close(): Promise<void>;
}

/** One shared cursor for all workers: an async generator must not be asked again before it has answered. */
function pullOneAtATime<T>(items: Iterable<T> | AsyncIterable<T>): Pull<T> {
  const iterator = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
  const queue = new SerialQueue();
  let index = 0;
  let finished = false;
  const pull = async (): Promise<{ item: T; index: number } | undefined> => {
    if (finished) return undefined;
    const result = await iterator.next();
    if (result.done === true) {
      finished = true;
      return undefined;
    }
    return { item: result.value, index: index++ };
  };
  return {
    get finished() {
      return finished;
    },
    next: () => queue.run(pull),
    async close() {
      if (!finished) await iterator.return?.();
    },
  };
}

interface Waiter {
  readonly bytes: number;
  admit(): void;
}

/**
 * Bounds what may be held in memory, in bytes. First come, first served; an item larger than the whole limit goes in
 * when nothing else is held, so that it can never wait for ever.
 */
export class ByteBudget {
  readonly #limitBytes: number;
  readonly #waiters: Waiter[] = [];
  readonly #pushBack: PushBack | undefined;
  #heldBytes = 0;

  /** Precondition: `limitBytes` is positive. */
  constructor(limitBytes: number, pushBack?: PushBack) {
    if (!(limitBytes > 0)) throw new RangeError(`a byte budget must be positive, not ${limitBytes}`);
    this.#limitBytes = limitBytes;
    this.#pushBack = pushBack;
  }

  /** Bytes acquired and not yet released. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** Waits for room. Rejects with the signal's reason once it aborts; nothing is held then. */
  async acquire(bytes: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#waiters.length === 0 && this.#hasRoom(bytes)) {
      this.#heldBytes += bytes;
      return;
    }
    const room = this.#wait(bytes, signal);
    await (this.#pushBack?.during(room) ?? room);
  }

  /** Gives back what `acquire` took. Errors: RangeError when more is released than is held. */
  release(bytes: number): void {
    if (bytes > this.#heldBytes) throw new RangeError(`released ${bytes} bytes of ${this.#heldBytes} held`);
    this.#heldBytes -= bytes;
    this.#admitWaiters();
  }

  #hasRoom(bytes: number): boolean {
    return this.#heldBytes === 0 || this.#heldBytes + bytes <= this.#limitBytes;
  }

  #wait(bytes: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
        reject(signal.reason);
        this.#admitWaiters();
      };
      const waiter: Waiter = {
        bytes,
        admit: () => {
          signal.removeEventListener('abort', onAbort);
          this.#heldBytes += bytes;
          resolve();
        },
      };
      this.#waiters.push(waiter);
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }

  #admitWaiters(): void {
    for (let first = this.#waiters[0]; first !== undefined && this.#hasRoom(first.bytes); first = this.#waiters[0]) {
      this.#waiters.shift();
      first.admit();
    }
  }
}
