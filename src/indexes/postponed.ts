/** Postpones index builds that failed until the changes the source has now are applied. */
import { safeText } from '../cluster/errors.js';
import type { Logger } from '../lib/logger.js';

/**
 * Collections whose builds wait until what the source has now is applied: the index that refuses a document may be one
 * that the source has dropped already, and the event that tells so is still to come.
 */
export class Postponed {
  readonly #ids = new Map<string, number>();
  readonly #onOver: () => void;
  readonly #logger: Logger;

  constructor(onOver: () => void, logger: Logger) {
    this.#onOver = onOver;
    this.#logger = logger;
  }

  has(id: string): boolean {
    return this.#ids.has(id);
  }

  /** Postpones the builds of a collection until `caughtUp` settles, well or not. */
  add(id: string, caughtUp: Promise<void>): void {
    this.#ids.set(id, (this.#ids.get(id) ?? 0) + 1);
    void caughtUp
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
