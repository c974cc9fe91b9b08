/** Keeps a verification's state in memory, for comparisons without a migration. */
import { AppError } from '../errors.js';
import {
  type BacklogRecord,
  type MismatchRecord,
  type RecheckRecord,
  recheckKey,
  type StoredMismatch,
  type VerificationRecord,
  type VerificationState,
  type VerifyRange,
} from '../metadata/verification-store.js';

/** Clusters with more differences than this are two different data sets; comparing on would only fill the memory. */
const MAX_MISMATCHES = 100_000;

/**
 * Keeps a verification's state in memory: for a comparison that writes to neither cluster, and begins anew when it is
 * interrupted. Errors: VerificationFailed beyond 100,000 mismatches.
 */
export class MemoryVerificationState implements VerificationState {
  #record: VerificationRecord | undefined;
  readonly #ranges = new Map<string, VerifyRange>();
  readonly #mismatches = new Map<string, StoredMismatch>();
  readonly #backlog = new Map<number, BacklogRecord>();

  async load(): Promise<VerificationRecord | undefined> {
    return this.#record;
  }

  async save(record: VerificationRecord): Promise<void> {
    this.#record = record;
  }

  async loadRanges(): Promise<VerifyRange[]> {
    return [...this.#ranges.values()];
  }

  async saveRanges(ranges: readonly VerifyRange[]): Promise<void> {
    for (const range of ranges) this.#ranges.set(range.id, range);
  }

  async deleteRanges(ids: readonly string[]): Promise<void> {
    for (const id of ids) this.#ranges.delete(id);
  }

  /** Nothing survives the process, so nothing has to be stored besides the queue itself. */
  async *loadRechecks(): AsyncGenerator<RecheckRecord> {
    yield* [];
  }

  async putRechecks(): Promise<void> {
    await Promise.resolve();
  }

  async deleteRechecks(): Promise<void> {
    await Promise.resolve();
  }

  async mismatches(after: string, limit: number): Promise<StoredMismatch[]> {
    const keys = [...this.#mismatches.keys()].filter((key) => key > after).sort();
    return keys.slice(0, limit).flatMap((key) => this.#mismatches.get(key) ?? []);
  }

  /** Errors: VerificationFailed beyond 100,000 mismatches. */
  async putMismatches(records: readonly MismatchRecord[]): Promise<void> {
    for (const record of records) {
      const key = recheckKey(record);
      this.#mismatches.set(key, { ...record, key });
    }
    if (this.#mismatches.size > MAX_MISMATCHES)
      throw new AppError(
        'VerificationFailed',
        `more than ${MAX_MISMATCHES} documents differ; the comparison was ended`,
      );
  }

  async deleteMismatches(keys: readonly string[]): Promise<void> {
    for (const key of keys) this.#mismatches.delete(key);
  }

  async findMismatches(keys: readonly string[]): Promise<StoredMismatch[]> {
    return keys.flatMap((key) => this.#mismatches.get(key) ?? []);
  }

  async firstBacklog(): Promise<BacklogRecord | undefined> {
    const [first] = this.#backlog.values();
    return first;
  }

  async putBacklog(record: BacklogRecord): Promise<void> {
    this.#backlog.set(record.number, record);
  }

  async deleteBacklog(number: number): Promise<void> {
    this.#backlog.delete(number);
  }

  async clear(): Promise<void> {
    this.#record = undefined;
    for (const each of [this.#ranges, this.#mismatches, this.#backlog]) each.clear();
  }
}
