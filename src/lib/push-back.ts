/** Tells when a bounded queue has kept its writers waiting for seconds, and when it no longer does. */
import { type Clock, systemClock } from './clock.js';
import type { Logger } from './logger.js';

/** From how long on a full queue is told of, and after how long without a waiting writer it is taken to have room. */
const TELL_MS = 5000;
const QUIET_MS = 1000;

/** Whom a queue tells. */
export interface PushBackOptions {
  /** For people, e.g. "change events to apply". */
  readonly queue: string;
  readonly logger: Logger;
  /** How long each writer has waited, in milliseconds. */
  readonly onWaited: (ms: number) => void;
  /** It is told of now. */
  readonly onFull: () => void;
  /** For tests. */
  readonly clock?: Clock;
}

/**
 * A queue at its limit holds up whoever fills it: that is what bounds the memory, and for moments it is nothing. For
 * seconds it says that the other end is the slower one, which an operator wants to know. A busy queue lets writers in one
 * by one, so it counts as full until nobody has waited for a second.
 */
export class PushBack {
  readonly #options: PushBackOptions;
  readonly #clock: Clock;
  #waiting = 0;
  #sinceMs = 0;
  #quietSinceMs = 0;
  #isTold = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: PushBackOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  /** Resolves or rejects as `wait`, which lasts until the queue has room. */
  async during<T>(wait: Promise<T>): Promise<T> {
    const beganMs = this.#clock.monotonicMs();
    if (this.#timer === undefined) {
      this.#sinceMs = beganMs;
      this.#timer = setInterval(() => this.look(), QUIET_MS).unref();
    }
    this.#waiting++;
    try {
      return await wait;
    } finally {
      this.#waiting--;
      this.#quietSinceMs = this.#clock.monotonicMs();
      this.#options.onWaited(this.#quietSinceMs - beganMs);
    }
  }

  /** Called every second while writers wait; by itself in tests. */
  look(): void {
    const { queue, logger, onFull } = this.#options;
    const now = this.#clock.monotonicMs();
    if (this.#waiting === 0 && now - this.#quietSinceMs >= QUIET_MS) {
      clearInterval(this.#timer);
      this.#timer = undefined;
      if (this.#isTold)
        logger.info('A queue has room again', { queue, seconds: secondsOf(this.#quietSinceMs - this.#sinceMs) });
      this.#isTold = false;
      return;
    }
    if (this.#isTold || now - this.#sinceMs < TELL_MS) return;
    this.#isTold = true;
    onFull();
    logger.info('A queue has been full for several seconds, and its writers wait', { queue });
  }
}

function secondsOf(ms: number): number {
  return Math.round(ms / 100) / 10;
}
