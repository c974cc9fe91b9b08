/** Documents to be compared, by collection; each once. Ids are raw `{_id: …}`. */
export type DirtyIds = Map<string, Map<string, Buffer>>;

/**
 * Collects the documents that change streams name, each once however often it changes, until they are taken to be
 * compared. Bounded: who adds waits while it is full, which holds the readers up, not the memory.
 */
export class DirtySet {
  readonly #limit: number;
  #ids: DirtyIds = new Map();
  #size = 0;
  #waiting: (() => void)[] = [];

  constructor(limit: number) {
    this.#limit = limit;
  }

  get size(): number {
    return this.#size;
  }

  get isFull(): boolean {
    return this.#size >= this.#limit;
  }

  /** Adds without waiting, so that a batch goes in as a whole; wait for `room` before the next one. */
  add(collection: string, id: Buffer): void {
    const ids = this.#ids.get(collection) ?? new Map<string, Buffer>();
    this.#ids.set(collection, ids);
    const key = id.toString('latin1');
    if (ids.has(key)) return;
    // A copy: a slice would keep the whole reply in memory.
    ids.set(key, Buffer.from(id));
    this.#size++;
  }

  async room(signal: AbortSignal): Promise<void> {
    while (this.isFull) {
      signal.throwIfAborted();
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          signal.removeEventListener('abort', wake);
          resolve();
        };
        signal.addEventListener('abort', wake, { once: true });
        this.#waiting.push(wake);
      });
    }
    signal.throwIfAborted();
  }

  /** All of it; the set is empty then. */
  take(): DirtyIds {
    const ids = this.#ids;
    this.#ids = new Map();
    this.#size = 0;
    for (const wake of this.#waiting.splice(0)) wake();
    return ids;
  }
}

/** How many documents. */
export function countIds(ids: DirtyIds): number {
  let count = 0;
  for (const each of ids.values()) count += each.size;
  return count;
}
