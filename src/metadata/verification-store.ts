/** Stores what the verifier must remember across restarts. */
import { createHash } from 'node:crypto';
import { type Doc, Timestamp } from '../bson/bson.js';
import { Position } from '../bson/position.js';
import type { MetadataReader } from './reader.js';
import { bytesOf, optionalBytes, optionalText } from './record-codec.js';
import type { MetadataStore } from './store.js';

/** Where the verifier is. Everything before the positions is compared, or waits in the recheck queue that is stored. */
export interface VerificationRecord {
  readonly sourceStart: Timestamp;
  readonly destinationStart: Timestamp;
  readonly sourcePosition: Position;
  readonly destinationPosition: Position;
  /** Whether all ranges have been stored. */
  readonly planned: boolean;
  /** The number of the next chunk of the backlog; those that are stored under it and above do not count. Absent: 0. */
  readonly backlogNext?: number;
}

/** A range of `_id`s, compared as one; a restart repeats those that are not done. */
export interface VerifyRange {
  /** `<collection id>:<series><number>`. */
  readonly id: string;
  readonly collection: string;
  /** `{_id: …}` raw; undefined at the ends. Lower is inclusive, upper exclusive. */
  readonly lower: Buffer | undefined;
  readonly upper: Buffer | undefined;
  readonly estimatedDocuments: number;
  readonly estimatedBytes: number;
  /** Documents per read. */
  readonly batchDocuments: number;
  readonly done: boolean;
  readonly sourceDocuments: number;
  readonly destinationDocuments: number;
}

/** Documents that the streams have named and that are compared once the applier has passed `time`. */
export interface BacklogRecord {
  readonly number: number;
  /** Of the source. */
  readonly time: Timestamp;
  /** By collection as the streams name it: raw `{_id: …}` documents, one after the other. */
  readonly ids: readonly { readonly name: string; readonly ids: Buffer }[];
  /** How far the streams have been read, everything up to there being in this chunk or in one before; absent: unknown. */
  readonly sourceTime: Timestamp | undefined;
  readonly destinationTime: Timestamp | undefined;
}

/** A document to be compared again. */
export interface RecheckRecord {
  readonly collection: string;
  /** Raw `{_id: …}`. */
  readonly id: Buffer;
}

/** A document found to differ. */
export interface MismatchRecord extends RecheckRecord {
  /** "db.coll" on the source when it was found. */
  readonly namespace: string;
  readonly kind: string;
  /** The first top-level field that differs; '' when one side has none. */
  readonly field: string;
  readonly foundAt: Date;
}

/** A mismatch with its name. */
export type StoredMismatch = MismatchRecord & { readonly key: string };

const PAGE = 1000;

/** A document's name in the queues, the same whoever writes it. */
export function recheckKey(record: RecheckRecord): string {
  return `${record.collection}:${createHash('sha256').update(record.id).digest('hex').slice(0, 40)}`;
}

/** What the verifier must remember. */
export interface VerificationState {
  load(signal: AbortSignal): Promise<VerificationRecord | undefined>;
  save(record: VerificationRecord, signal: AbortSignal): Promise<void>;
  loadRanges(signal: AbortSignal): Promise<VerifyRange[]>;
  saveRanges(ranges: readonly VerifyRange[], signal: AbortSignal): Promise<void>;
  deleteRanges(ids: readonly string[], signal: AbortSignal): Promise<void>;
  loadRechecks(signal: AbortSignal): AsyncIterable<RecheckRecord>;
  putRechecks(records: readonly RecheckRecord[], signal: AbortSignal): Promise<void>;
  deleteRechecks(keys: readonly string[], signal: AbortSignal): Promise<void>;
  /**
   * Mismatches in the order of their keys, from after `after` ('' for the first): as many as `limit`, or fewer where
   * their ids are large. None only when there are no more.
   */
  mismatches(after: string, limit: number, signal: AbortSignal): Promise<StoredMismatch[]>;
  putMismatches(records: readonly MismatchRecord[], signal: AbortSignal): Promise<void>;
  deleteMismatches(keys: readonly string[], signal: AbortSignal): Promise<void>;
  /** Those of these keys that are stored. */
  findMismatches(keys: readonly string[], signal: AbortSignal): Promise<StoredMismatch[]>;
  /** The first chunk of the backlog. */
  firstBacklog(signal: AbortSignal): Promise<BacklogRecord | undefined>;
  putBacklog(record: BacklogRecord, signal: AbortSignal): Promise<void>;
  deleteBacklog(number: number, signal: AbortSignal): Promise<void>;
  /** Forgets everything. */
  clear(signal: AbortSignal): Promise<void>;
}

