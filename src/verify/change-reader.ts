import type { Doc, Timestamp } from '../cluster/bson.js';
import { readChanges } from '../cluster/change-stream.js';
import type { Cluster } from '../cluster/cluster.js';
import { MIGRATION_TOOLS_PATTERN, nsText } from '../cluster/namespace.js';
import type { Narrowing } from '../cluster/narrowing.js';
import { type StreamStart, type Token, tokenTime } from '../cluster/position.js';
import { findField, idDocument } from '../cluster/raw-document.js';
import type { Logger } from '../lib/logger.js';
import type { DirtySet } from './dirty-set.js';

const AWAIT_MS = 250;

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

/**
 * Reads which documents of a cluster change, in a stream of its own, independent of the applier's. A collection is named
 * by `<side>:<hexadecimal UUID>`, or by `<side>:<db.coll>` where the server gives no UUID (before 6.0).
 */
export class ChangeReader {
  readonly #cluster: Cluster;
  readonly #side: 'source' | 'destination';
  readonly #dirty: DirtySet;
  readonly #narrowing: readonly Doc[];
  readonly #logger: Logger;
  #start: StreamStart;
  #token: Token | undefined;
  #events = 0;
  #isBetween = false;

  constructor(
    cluster: Cluster,
    side: 'source' | 'destination',
    start: StreamStart,
    others: { readonly dirty: DirtySet; readonly narrowing: Narrowing; readonly logger: Logger },
  ) {
    this.#cluster = cluster;
    this.#side = side;
    this.#start = start;
    this.#token = 'token' in start ? start.token : undefined;
    this.#dirty = others.dirty;
    this.#narrowing = others.narrowing[side];
    this.#logger = others.logger;
  }

  /** The position up to which every change is in the dirty set, or has been taken from it. */
  get token(): Token | undefined {
    return this.#token;
  }

  get time(): Timestamp | undefined {
    return this.#token === undefined ? undefined : tokenTime(this.#token);
  }

  /** Changes read in this process. */
  get events(): number {
    return this.#events;
  }

  /** Reads until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const stages = [...this.#narrowing, ...STAGES];
    const options = { start: this.#start, rawDeltas: false, logger: this.#logger, awaitMs: AWAIT_MS, stages };
    for await (const batch of readChanges(this.#cluster, options, signal)) {
      for (const event of batch.events) this.#add(event);
      this.#events += batch.events.length;
      this.#token = batch.token;
      this.#start = { token: batch.token };
      this.#isBetween = batch.isBetween;
      await this.#dirty.room(signal);
    }
  }

  /** Whether every change up to `time` has been read: those of a transaction share a time and may come in parts. */
  hasReached(time: Timestamp): boolean {
    const read = this.time;
    return read !== undefined && (read.greaterThan(time) || (this.#isBetween && read.equals(time)));
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
