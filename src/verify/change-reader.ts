/** Reads which documents of a cluster change, for the verifier. */
import type { Doc, Timestamp } from '../bson/bson.js';
import { hasReached, type Position } from '../bson/position.js';
import { findField, idDocument } from '../bson/raw-document.js';
import { MIGRATION_TOOLS_PATTERN, nsText } from '../catalog/namespace.js';
import type { Narrowing } from '../catalog/narrowing.js';
import type { ChangeSource } from '../documents/change-source.js';
import type { DirtySet } from './dirty-set.js';

const AWAIT_MS = 250;
const GATHER_MS = 200;

/** Only which documents changed: contents are read when they are compared. Migration tools' own databases are left out. */
const STAGES = [
  {
    $match: {
      operationType: { $in: ['insert', 'update', 'replace', 'delete'] },
      'ns.db': { $not: { $regex: MIGRATION_TOOLS_PATTERN } },
    },
  },
  { $project: { documentKey: 1, collectionUUID: 1, ns: 1 } },
];

/** What a reader works with. */
export interface ReaderParts {
  /** Of the side's cluster. */
  readonly changes: ChangeSource;
  readonly dirty: DirtySet;
  readonly narrowing: Narrowing;
}

/**
 * Reads which documents of a cluster change, in a stream of its own, independent of the applier's. A collection is named
 * by `<side>:<hexadecimal UUID>`, or by `<side>:<db.coll>` where the server gives no UUID (before 6.0).
 */
export class ChangeReader {
  readonly #side: 'source' | 'destination';
  readonly #changes: ChangeSource;
  readonly #dirty: DirtySet;
  readonly #narrowing: readonly Doc[];
  #position: Position;
  #events = 0;
  #isBetween = false;

  constructor(side: 'source' | 'destination', start: Position, { changes, dirty, narrowing }: ReaderParts) {
    this.#side = side;
    this.#position = start;
    this.#changes = changes;
    this.#dirty = dirty;
    this.#narrowing = narrowing[side];
  }

  /** Every change before it is in the dirty set, or has been taken from it. */
  get position(): Position {
    return this.#position;
  }

  /** Of the position; undefined until something was read, by this process or an earlier one. */
  get time(): Timestamp | undefined {
    return this.#position.isStart ? undefined : this.#position.time;
  }

  /** Changes read in this process. */
  get events(): number {
    return this.#events;
  }

  /** Reads until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const stages = [...this.#narrowing, ...STAGES];
    const options = { rawDeltas: false, awaitMs: AWAIT_MS, gatherMs: GATHER_MS, stages };
    for await (const batch of this.#changes.read(this.#position, options, signal)) {
      for (const event of batch.events) this.#add(event);
      this.#events += batch.events.length;
      this.#position = batch.position;
      this.#isBetween = batch.isBetween;
      await this.#dirty.room(signal);
    }
  }

  /** Whether every change up to `time` has been read: those of a transaction share a time and may come in parts. */
  hasReached(time: Timestamp): boolean {
    const reached = { position: this.#position, isBetween: this.#isBetween };
    return !this.#position.isStart && hasReached(reached, time);
  }

  #add(event: Buffer): void {
    const key = findField(event, 'documentKey');
    const id = key === undefined ? undefined : idDocument(event.subarray(key.start, key.end));
    if (id !== undefined) this.#dirty.add(`${this.#side}:${collectionOf(event)}`, id);
  }
}

function collectionOf(event: Buffer): string {
  const uuid = findField(event, 'collectionUUID');
  if (uuid !== undefined) return event.toString('hex', uuid.start + 5, uuid.end);
  const ns = findField(event, 'ns');
  if (ns === undefined) return '';
  const raw = event.subarray(ns.start, ns.end);
  const text = (name: string): string => {
    const found = findField(raw, name);
    return found === undefined ? '' : raw.toString('utf8', found.start + 4, found.end - 1);
  };
  return nsText({ db: text('db'), coll: text('coll') });
}