/** All that is stored, the position first: without it a process begins anew. */
const COLLECTIONS = ['verification', 'verifyRanges', 'verifyRecheck', 'verifyBacklog', 'mismatches'] as const;

/** Stored mismatches in the order of their keys, from after `after` on ('' for the first), at most `limit`. */
export async function readMismatchPage(
  reader: MetadataReader,
  after: string,
  limit: number,
  signal: AbortSignal,
): Promise<StoredMismatch[]> {
  return (await reader.readPage('mismatches', after, limit, signal)).map(toMismatch);
}

/** Keeps it in the metadata database, beside the migration's own records and under the same lease. */
export class VerificationStore implements VerificationState {
  readonly #store: MetadataStore;

  constructor(store: MetadataStore) {
    this.#store = store;
  }

  async load(signal: AbortSignal): Promise<VerificationRecord | undefined> {
    const [doc] = await this.#store.readPage('verification', '', 1, signal);
    if (doc === undefined) return undefined;
    const [sourceStart, destinationStart] = [doc['sourceStart'] as Timestamp, doc['destinationStart'] as Timestamp];
    return {
      sourceStart,
      destinationStart,
      sourcePosition: positionOf(doc['sourceToken'], sourceStart),
      destinationPosition: positionOf(doc['destinationToken'], destinationStart),
      planned: doc['planned'] === true,
      backlogNext: Number(doc['backlogNext'] ?? 0),
    };
  }

  async save(record: VerificationRecord, signal: AbortSignal): Promise<void> {
    const { sourcePosition, destinationPosition, ...rest } = record;
    const tokens = { sourceToken: tokenTextOf(sourcePosition), destinationToken: tokenTextOf(destinationPosition) };
    await this.#store.putDocuments('verification', [{ _id: 'verification', ...rest, ...tokens }], signal);
  }

  async loadRanges(signal: AbortSignal): Promise<VerifyRange[]> {
    const ranges: VerifyRange[] = [];
    for await (const doc of this.#all('verifyRanges', signal)) ranges.push(toRange(doc));
    return ranges;
  }

  async saveRanges(ranges: readonly VerifyRange[], signal: AbortSignal): Promise<void> {
    await this.#store.putDocuments(
      'verifyRanges',
      ranges.map(({ id, ...rest }) => ({ _id: id, ...rest })),
      signal,
    );
  }

  async deleteRanges(ids: readonly string[], signal: AbortSignal): Promise<void> {
    await this.#store.deleteDocuments('verifyRanges', ids, signal);
  }

