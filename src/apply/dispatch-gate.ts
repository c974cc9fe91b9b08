/**
 * Holds dispatching back, between two batches, while something must not happen beside it. Who holds it waits for the
 * batch that is being dispatched; what that batch has put on the lanes may still be under way.
 */
export class DispatchGate {
  #held: { readonly released: Promise<void>; readonly release: () => void } | undefined;
  #dispatching = false;
  #idle: (() => void)[] = [];

  /** Dispatches a batch once nobody holds the gate. One at a time, from one reader. */
  async pass(dispatch: () => Promise<void>): Promise<void> {
    while (this.#held !== undefined) await this.#held.released;
    this.#dispatching = true;
    try {
      await dispatch();
    } finally {
      this.#dispatching = false;
      for (const wake of this.#idle.splice(0)) wake();
    }
  }

  /** Runs `work` while nothing is dispatched. Those who hold it take turns. */
  async whileClosed<T>(work: () => Promise<T>): Promise<T> {
    while (this.#held !== undefined) await this.#held.released;
    let release: () => void = () => undefined;
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    this.#held = { released, release };
    try {
      if (this.#dispatching) await new Promise<void>((resolve) => this.#idle.push(resolve));
      return await work();
    } finally {
      this.#held = undefined;
      release();
    }
  }
}
