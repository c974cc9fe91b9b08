/** Holds the documents that change streams have named and that wait to be compared. */
import type { PushBack } from '../lib/push-back.js';
import { idKey } from '../matching/id-key.js';

/** Documents to be compared, by collection; each once, under its `idKey`. Ids are raw `{_id: …}`. */
export type DirtyIds = Map<string, Map<string, Buffer>>;

/** How much may wait in memory. */
export interface IdLimits {
  readonly documents: number;
  /** Of their ids. */
  readonly bytes: number;
}

/**
 * Collects the documents that change streams name, each once however often it changes, until they are taken to be
 * compared. Bounded: who adds waits while it is full, which holds the readers up, not the memory.
 */
export class DirtySet {
  readonly #limits: IdLimits;
  readonly #pushBack: PushBack | undefined;
  #ids: DirtyIds = new Map();
  #size = 0;
  #bytes = 0;
  #waiting: (() => void)[] = [];

  constructor(limits: IdLimits, pushBack?: PushBack) {
    this.#limits = limits;
    this.#pushBack = pushBack;
  }

  get size(): number {
    return this.#size;
  }

  get isFull(): boolean {
    return this.#size >= this.#limits.documents || this.#bytes >= this.#limits.bytes;
  }

  /** Adds without waiting, so that a batch goes in as a whole; wait for `room` before the next one. */
  add(collection: string, id: Buffer): void {
    const ids = this.#ids.get(collection) ?? new Map<string, Buffer>();
    this.#ids.set(collection, ids);
    const key = idKey(id);
    if (ids.has(key)) return;
    // A copy: a slice would keep the whole reply in memory.
    ids.set(key, Buffer.from(id));
    this.#size++;
    this.#bytes += id.length;
  }

  async room(signal: AbortSignal): Promise<void> {
    while (this.isFull) {
      signal.throwIfAborted();
      const room = new Promise<void>((resolve) => {
        const wake = (): void => {
          signal.removeEventListener('abort', wake);
          resolve();
        };
        signal.addEventListener('abort', wake, { once: true });
        this.#waiting.push(wake);
      });
      await (this.#pushBack?.during(room) ?? room);
    }
    signal.throwIfAborted();
  }

  /** All of it; the set is empty then. */
  take(): DirtyIds {
    const ids = this.#ids;
    this.#ids = new Map();
    this.#size = 0;
    this.#bytes = 0;
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

/** Both together. */
export function mergedIds(a: DirtyIds, b: DirtyIds): DirtyIds {
  const result: DirtyIds = new Map([...a].map(([collection, ids]) => [collection, new Map(ids)]));
  for (const [collection, ids] of b) addIds(result, collection, ids);
  return result;
}

/** Adds documents of one collection. */
export function addIds(to: DirtyIds, collection: string, ids: ReadonlyMap<string, Buffer>): void {
  const own = to.get(collection) ?? new Map<string, Buffer>();
  to.set(collection, own);
  for (const [key, id] of ids) own.set(key, id);
}