  async *loadRechecks(signal: AbortSignal): AsyncGenerator<RecheckRecord> {
    for await (const doc of this.#all('verifyRecheck', signal)) yield toRecheck(doc);
  }

  async putRechecks(records: readonly RecheckRecord[], signal: AbortSignal): Promise<void> {
    const docs = records.map((each) => ({ _id: recheckKey(each), collection: each.collection, id: each.id }));
    await this.#store.putDocuments('verifyRecheck', docs, signal);
  }

  async deleteRechecks(keys: readonly string[], signal: AbortSignal): Promise<void> {
    await this.#store.deleteDocuments('verifyRecheck', keys, signal);
  }

  async mismatches(after: string, limit: number, signal: AbortSignal): Promise<StoredMismatch[]> {
    return readMismatchPage(this.#store, after, limit, signal);
  }

  async putMismatches(records: readonly MismatchRecord[], signal: AbortSignal): Promise<void> {
    await this.#store.putDocuments(
      'mismatches',
      records.map((each) => ({ _id: recheckKey(each), ...each })),
      signal,
    );
  }

  async deleteMismatches(keys: readonly string[], signal: AbortSignal): Promise<void> {
    await this.#store.deleteDocuments('mismatches', keys, signal);
  }

  async findMismatches(keys: readonly string[], signal: AbortSignal): Promise<StoredMismatch[]> {
    return (await this.#store.readDocuments('mismatches', keys, signal)).map(toMismatch);
  }

  async firstBacklog(signal: AbortSignal): Promise<BacklogRecord | undefined> {
    const [doc] = await this.#store.readPage('verifyBacklog', '', 1, signal);
    if (doc === undefined) return undefined;
    return {
      number: Number(doc['_id']),
      time: doc['time'] as Timestamp,
      ids: (doc['ids'] as Doc[]).map((each) => ({ name: String(each['name']), ids: bytesOf(each['ids']) })),
      sourceTime: optionalTime(doc['sourceTime']),
      destinationTime: optionalTime(doc['destinationTime']),
    };
  }

  async putBacklog({ number, ...rest }: BacklogRecord, signal: AbortSignal): Promise<void> {
    await this.#store.putDocuments('verifyBacklog', [{ _id: backlogName(number), ...rest }], signal);
  }

  async deleteBacklog(number: number, signal: AbortSignal): Promise<void> {
    await this.#store.deleteDocuments('verifyBacklog', [backlogName(number)], signal);
  }

  async clear(signal: AbortSignal): Promise<void> {
    for (const name of COLLECTIONS) await this.#store.dropCollection(name, signal);
  }

  async *#all(coll: string, signal: AbortSignal): AsyncGenerator<Doc> {
    for (let after = ''; ; ) {
      const page = await this.#store.readPage(coll, after, PAGE, signal);
      yield* page;
      const last = page.at(-1);
      if (last === undefined) return;
      after = String(last['_id']);
    }
  }
}

/** In the order of the numbers. */
function backlogName(number: number): string {
  return String(number).padStart(12, '0');
}

function toMismatch(doc: Doc): StoredMismatch {
  return {
    ...toRecheck(doc),
    key: String(doc['_id']),
    namespace: String(doc['namespace']),
    kind: String(doc['kind']),
    field: optionalText(doc['field']) ?? '',
    foundAt: doc['foundAt'] as Date,
  };
}

function optionalTime(value: unknown): Timestamp | undefined {
  return value instanceof Timestamp ? value : undefined;
}

/** The text of a token; none is stored of a stream that has not been read yet. */
function tokenTextOf(position: Position): string | undefined {
  return position.isStart ? undefined : position.toText();
}

function positionOf(token: unknown, start: Timestamp): Position {
  const text = optionalText(token);
  return text === undefined ? Position.startAt(start) : Position.fromText(text);
}

function toRange(doc: Doc): VerifyRange {
  return {
    id: String(doc['_id']),
    collection: String(doc['collection']),
    lower: optionalBytes(doc['lower']),
    upper: optionalBytes(doc['upper']),
    estimatedDocuments: Number(doc['estimatedDocuments']),
    estimatedBytes: Number(doc['estimatedBytes'] ?? 0),
    batchDocuments: Number(doc['batchDocuments']),
    done: doc['done'] === true,
    sourceDocuments: Number(doc['sourceDocuments']),
    destinationDocuments: Number(doc['destinationDocuments']),
  };
}

function toRecheck(doc: Doc): RecheckRecord {
  return { collection: String(doc['collection']), id: bytesOf(doc['id']) };
}
