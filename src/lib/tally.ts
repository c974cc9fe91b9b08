/** Sums up numbers of which there are many, for somebody who takes them one by one. */

/**
 * Two sums that are told as they grow, one telling at a time: whatever is added meanwhile goes with the next one. So there
 * is never more than one on its way, however often something is added.
 */
export class Tally {
  readonly #tell: (first: number, second: number) => Promise<void>;
  #sums: readonly [number, number] = [0, 0];
  #telling: Promise<void> | undefined;
  #failure: { readonly cause: unknown } | undefined;

  constructor(tell: (first: number, second: number) => Promise<void>) {
    this.#tell = tell;
  }

  add(first: number, second: number): void {
    this.#sums = [this.#sums[0] + first, this.#sums[1] + second];
    this.#telling ??= this.#tellAll();
  }

  /** Resolves once all that was added before is told. Errors: those of telling. */
  async flush(): Promise<void> {
    await this.#telling;
    if (this.#failure !== undefined) throw this.#failure.cause;
  }

  /** Never rejects. */
  async #tellAll(): Promise<void> {
    try {
      // What is added in the same turn goes together.
      await Promise.resolve();
      while (this.#sums[0] !== 0 || this.#sums[1] !== 0) {
        const [first, second] = this.#sums;
        this.#sums = [0, 0];
        await this.#tell(first, second);
      }
    } catch (cause) {
      this.#failure ??= { cause };
    } finally {
      this.#telling = undefined;
    }
  }
}
