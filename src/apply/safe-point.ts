/** Holds the safe position of the application, and wakes whoever waits for it to reach a time. */
import type { Timestamp } from '../bson/bson.js';
import { hasReached, type ReachedPosition } from '../bson/position.js';

/** A point up to which everything is on the destination. */
export interface SafePosition extends ReachedPosition {
  /** Change events applied up to it, earlier processes included. */
  readonly eventsApplied: number;
}

/** Where the application is safely, and whoever waits for it to get somewhere. */
export class SafePoint {
  #position: SafePosition | undefined;
  readonly #listeners = new Set<() => void>();

  get position(): SafePosition | undefined {
    return this.#position;
  }

  /** Moves on; nothing happens without a position. */
  advance(position: SafePosition | undefined): void {
    if (position === undefined) return;
    this.#position = position;
    for (const wake of [...this.#listeners]) wake();
  }

  /** Resolves once everything up to `time` is on the destination. */
  async reached(time: Timestamp, signal: AbortSignal): Promise<void> {
    while (!this.hasReached(time)) await this.#moved(signal);
  }

  /** Whether everything up to `time` is on the destination. */
  hasReached(time: Timestamp): boolean {
    return this.#position !== undefined && hasReached(this.#position, time);
  }

  #moved(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const finish = (): void => {
        this.#listeners.delete(finish);
        signal.removeEventListener('abort', finish);
        if (signal.aborted) reject(signal.reason);
        else resolve();
      };
      this.#listeners.add(finish);
      signal.addEventListener('abort', finish, { once: true });
      if (signal.aborted) finish();
    });
  }
}
