/** Shares a deadline between threads: one thread sets it, others read it without asking. */

/** No moment: nothing is certain yet, or any more. */
const NEVER = 0n;
/** Nothing will ever be certain again. */
const OVER = -1n;

/**
 * Lives in shared memory, so that a reader sees a change at once, however busy either thread is. By the clock of
 * `process.hrtime`, which all threads of a process share and which never goes back: `performance.now()` counts from each
 * thread's own beginning, and `performance.timeOrigin` is wall-clock time, which may have jumped between two beginnings.
 */
export class SharedDeadline {
  readonly #cell: BigInt64Array;

  /** Without a buffer: a new one, with nothing certain yet. With one of another thread's: the same deadline. */
  constructor(buffer: SharedArrayBuffer = new SharedArrayBuffer(BigInt64Array.BYTES_PER_ELEMENT)) {
    this.#cell = new BigInt64Array(buffer);
  }

  /** For the other threads. */
  get buffer(): SharedArrayBuffer {
    return this.#cell.buffer as SharedArrayBuffer;
  }

  /** Whether `end` was called: for good. */
  get isOver(): boolean {
    return this.#value === OVER;
  }

  /** For how many milliseconds from now it is certain; 0 or less: it is not. */
  get leftMs(): number {
    const value = this.#value;
    return value <= NEVER ? 0 : Number(value - process.hrtime.bigint()) / 1e6;
  }

  /**
   * It is certain for as many milliseconds as `leftMs` tells, 0 or less: it is not. A function, called after the clock
   * was read: what happens in between makes the deadline earlier, never later.
   */
  set(leftMs: () => number): void {
    if (this.isOver) return;
    const now = process.hrtime.bigint();
    const left = leftMs();
    Atomics.store(this.#cell, 0, left > 0 ? now + BigInt(Math.floor(left * 1e6)) : NEVER);
  }

  /** Nothing is certain from now on, for good. */
  end(): void {
    Atomics.store(this.#cell, 0, OVER);
  }

  get #value(): bigint {
    return Atomics.load(this.#cell, 0);
  }
}
