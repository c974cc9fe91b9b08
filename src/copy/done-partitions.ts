/** Stores which partitions are done, many at a time. */
import { type LinkedAbort, linkAbort } from '../lib/signals.js';
import type { PartitionRecord } from '../metadata/records.js';
import type { MetadataStore } from '../metadata/store.js';

/** Partitions that wait to be stored, at most: their copy is on the destination, but a restart would read them again. */
const MAX_WAITING = 1000;

/**
 * Stores partitions as done while others are copied: what is done during one write goes together with the next. With a
 * write for each, small collections spend more on their marks than on their documents. What a crash finds not stored is
 * copied again, which finds it there.
 */
export class DonePartitions implements AsyncDisposable {
  readonly #store: Pick<MetadataStore, 'savePartitions'>;
  readonly #link: LinkedAbort;
  #waiting: PartitionRecord[] = [];
  #storing: Promise<void> | undefined;
  #failure: { readonly cause: unknown } | undefined;

  /** `signal` ends the storing. */
  constructor(store: Pick<MetadataStore, 'savePartitions'>, signal: AbortSignal) {
    this.#store = store;
    this.#link = linkAbort(signal);
  }

  /** Has a partition stored; waits only where too many are waiting. Errors: those of an earlier write. */
  async add(partition: PartitionRecord): Promise<void> {
    this.#waiting.push(partition);
    this.#storing ??= this.#storeAll();
    if (this.#waiting.length > MAX_WAITING) await this.#storing;
    this.#throwFailure();
  }

  /** Resolves once all that was added is stored. Errors: those of writing. */
  async flush(): Promise<void> {
    await this.#storing;
    this.#throwFailure();
  }

  /** Ends the storing; what is not stored by then is not. Never rejects. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#link.abort(new Error('the copy has ended'));
    await this.#storing;
    this.#link.dispose();
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure.cause;
  }

  /** Never rejects. */
  async #storeAll(): Promise<void> {
    try {
      while (this.#waiting.length > 0) await this.#store.savePartitions(this.#waiting.splice(0), this.#link.signal);
    } catch (cause) {
      this.#failure ??= { cause };
    } finally {
      this.#storing = undefined;
    }
  }
}
