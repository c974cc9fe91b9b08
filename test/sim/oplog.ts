/** The oplog of a simulated replica set: what was done in which order, how much of it a majority has, and its undoing. */
import { Timestamp } from 'mongodb';
import type { Change } from './storage.js';

/** A change that a change stream tells of. Documents are raw. */
export interface StreamEvent {
  readonly operationType: string;
  readonly ns: { readonly db: string; readonly coll?: string };
  /** 16 bytes; of views and databases there is none. */
  readonly uuid?: Buffer;
  /** Raw `{_id: …}`. */
  readonly key?: Buffer;
  readonly document?: Buffer;
  /** Raw `{$v: 2, diff: …}`. */
  readonly delta?: Buffer;
  readonly to?: { readonly db: string; readonly coll: string };
  /** Raw. */
  readonly description?: Buffer;
}

/** One entry; a transaction is one, with many events. */
export interface OplogEntry {
  readonly time: number;
  readonly changes: readonly Change[];
  readonly events: readonly StreamEvent[];
}

const PER_SECOND = 1_000_000;

/** A cluster time as a number that compares. */
export function timeOf(time: Timestamp): number {
  return time.getHighBitsUnsigned() * PER_SECOND + time.getLowBitsUnsigned();
}

/** A cluster time as BSON has it. */
export function timestampOf(time: number): Timestamp {
  return new Timestamp({ t: Math.floor(time / PER_SECOND), i: time % PER_SECOND });
}

/** The primary's entries, those of which a majority has the first `committed`. */
export class Oplog {
  readonly #entries: OplogEntry[] = [];
  #committed = 0;
  /** Highest time given out, rolled back ones included: no time is given twice. */
  #lastTime: number;

  constructor(seconds: number) {
    this.#lastTime = seconds * PER_SECOND;
  }

  get entries(): readonly OplogEntry[] {
    return this.#entries;
  }

  /** How many entries a majority has. */
  get committed(): number {
    return this.#committed;
  }

  get lastTime(): number {
    return this.#entries.at(-1)?.time ?? 0;
  }

  get committedTime(): number {
    return this.#entries[this.#committed - 1]?.time ?? 0;
  }

  /** The time that the next entry gets at this second. */
  nextTime(seconds: number): number {
    return Math.max(this.#lastTime + 1, seconds * PER_SECOND + 1);
  }

  append(entry: OplogEntry): void {
    this.#entries.push(entry);
    this.#lastTime = entry.time;
  }

  /** A majority has all entries up to that time. Returns whether that is news. */
  commit(time: number): boolean {
    const before = this.#committed;
    while (this.#committed < this.#entries.length && (this.#entries[this.#committed] as OplogEntry).time <= time)
      this.#committed++;
    return this.#committed > before;
  }

  /** Undoes what another primary never got, down to `kept` entries. Returns how many that were. */
  rollBack(kept: number): number {
    const lost = this.#entries.splice(Math.max(kept, this.#committed));
    for (const entry of lost.toReversed()) undo(entry);
    return lost.length;
  }

  /**
   * As `rollBack`, and gives what was undone: what another primary goes on without is still there on the one before it,
   * until that learns of it.
   */
  split(kept: number): readonly OplogEntry[] {
    const lost = this.#entries.slice(Math.max(kept, this.#committed));
    this.rollBack(kept);
    return lost;
  }

  /** What `look` sees of the state of a primary that had `tail` after the first `length` entries. */
  onBranch<T>(length: number, tail: readonly OplogEntry[], look: () => T): T {
    return this.#atLength(length, () => {
      for (const { changes } of tail) for (const change of changes) change.redo();
      try {
        return look();
      } finally {
        for (const entry of tail.toReversed()) undo(entry);
      }
    });
  }

  /** What `look` sees of the state as a majority has it. */
  atMajority<T>(look: () => T): T {
    return this.#atLength(this.#committed, look);
  }

  /** What `look` sees of the state as of a time. */
  atTime<T>(time: number, look: () => T): T {
    let length = this.#entries.length;
    while (length > 0 && (this.#entries[length - 1] as OplogEntry).time > time) length--;
    return this.#atLength(length, look);
  }

  #atLength<T>(length: number, look: () => T): T {
    const later = this.#entries.slice(length);
    if (later.length === 0) return look();
    for (const entry of later.toReversed()) undo(entry);
    try {
      return look();
    } finally {
      for (const { changes } of later) for (const change of changes) change.redo();
    }
  }
}

function undo({ changes }: OplogEntry): void {
  for (const change of changes.toReversed()) change.undo();
}
