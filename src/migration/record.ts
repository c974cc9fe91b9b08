import { InvariantError } from '../errors.js';
import type { MigrationRecord } from '../metadata/records.js';
import type { MetadataStore } from '../metadata/store.js';

/** The migration's record with its copy in memory, which follows only what has been stored. */
export class StoredRecord {
  readonly store: MetadataStore;
  #value: MigrationRecord;

  constructor(store: MetadataStore, value: MigrationRecord) {
    this.store = store;
    this.#value = value;
  }

  get value(): MigrationRecord {
    return this.#value;
  }

  async update(changes: Partial<Omit<MigrationRecord, 'options'>>, signal: AbortSignal): Promise<void> {
    await this.store.updateMigration(changes, signal);
    this.#value = { ...this.#value, ...changes };
  }

  /** Reads it again, after others (the commit's steps) have written it. */
  async refresh(signal: AbortSignal): Promise<void> {
    const stored = await this.store.loadMigration(signal);
    if (stored === undefined) throw new InvariantError('the record of the running migration is gone');
    this.#value = stored;
  }
}
