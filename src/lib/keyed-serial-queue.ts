/** Runs pieces of work on the same thing one after the other, and those on different things side by side. */
export class KeyedSerialQueue {
  /** By key: the end of the last piece of work given for it. Keys without work have none. */
  readonly #last = new Map<string, Promise<void>>();

  /** Runs `work` once all that was given before for any of these keys has ended, well or not. Resolves as it does. */
  run<T>(keys: readonly string[], work: () => Promise<T>): Promise<T> {
    const earlier = keys.flatMap((key) => this.#last.get(key) ?? []);
    const turn = Promise.all(earlier).then(work);
    const ended: Promise<void> = turn.then(
      () => this.#forget(keys, ended),
      // Its failure is the caller's to read.
      () => this.#forget(keys, ended),
    );
    for (const key of keys) this.#last.set(key, ended);
    return turn;
  }

  #forget(keys: readonly string[], ended: Promise<void>): void {
    for (const key of keys) if (this.#last.get(key) === ended) this.#last.delete(key);
  }
}
