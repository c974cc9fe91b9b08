/** Decides whether a document that differs is late or wrong, by comparing it again until that is certain. */
import type { Timestamp } from '../bson/bson.js';
import { SerialQueue } from '../lib/serial-queue.js';
import { idKey } from '../matching/id-key.js';
import { type RecheckRecord, recheckKey, type VerificationState } from '../metadata/verification-store.js';
import type { DirtyIds, IdLimits } from './dirty-set.js';

/** Times a document must differ, with no change of it in between, until it counts as a mismatch. */
const CONFIRMED_AFTER = 3;

interface Entry extends RecheckRecord {
  /** Its name in the store. */
  readonly name: string;
  /** Comparisons in a row that found it differing while nothing changed it. */
  times: number;
  /** The source's time when `times` was counted last: the next comparison counts once the stream has been read up to it. */
  seenAt: Timestamp | undefined;
  /** Found by the initial hashing, and not compared since. */
  isNew: boolean;
  /** Expiry explains it, as far as anyone can tell. */
  isPending: boolean;
}

/** What a comparison of some documents of one collection found. Keys are `idKey`s. */
export interface Compared {
  readonly compared: ReadonlyMap<string, Buffer>;
  readonly differing: readonly Buffer[];
  /** Those that a change stream has named since the last comparison. */
  readonly changed: ReadonlyMap<string, Buffer>;
  /** How far the source's stream has been read, all that it named up to there being among the compared by now. */
  readonly readUpTo: Timestamp | undefined;
  /** The source's time. */
  readonly now: Timestamp | undefined;
}

/**
 * Documents that were found differing and that are compared again.
 *
 * The problem: while applications write to the source, a document differs for a moment after each change, until the
 * change is applied. One comparison therefore proves nothing. Waiting a fixed time proves nothing either: a hot
 * document may change more often than that, and differs each time for another, harmless reason.
 *
 * The idea: a difference counts only if nobody changed the document in between. The verifier's own change streams name
 * each document that changes. So a comparison that finds a document differing counts when two things hold: no stream
 * has named the document since the comparison before (`changed`), and the source's stream has been read up to the
 * source's time of that earlier comparison (`readUpTo` against `seenAt`), since an unread event could still name the
 * document. A document that differs in {@link CONFIRMED_AFTER} such comparisons is a mismatch.
 *
 * Example: `_id` 7 differs at source time 100 (`times` 0, `seenAt` 100). At the next comparison the stream has been
 * read up to 90: this one does not count. At the next, up to 120, and nothing named 7: `times` is 1. Then an event
 * names 7: `times` is 0 again. Three comparisons later without an event: a mismatch.
 *
 * Expiry is the exception. TTL deletes happen on each side at their own time, so a document that only expiry holds
 * apart is kept as pending (`keepPending`): it is no mismatch, and it does not count for `isFull`.
 *
 * Invariant: a document leaves the queue only when it was equal in its last comparison, when its verdict is stored, or
 * when its collection is gone. `store` is called before the streams' positions are stored, so a restart forgets none.
 * Bounded by `limits` (documents, and bytes of their `_id`s); what does not fit is returned as `overflow`.
 */
export class RecheckQueue {
  readonly #store: VerificationState;
  readonly #limits: IdLimits;
  readonly #turns = new SerialQueue();
  readonly #entries = new Map<string, Map<string, Entry>>();
  readonly #stored = new Set<string>();
  readonly #unstored = new Map<string, Entry>();
  readonly #obsolete = new Set<string>();
  #size = 0;
  #bytes = 0;
  #newcomers = 0;
  #newcomerBytes = 0;
  #suspects = 0;
  #pending = 0;
  #pendingBytes = 0;

  constructor(store: VerificationState, limits: IdLimits) {
    this.#store = store;
    this.#limits = limits;
  }

  get size(): number {
    return this.#size;
  }

  /** Whether another document would be one too many. Those that expiry explains stay for long, and take nobody's room. */
  get isFull(): boolean {
    const { documents, bytes } = this.#limits;
    return this.#size - this.#pending >= documents || this.#bytes - this.#pendingBytes >= bytes;
  }

  /** Documents that the initial hashing has added and that have not been compared since. */
  get newcomers(): number {
    return this.#newcomers;
  }

  /** Of their ids. */
  get newcomerBytes(): number {
    return this.#newcomerBytes;
  }

  /** Documents that have differed again although nothing changed them: mismatches soon, most likely. */
  get suspects(): number {
    return this.#suspects;
  }

  /** What an earlier process left. */
  async load(signal: AbortSignal): Promise<void> {
    for await (const record of this.#store.loadRechecks(signal)) {
      this.#stored.add(recheckKey(record));
      this.#put(record.collection, record.id, {});
    }
  }

