import { InvariantError } from '../errors.js';
import { Turns } from '../lib/turns.js';
import type { MigrationRecord } from '../metadata/records.js';
import type { MetadataStore, RecordChanges } from '../metadata/store.js';

/** The migration's record with its copy in memory, which follows only what has been stored. */
export class StoredRecord {
  readonly store: MetadataStore;
  /** What is stored last must be what is remembered. */
  readonly #turns = new Turns();
  #value: MigrationRecord;

  constructor(store: MetadataStore, value: MigrationRecord) {
    this.store = store;
    this.#value = value;
  }

  get value(): MigrationRecord {
    return this.#value;
  }

  /** Sets fields; `undefined` removes one. */
  update(changes: RecordChanges, signal: AbortSignal): Promise<void> {
    return this.#turns.take(async () => {
      await this.store.updateMigration(changes, signal);
      const next = Object.entries({ ...this.#value, ...changes }).filter(([, value]) => value !== undefined);
      this.#value = Object.fromEntries(next) as unknown as MigrationRecord;
    });
  }

  /** Reads it again, after others (the commit's steps) have written it. */
  refresh(signal: AbortSignal): Promise<void> {
    return this.#turns.take(async () => {
      const stored = await this.store.loadMigration(signal);
      if (stored === undefined) throw new InvariantError('the record of the running migration is gone');
      this.#value = stored;
    });
  }
}
