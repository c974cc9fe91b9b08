import { decodeOrdered } from '../cluster/bson.js';
import type { Namespace } from '../cluster/namespace.js';
import { type Token, toToken } from '../cluster/position.js';
import { findField, forEachField } from '../cluster/raw-document.js';
import { AppError } from '../errors.js';

/** A change event, read only as far as its routing needs; all it carries stays raw. */
export interface ChangeEvent {
  readonly operation: string;
  /** Hexadecimal source UUID; views and dropDatabase have none. */
  readonly collection: string | undefined;
  readonly db: string;
  readonly coll: string;
  /** `{_id: …}` raw. */
  readonly key: Buffer | undefined;
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

interface Draft {
  operation: string;
  collection: string | undefined;
  db: string;
  coll: string;
  key: Buffer | undefined;
  document: Buffer | undefined;
  delta: Buffer | undefined;
  seconds: number;
  increment: number;
  raw: Buffer;
}

/** Reads the top level of a raw event. Errors: Internal when it is no change event. */
export function parseEvent(raw: Buffer): ChangeEvent {
  const event: Draft = {
    operation: '',
    collection: undefined,
    db: '',
    coll: '',
    key: undefined,
    document: undefined,
    delta: undefined,
    seconds: 0,
    increment: 0,
    raw,
  };
  forEachField(raw, (name, { start, end }) => {
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
        readNamespace(raw.subarray(start, end), event);
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
    return true;
  });
  if (event.operation === '') throw new AppError('Internal', 'a change event without operationType was read');
  return event;
}

function readNamespace(ns: Buffer, event: Draft): void {
  forEachField(ns, (name, { start, end }) => {
    const text = ns.toString('utf8', start + 4, end - 1);
    if (name === 'db') event.db = text;
    else if (name === 'coll') event.coll = text;
    return true;
  });
}

/** The resume token of an event. */
export function tokenOf(event: ChangeEvent): Token {
  const id = findField(event.raw, '_id');
  if (id === undefined) throw new AppError('Internal', 'a change event without resume token was read');
  return toToken(Object.fromEntries(decodeOrdered(event.raw.subarray(id.start, id.end))));
}

export function namespaceOf(event: ChangeEvent): Namespace {
  return { db: event.db, coll: event.coll };
}
