/** Holds the migration's record in memory: the only way in which a running migration changes its stored record. */
import { InvariantError } from '../errors.js';
import { SerialQueue } from '../lib/serial-queue.js';
import { checkedRecord } from './record-rules.js';
import type { MigrationRecord } from './records.js';
import type { MetadataStore, RecordChanges } from './store.js';

/**
 * The record with its copy in memory. A change is checked (does the state have these fields?), stored, then published to
 * whoever reads `value`, in that order and one at a time: what cannot be stored has not happened.
 *
 * After a change that failed, or whose answer was lost, the copy may be behind what is stored, also when another one goes
 * through after it: `isCertain` says so, and `refresh` reads.
 * Everything else that is stored of the record goes through here, so the copy is never behind otherwise.
 */
export class StoredRecord {
  readonly #store: MetadataStore;
  /** What is stored last must be what is remembered. */
  readonly #queue = new SerialQueue();
  #value: MigrationRecord;
  #isCertain = true;

  constructor(store: MetadataStore, value: MigrationRecord) {
    this.#store = store;
    this.#value = value;
  }

  get value(): MigrationRecord {
    return this.#value;
  }

  /** False while it is not known of a change whether it is stored. */
  get isCertain(): boolean {
    return this.#isCertain;
  }

  /** Stores it as a new one. */
  create(signal: AbortSignal): Promise<void> {
    return this.#queue.run(() => this.#store.createMigration(this.#value, signal));
  }

  /** Sets fields; `undefined` removes one. Errors: InvariantError when the state has no such fields; the store's. */
  update(changes: RecordChanges, signal: AbortSignal): Promise<void> {
    return this.#queue.run(async () => {
      const fields = Object.entries({ ...this.#value, ...changes }).filter(([, value]) => value !== undefined);
      const next = checkedRecord(
        Object.fromEntries(fields),
        (fault) => new InvariantError(`the record would not be valid: ${fault}`),
      );
      const wasCertain = this.#isCertain;
      this.#isCertain = false;
      await this.#store.updateMigration(changes, signal);
      this.#value = next;
      // What an earlier change may have stored is not among it.
      this.#isCertain = wasCertain;
    });
  }

  /** Reads it again. Errors: Internal when it is gone. */
  refresh(signal: AbortSignal): Promise<void> {
    return this.#queue.run(async () => {
      const stored = await this.#store.loadMigration(signal);
      if (stored === undefined) throw new InvariantError('the record of the running migration is gone');
      this.#value = stored;
      this.#isCertain = true;
    });
  }
}
