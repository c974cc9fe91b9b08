/** Reads raw change events, only as far as their routing needs. */
import { decodeOrdered, type Timestamp, valueEnd } from '../bson/bson.js';
import { idOfKey } from '../bson/document-key.js';
import { Position } from '../bson/position.js';
import { findField } from '../bson/raw-document.js';
import type { Namespace } from '../catalog/namespace.js';
import { AppError } from '../errors.js';

/** A change event, read only as far as its routing needs; all it carries stays raw. */
export interface ChangeEvent {
  readonly operation: string;
  /** Hexadecimal source UUID; views and dropDatabase have none. */
  readonly collection: string | undefined;
  readonly db: string;
  /** '' for events of a whole database. */
  readonly coll: string;
  /** Raw: `{_id: …}`, with the fields of the shard key before it where the collection is sharded. */
  readonly key: Buffer | undefined;
  /** `{_id: …}` raw. */
  readonly id: Buffer | undefined;
  readonly document: Buffer | undefined;
  /** The server's own delta, `{$v: 2, diff: …}`. */
  readonly delta: Buffer | undefined;
  /** Cluster time: seconds and increment. */
  readonly seconds: number;
  readonly increment: number;
  readonly raw: Buffer;
}

/** The events whose effect is one document. */
export function isCrud(operation: string): boolean {
  return operation === 'insert' || operation === 'update' || operation === 'replace' || operation === 'delete';
}

/**
 * Events that change nothing of what is migrated: a stream that goes on although the server says it does not, the ends of
 * transactions, and how a sharded cluster moves what it has. Source: MongoDB manual, "Change Events" (7.0 to 8.0).
 */
const SAYS_NOTHING = new Set([
  'invalidate',
  'endOfTransaction',
  'reshardBegin',
  'reshardDoneCatchUp',
  'reshardBlockingWrites',
  'migrateChunkToNewShard',
  'migrateLastChunkFromShard',
]);

/** Whether an event changes nothing of what is migrated. */
export function saysNothing(operation: string): boolean {
  return SAYS_NOTHING.has(operation);
}

/** The namespace is only read when it is asked for: document changes find their collection by UUID. */
class RawEvent implements ChangeEvent {
  operation = '';
  collection: string | undefined;
  key: Buffer | undefined;
  document: Buffer | undefined;
  delta: Buffer | undefined;
  seconds = 0;
  increment = 0;
  namespace: Buffer | undefined;
  readonly raw: Buffer;

  constructor(raw: Buffer) {
    this.raw = raw;
  }

  get id(): Buffer | undefined {
    return this.key === undefined ? undefined : idOfKey(this.key);
  }

  get db(): string {
    return this.#name('db');
  }

  get coll(): string {
    return this.#name('coll');
  }

  #name(field: string): string {
    const found = this.namespace === undefined ? undefined : findField(this.namespace, field);
    return found === undefined || this.namespace === undefined
      ? ''
      : this.namespace.toString('utf8', found.start + 4, found.end - 1);
  }
}

/**
 * Reads the top level of a raw event. This runs for every event, so field names are told apart by length and first
 * letter, and made into a text only where these two fit. Errors: Internal when it is no change event.
 *
 * `idOf`: finds the collection where the event does not hold its UUID (servers before 6.0).
 */
export function parseEvent(raw: Buffer, idOf?: (ns: Namespace) => string | undefined): ChangeEvent {
  const event = new RawEvent(raw);
  const last = raw.length - 1;
  let offset = 4;
  while (offset < last) {
    const type = raw[offset] as number;
    const nameStart = offset + 1;
    let nameEnd = nameStart;
    while (raw[nameEnd] !== 0) nameEnd++;
    const start = nameEnd + 1;
    const end = valueEnd(raw, type, start);
    if (KNOWN_LENGTHS.has(nameEnd - nameStart))
      readField(event, raw.toString('latin1', nameStart, nameEnd), start, end);
    offset = end;
  }
  if (idOf !== undefined && event.collection === undefined) event.collection = idOf(namespaceOf(event));
  if (event.operation === '') throw new AppError('Internal', 'a change event without operationType was read');
  return event;
}

/** Of the names below; `_id`, `wallTime`, `lsid` and most others differ. */
const KNOWN_LENGTHS = new Set(
  ['operationType', 'clusterTime', 'collectionUUID', 'ns', 'fullDocument', 'rawUpdateDescription'].map(
    (name) => name.length,
  ),
);

function readField(event: RawEvent, name: string, start: number, end: number): void {
  const { raw } = event;
  switch (name) {
    case 'operationType':
      event.operation = raw.toString('latin1', start + 4, end - 1);
      break;
    case 'clusterTime':
      event.increment = raw.readUInt32LE(start);
      event.seconds = raw.readUInt32LE(start + 4);
      break;
    case 'collectionUUID':
      event.collection = raw.toString('hex', start + 5, end);
      break;
    case 'ns':
      event.namespace = raw.subarray(start, end);
      break;
    case 'documentKey':
      event.key = raw.subarray(start, end);
      break;
    case 'fullDocument':
      event.document = raw.subarray(start, end);
      break;
    case 'rawUpdateDescription':
      event.delta = raw.subarray(start, end);
      break;
  }
}

/** The position behind an event. Errors: Internal when the event has no resume token. */
export function positionOf(event: ChangeEvent): Position {
  const id = findField(event.raw, '_id');
  if (id === undefined) throw new AppError('Internal', 'a change event without resume token was read');
  return Position.ofResumeToken(Object.fromEntries(decodeOrdered(event.raw.subarray(id.start, id.end))));
}

export function namespaceOf(event: ChangeEvent): Namespace {
  return { db: event.db, coll: event.coll };
}

/** Whether an event happened after a cluster time. */
export function isAfter(event: ChangeEvent, time: Timestamp): boolean {
  const seconds = time.getHighBitsUnsigned();
  return event.seconds > seconds || (event.seconds === seconds && event.increment > time.getLowBitsUnsigned());
}
