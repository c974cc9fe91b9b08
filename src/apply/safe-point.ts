import type { Timestamp } from '../cluster/bson.js';
import { type Token, tokenTime } from '../cluster/position.js';
import { metrics } from '../metrics.js';

/** A point up to which everything is on the destination. */
export interface SafePosition {
  readonly token: Token;
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
    const applied = position.eventsApplied - (this.#position?.eventsApplied ?? position.eventsApplied);
    if (applied > 0) metrics.eventsApplied.add(applied, { kind: 'crud' });
    this.#position = position;
    for (const wake of [...this.#listeners]) wake();
  }

  /** Resolves once everything up to `time` is on the destination. */
  async reached(time: Timestamp, signal: AbortSignal): Promise<void> {
    while (this.#position === undefined || tokenTime(this.#position.token).lessThan(time)) await this.#moved(signal);
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
