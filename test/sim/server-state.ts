/** What a simulated replica set holds: catalog, documents and oplog, and how they are changed together. */
import type { Random } from '../support/workload-random.js';
import { FakeCatalog } from './catalog.js';
import { Oplog, type StreamEvent } from './oplog.js';
import type { Change } from './storage.js';
import { EPOCH_MS, type World } from './world.js';

/** One atomic change under way: what it has done, and what change streams will tell of it. */
export class Transaction {
  readonly changes: Change[] = [];
  readonly events: StreamEvent[] = [];
  /** The time that it will have. */
  readonly time: number;

  constructor(time: number) {
    this.time = time;
  }

  did(change: Change, ...events: StreamEvent[]): void {
    this.changes.push(change);
    this.events.push(...events);
  }

  undo(): void {
    for (const change of this.changes.toReversed()) change.undo();
  }
}

/** Whether users' writes are blocked, as it is replicated. */
export interface Modes {
  isBlocked: boolean;
}

/** State with its history. */
export class ServerState {
  readonly catalog = new FakeCatalog();
  readonly oplog: Oplog;
  readonly modes: Modes = { isBlocked: false };
  readonly random: Random;
  readonly #world: World;
  /** Of several statements, while they are one change. */
  #group: Transaction | undefined;
  /** Told of every entry. */
  onEntry: (time: number) => void = () => undefined;

  constructor(world: World, random: Random) {
    this.#world = world;
    this.random = random;
    this.oplog = new Oplog(this.seconds);
  }

  /** Seconds since the epoch. */
  get seconds(): number {
    return Math.floor((EPOCH_MS + this.#world.nowMs) / 1000);
  }

  /** Milliseconds since the epoch. */
  get wallMs(): number {
    return Math.floor(EPOCH_MS + this.#world.nowMs);
  }

  uuid(): Buffer {
    const bytes = Buffer.allocUnsafe(16);
    for (let at = 0; at < 16; at += 4) bytes.writeUInt32LE(this.random.int(0x1_0000_0000), at);
    bytes[6] = ((bytes[6] as number) & 0x0f) | 0x40;
    bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80;
    return bytes;
  }

  /** Carries out one atomic change, which leaves nothing when it throws. `isNote`: an entry even when nothing changed. */
  change<T>(work: (tx: Transaction) => T, isNote = false): T {
    if (this.#group !== undefined) return work(this.#group);
    const tx = new Transaction(this.oplog.nextTime(this.seconds));
    let result: T;
    try {
      result = work(tx);
    } catch (error) {
      tx.undo();
      throw error;
    }
    if (tx.changes.length > 0 || tx.events.length > 0 || isNote) {
      this.oplog.append({ time: tx.time, changes: tx.changes, events: tx.events });
      this.onEntry(tx.time);
    }
    return result;
  }

  /** Carries out several changes as one transaction: all at one time, or none of them. */
  transaction(work: () => void): void {
    this.change((tx) => {
      this.#group = tx;
      try {
        work();
      } finally {
        this.#group = undefined;
      }
    });
  }

  /** An entry that changes nothing. */
  note(): void {
    this.change(() => undefined, true);
  }
}
