/** Watches the coordinator for an instance that helps: what it tells, whether it lives, and where the migration is. */
import { AppError } from '../errors.js';
import { fromPlainText } from '../lib/plain-text.js';
import type { MigrationRecord } from '../metadata/records.js';
import type { Roles } from '../start/held-migration.js';
import { STATUS, TASKS } from './records.js';

const LEASE_LOOK_MS = 500;
const STATUS_MS = 1000;
const RECORD_MS = 2000;

/** What a look has found: the migration's lease is this instance's now, or the migration is elsewhere, or gone. */
export type Sighting = 'taken' | 'moved';

/** Looks at the coordinator from time to time. */
export class CoordinatorWatch {
  /** With the migration's lease, once it is free. */
  readonly #next: Roles;
  readonly #onChange: () => void;
  readonly #dueMs = new Map<string, number>();
  #record: MigrationRecord;
  #status: { readonly value: unknown; readonly text: string; readonly sinceMs: number } | undefined;

  /** `record`: as the migration was found. */
  constructor(next: Roles, record: MigrationRecord, onChange: () => void) {
    this.#next = next;
    this.#record = record;
    this.#onChange = onChange;
  }

  /** As it was last read. */
  get record(): MigrationRecord {
    return this.#record;
  }

  /** What the coordinator told last, and how many milliseconds ago that was new; undefined before. */
  get status(): { readonly value: unknown; readonly ageMs: number } | undefined {
    return this.#status && { value: this.#status.value, ageMs: performance.now() - this.#status.sinceMs };
  }

  /** Looks at what is due; `takes`: takes the migration's lease if it is free. Errors: MigrationFailed. */
  async look(takes: boolean, signal: AbortSignal): Promise<Sighting | undefined> {
    if (this.#isDue('status', STATUS_MS)) await this.#readStatus(signal);
    if (this.#isDue('record', RECORD_MS) && !(await this.isHere(signal))) return 'moved';
    if (!takes || !this.#isDue('lease', LEASE_LOOK_MS)) return undefined;
    return (await this.#next.lease.takeIfFree(signal)) ? 'taken' : undefined;
  }

  /** Reads the record. Resolves to whether the migration is still here. Errors: MigrationFailed. */
  async isHere(signal: AbortSignal): Promise<boolean> {
    const record = await this.#next.store.loadMigration(signal);
    if (record === undefined || record.moved === true || record.starting === true) return false;
    this.#record = record;
    if (record.failure === undefined) return true;
    throw new AppError('MigrationFailed', `the migration has failed: ${record.failure.description}`);
  }

  async #readStatus(signal: AbortSignal): Promise<void> {
    const [doc] = await this.#next.store.readAll(TASKS, { _id: STATUS }, signal);
    const text = doc === undefined ? undefined : `${String(doc['at'])} ${String(doc['text'])}`;
    if (doc === undefined || text === undefined || text === this.#status?.text) return;
    this.#status = { value: fromPlainText(String(doc['text'])), text, sinceMs: performance.now() };
    this.#onChange();
  }

  #isDue(what: string, everyMs: number): boolean {
    const now = performance.now();
    if (now < (this.#dueMs.get(what) ?? 0)) return false;
    this.#dueMs.set(what, now + everyMs);
    return true;
  }
}
