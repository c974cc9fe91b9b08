import type { Timestamp } from '../cluster/bson.js';
import { type RecheckRecord, recheckKey, type VerificationState } from '../metadata/verification-store.js';
import type { DirtyIds } from './dirty-set.js';

/** Times a document must differ, with no change of it in between, until it counts as a mismatch. */
const CONFIRMED_AFTER = 3;

interface Entry extends RecheckRecord {
  /** Comparisons in a row that found it differing while nothing changed it. */
  readonly times: number;
  /** The source's time when it was compared last: the next comparison counts once the stream has been read up to it. */
  readonly seenAt: Timestamp | undefined;
}

/**
 * Documents that were found differing and are compared again: most are only ahead or behind by a moment. What stays is
 * stored before the streams' positions are, so that a restart forgets none.
 */
export class RecheckQueue {
  readonly #store: VerificationState;
  readonly #entries = new Map<string, Map<string, Entry>>();
  readonly #stored = new Set<string>();
  readonly #unstored = new Set<string>();
  #size = 0;

  constructor(store: VerificationState) {
    this.#store = store;
  }

  get size(): number {
    return this.#size;
  }

  /** What an earlier process left. */
  async load(signal: AbortSignal): Promise<void> {
    for await (const record of this.#store.loadRechecks(signal)) {
      this.#put({ ...record, times: 0, seenAt: undefined });
      this.#stored.add(recheckKey(record));
    }
  }

  /** All documents in it, by collection. */
  ids(): DirtyIds {
    return new Map([...this.#entries].map(([collection, entries]) => [collection, idsOf(entries)]));
  }

  /**
   * Notes one collection's comparison. `compared`: all that were; `differing`: those that differ; `changed`: those that a
   * change stream has named since the last comparison; `readUpTo`: how far the source's stream has been read; `now`: the
   * source's time. Resolves with the documents that are mismatches by now; they are in the queue no longer.
   */
  note(
    collection: string,
    outcome: {
      readonly compared: ReadonlyMap<string, Buffer>;
      readonly differing: readonly Buffer[];
      readonly changed: ReadonlyMap<string, Buffer>;
      readonly readUpTo: Timestamp | undefined;
      readonly now: Timestamp | undefined;
    },
  ): Buffer[] {
    const confirmed: Buffer[] = [];
    const differing = new Map(outcome.differing.map((id) => [id.toString('latin1'), id]));
    for (const [key, id] of outcome.compared) if (!differing.has(key)) this.#remove(collection, key, id);
    for (const [key, id] of differing) {
      const earlier = this.#entries.get(collection)?.get(key);
      const counts =
        earlier?.seenAt !== undefined &&
        !outcome.changed.has(key) &&
        outcome.readUpTo?.greaterThanOrEqual(earlier.seenAt) === true;
      const times = outcome.changed.has(key) ? 0 : (earlier?.times ?? 0) + (counts ? 1 : 0);
      if (times >= CONFIRMED_AFTER) {
        confirmed.push(id);
        this.#remove(collection, key, id);
      } else this.#put({ collection, id, times, seenAt: outcome.now });
    }
    return confirmed;
  }

  /** Adds documents, e.g. those that a range's comparison could not pair. */
  add(collection: string, ids: readonly Buffer[]): void {
    for (const id of ids) this.#put({ collection, id, times: 0, seenAt: undefined });
  }

  /** Forgets a collection that was dropped. */
  forget(collection: string): void {
    for (const [key, entry] of this.#entries.get(collection) ?? []) this.#remove(collection, key, entry.id);
  }

  /** Stores what is in it now; call before the positions that rely on it are stored. */
  async store(signal: AbortSignal): Promise<void> {
    const records: Entry[] = [];
    for (const entries of this.#entries.values()) {
      for (const entry of entries.values()) if (!this.#stored.has(recheckKey(entry))) records.push(entry);
    }
    if (records.length > 0) await this.#store.putRechecks(records, signal);
    for (const each of records) this.#stored.add(recheckKey(each));
    const gone = [...this.#unstored];
    this.#unstored.clear();
    await this.#store.deleteRechecks(gone, signal);
  }

  #put(entry: Entry): void {
    const entries = this.#entries.get(entry.collection) ?? new Map<string, Entry>();
    this.#entries.set(entry.collection, entries);
    const key = entry.id.toString('latin1');
    if (!entries.has(key)) {
      this.#size++;
      const name = recheckKey(entry);
      if (this.#unstored.delete(name)) this.#stored.add(name);
    }
    entries.set(key, entry);
  }

  #remove(collection: string, key: string, id: Buffer): void {
    const entries = this.#entries.get(collection);
    if (entries?.delete(key) !== true) return;
    this.#size--;
    if (entries.size === 0) this.#entries.delete(collection);
    const name = recheckKey({ collection, id });
    if (this.#stored.delete(name)) this.#unstored.add(name);
  }
}

function idsOf(entries: ReadonlyMap<string, Entry>): Map<string, Buffer> {
  return new Map([...entries].map(([key, entry]) => [key, entry.id]));
}