  /** All documents in it, by collection. */
  ids(): DirtyIds {
    return new Map([...this.#entries].map(([collection, entries]) => [collection, idsOf(entries)]));
  }

  /**
   * Notes one collection's comparison. Resolves with the documents that are mismatches by now, which stay until
   * `remove`, and those for which there is no room.
   */
  note(collection: string, outcome: Compared): { readonly confirmed: Buffer[]; readonly overflow: Buffer[] } {
    const confirmed: Buffer[] = [];
    const overflow: Buffer[] = [];
    const differing = new Map(outcome.differing.map((id) => [idKey(id), id]));
    for (const key of outcome.compared.keys()) if (!differing.has(key)) this.#remove(collection, key);
    for (const [key, id] of differing) {
      const entry = this.#entries.get(collection)?.get(key);
      if (entry === undefined && this.isFull) overflow.push(id);
      else if (entry === undefined) this.#put(collection, id, { seenAt: outcome.now });
      else {
        this.#count(entry, outcome.changed.has(key), outcome);
        if (entry.times >= CONFIRMED_AFTER) confirmed.push(id);
      }
    }
    return { confirmed, overflow };
  }

  /** Adds documents that the initial hashing could not pair. */
  add(collection: string, ids: readonly Buffer[]): void {
    for (const id of ids) this.#put(collection, id, { isNew: true });
  }

  /** Keeps documents that expiry explains: a longer expiry would make them mismatches. */
  keepPending(collection: string, ids: readonly Buffer[]): void {
    for (const id of ids) {
      this.#put(collection, id, {});
      const entry = this.#entries.get(collection)?.get(idKey(id));
      if (entry !== undefined) this.#change(entry, { times: 0, isPending: true });
    }
  }

  /** Removes documents that are judged, once that is stored. */
  remove(collection: string, ids: readonly Buffer[]): void {
    for (const id of ids) this.#remove(collection, idKey(id));
  }

  /** Forgets a collection that was dropped. */
  forget(collection: string): void {
    for (const key of [...(this.#entries.get(collection)?.keys() ?? [])]) this.#remove(collection, key);
  }

  /** Stores what is in it now; call before what relies on it is stored. */
  store(signal: AbortSignal): Promise<void> {
    return this.#turns.run(async () => {
      const fresh = [...this.#unstored.values()];
      this.#unstored.clear();
      if (fresh.length > 0) await this.#store.putRechecks(fresh, signal);
      for (const entry of fresh) {
        this.#stored.add(entry.name);
        // It may have left meanwhile.
        if (!this.#has(entry)) this.#obsolete.add(entry.name);
      }
      const gone = [...this.#obsolete];
      this.#obsolete.clear();
      for (const name of gone) this.#stored.delete(name);
      if (gone.length > 0) await this.#store.deleteRechecks(gone, signal);
    });
  }

  /** Counts one comparison that found the entry differing, if no change of it can be in between. */
  #count(entry: Entry, hasChanged: boolean, { readUpTo, now }: Compared): void {
    const counts = entry.seenAt !== undefined && readUpTo?.greaterThanOrEqual(entry.seenAt) === true;
    if (hasChanged || entry.seenAt === undefined)
      this.#change(entry, { times: 0, seenAt: now, isNew: false, ...(hasChanged ? { isPending: false } : {}) });
    else if (counts) this.#change(entry, { times: entry.times + 1, seenAt: now, isNew: false });
    // Otherwise changes of it may be unread still: it is as it was.
    else this.#change(entry, { isNew: false });
  }

  #put(collection: string, id: Buffer, state: Partial<Pick<Entry, 'seenAt' | 'isNew'>>): void {
    const entries = this.#entries.get(collection) ?? new Map<string, Entry>();
    this.#entries.set(collection, entries);
    const key = idKey(id);
    const known = entries.get(key);
    if (known !== undefined) {
      // It was found to differ anew: what was counted before may be of another state.
      if (state.isNew === true) this.#change(known, { times: 0, seenAt: undefined });
      return;
    }
    const name = recheckKey({ collection, id });
    // A copy: a slice would keep all that it was read with.
    const entry: Entry = {
      collection,
      id: Buffer.from(id),
      name,
      times: 0,
      seenAt: undefined,
      isNew: false,
      isPending: false,
    };
    entries.set(key, entry);
    this.#size++;
    this.#bytes += id.length;
    this.#change(entry, state);
    if (!this.#obsolete.delete(name) && !this.#stored.has(name)) this.#unstored.set(name, entry);
  }

  /** The one place that changes an entry's state, since some of it is counted. */
  #change(entry: Entry, state: Partial<Pick<Entry, 'times' | 'seenAt' | 'isNew' | 'isPending'>>): void {
    this.#tally(entry, -1);
    Object.assign(entry, state);
    this.#tally(entry, 1);
  }

  #tally(entry: Entry, by: 1 | -1): void {
    if (entry.isNew) {
      this.#newcomers += by;
      this.#newcomerBytes += by * entry.id.length;
    }
    if (entry.isPending) {
      this.#pending += by;
      this.#pendingBytes += by * entry.id.length;
    } else if (entry.times > 0) this.#suspects += by;
  }

  #has(entry: Entry): boolean {
    return this.#entries.get(entry.collection)?.get(idKey(entry.id)) !== undefined;
  }

  #remove(collection: string, key: string): void {
    const entries = this.#entries.get(collection);
    const entry = entries?.get(key);
    if (entries === undefined || entry === undefined) return;
    this.#tally(entry, -1);
    entries.delete(key);
    if (entries.size === 0) this.#entries.delete(collection);
    this.#size--;
    this.#bytes -= entry.id.length;
    this.#unstored.delete(entry.name);
    if (this.#stored.has(entry.name)) this.#obsolete.add(entry.name);
  }
}

function idsOf(entries: ReadonlyMap<string, Entry>): Map<string, Buffer> {
  return new Map([...entries].map(([key, entry]) => [key, entry.id]));
}
