/** A command that has arrived at a simulated server, and the ways to answer it. */
import { Long } from 'mongodb';
import { rawCursor } from '../support/raw-replies.js';
import { Codes, serverError } from './errors.js';
import { fromRaw } from './raw.js';

export type Doc = Record<string, unknown>;

/** A command with what it came with. */
export interface Request {
  readonly db: string;
  readonly command: Doc;
  /** Its first field's name, and that field's value. */
  readonly name: string;
  readonly target: string;
  /** The session's id in hexadecimal; undefined outside of any. */
  readonly session: string | undefined;
  /** Reply arrays that are given raw. */
  readonly raw: Readonly<Record<string, boolean>>;
  /** Whether the whole cursor is given raw. */
  readonly rawCursor?: boolean | undefined;
}

/** A reply, and the time up to which it tells of the state. */
export interface Answer {
  readonly reply: Doc;
  /** Cluster time; undefined: the newest one. */
  readonly time?: number | undefined;
}

/** Where a cursor stands in a reply. */
export interface CursorBatch {
  readonly documents: readonly Buffer[];
  /** 0: it is at its end. */
  readonly id: number;
  readonly ns: string;
  readonly isFirst: boolean;
  readonly token?: Doc | undefined;
}

/** The reply of a find, an aggregate, a getMore or a listing. */
export function cursorReply(request: Request, batch: CursorBatch): Doc {
  const name = batch.isFirst ? 'firstBatch' : 'nextBatch';
  if (request.rawCursor === true) {
    const { documents, ns, isFirst, token: postBatchResumeToken } = batch;
    const id = Long.fromNumber(batch.id);
    return { cursor: rawCursor({ id, ns, batch: documents, isNext: !isFirst, postBatchResumeToken }), ok: 1 };
  }
  const documents = request.raw[name] === true ? batch.documents : batch.documents.map(fromRaw);
  const token = batch.token === undefined ? {} : { postBatchResumeToken: batch.token };
  return { cursor: { id: Long.fromNumber(batch.id), ns: batch.ns, [name]: documents, ...token }, ok: 1 };
}

/** A whole result in one batch. */
export function wholeReply(request: Request, ns: string, documents: readonly Buffer[]): Doc {
  return cursorReply(request, { documents, id: 0, ns, isFirst: true });
}

/** Bytes of a UUID that a command holds. */
export function uuidOf(value: unknown): Buffer | undefined {
  if (value === undefined) return undefined;
  const { buffer, position } = value as { buffer: Uint8Array; position: number };
  return Buffer.from(buffer.subarray(0, position));
}

/** What a guarded command is refused with when its collection is elsewhere. */
export function uuidMismatch(request: Request, actual: string | undefined): Error {
  const more = { collectionUUID: request.command['collectionUUID'], actualCollection: actual ?? null };
  return serverError(Codes.CollectionUUIDMismatch, 'Collection UUID does not match that specified', more);
}

/** A number of a command. */
export function numberOf(value: unknown): number {
  if (typeof value === 'number') return value;
  if (value instanceof Long) return value.toNumber();
  return Number((value as { value?: unknown } | undefined)?.value ?? value);
}
