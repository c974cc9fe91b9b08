import { safeText } from '../cluster/errors.js';
import type { Logger } from '../lib/logger.js';

/**
 * Collections whose builds wait until what the source has now is applied: the index that refuses a document may be one
 * that the source has dropped already, and the event that tells so is still to come.
 */
export class Postponed {
  readonly #ids = new Map<string, number>();
  readonly #caughtUp: (signal: AbortSignal) => Promise<void>;
  readonly #onOver: () => void;
  readonly #logger: Logger;

  constructor(caughtUp: (signal: AbortSignal) => Promise<void>, onOver: () => void, logger: Logger) {
    this.#caughtUp = caughtUp;
    this.#onOver = onOver;
    this.#logger = logger;
  }

  has(id: string): boolean {
    return this.#ids.has(id);
  }

  add(id: string, signal: AbortSignal): void {
    this.#ids.set(id, (this.#ids.get(id) ?? 0) + 1);
    void this.#caughtUp(signal)
      .catch((error: unknown) => this.#logger.debug(`Indexes are built without waiting: ${safeText(error)}`))
      .finally(() => this.#remove(id));
  }

  #remove(id: string): void {
    const left = (this.#ids.get(id) ?? 1) - 1;
    if (left > 0) this.#ids.set(id, left);
    else this.#ids.delete(id);
    this.#onOver();
  }
}
