/** Remembers which collections' index builds wait until the source's changes are applied. */

/**
 * Collections whose builds wait until what the source has now is applied: the index that refuses a document may be one
 * that the source has dropped already, and the event that tells so is still to come. A wait that ends with its run, since
 * nothing is applied during the copy, is taken up by the next run: the build must not be tried before.
 */
export class Postponed {
  /** Waits under way, by collection. */
  readonly #waits = new Map<string, number>();
  /** Collections whose wait has ended without an outcome. */
  readonly #interrupted = new Set<string>();
  readonly #onOver: () => void;

  constructor(onOver: () => void) {
    this.#onOver = onOver;
  }

  has(id: string): boolean {
    return this.#waits.has(id) || this.#interrupted.has(id);
  }

  /** Postpones the builds of a collection until `caughtUp` resolves; when it rejects, until `takeUp` and a later one. */
  add(id: string, caughtUp: Promise<void>): void {
    this.#waits.set(id, (this.#waits.get(id) ?? 0) + 1);
    void caughtUp.then(
      () => this.#end(id),
      () => {
        this.#interrupted.add(id);
        this.#end(id);
      },
    );
  }

  /** A run has begun: waits that were interrupted are waited for anew. */
  takeUp(caughtUp: () => Promise<void>): void {
    const ids = [...this.#interrupted];
    this.#interrupted.clear();
    for (const id of ids) this.add(id, caughtUp());
  }

  #end(id: string): void {
    const left = (this.#waits.get(id) ?? 1) - 1;
    if (left > 0) this.#waits.set(id, left);
    else this.#waits.delete(id);
    this.#onOver();
  }
}
