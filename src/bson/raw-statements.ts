/** Builds the statements of update and delete commands around raw documents. */
import { documentOf, documentOfFields, fieldOf } from './raw-document.js';

/**
 * Statements of update and delete commands, built around raw documents so that nothing carried is decoded. `key` is
 * a raw `{_id: …}` document, as `idDocument` and a change event's `id` give it, or the query of a whole document key
 * (key-query.ts).
 */

const TRUE = Buffer.from([1]);
const ONE = Buffer.from([1, 0, 0, 0]);
const TYPE = { document: 3, array: 4, boolean: 8, int: 16 } as const;

/** The document takes the place of the one with that key, or is inserted. */
export function replaceStatement(key: Buffer, doc: Buffer): Buffer {
  return documentOfFields(
    fieldOf('q', TYPE.document, key),
    fieldOf('u', TYPE.document, doc),
    fieldOf('upsert', TYPE.boolean, TRUE),
  );
}

/**
 * As `replaceStatement`, by a pipeline: keeps what a plain replacement would change or refuse, i.e. empty timestamps,
 * names that begin with `$` and names that occur twice. Several times slower.
 */
export function literalReplaceStatement(key: Buffer, doc: Buffer): Buffer {
  const stage = documentOf('$replaceWith', TYPE.document, documentOf('$literal', TYPE.document, doc));
  return documentOfFields(
    fieldOf('q', TYPE.document, key),
    fieldOf('u', TYPE.array, documentOf('0', TYPE.document, stage)),
    fieldOf('upsert', TYPE.boolean, TRUE),
  );
}

/**
 * Applies the server's own deltas (`{$v: 2, diff: …}` of `rawUpdateDescription`), one after the other, to the document
 * of that key, if it is there: never upserted, which would make a partial document. Source: SERVER-61894;
 * docs/04-apply.md.
 */
export function deltaStatement(key: Buffer, deltas: readonly Buffer[]): Buffer {
  let length = DELTA_FIXED_BYTES + key.length;
  for (const [index, delta] of deltas.entries()) length += stageHead(index).length + delta.length + 2;
  const out = Buffer.allocUnsafe(length);
  out.writeInt32LE(length, 0);
  out.set(QUERY_HEAD, 4);
  let offset = 4 + QUERY_HEAD.length;
  out.set(key, offset);
  offset += key.length;
  out.set(UPDATE_HEAD, offset);
  offset += UPDATE_HEAD.length;
  // The array lasts to the terminator of the whole.
  offset = out.writeInt32LE(length - offset - 1, offset);
  for (const [index, delta] of deltas.entries()) offset = writeStage(out, offset, stageHead(index), delta);
  out[offset] = 0;
  out[offset + 1] = 0;
  return out;
}

const QUERY_HEAD = Buffer.from('\x03q\0', 'latin1');
const UPDATE_HEAD = Buffer.from('\x04u\0', 'latin1');
const STAGE_NAME = '$_internalApplyOplogUpdate\0';
const FIELD_NAME = 'oplogUpdate\0';
/** The statement's length, `q`'s and `u`'s heads, the array's length, and both terminators. */
const DELTA_FIXED_BYTES = 4 + QUERY_HEAD.length + UPDATE_HEAD.length + 4 + 2;
/** Made once each: copying them is several times faster than writing their texts. */
const STAGE_HEADS: Buffer[] = [];

/** `<index>: {$_internalApplyOplogUpdate: {oplogUpdate: ` with room for both lengths. */
function stageHead(index: number): Buffer {
  STAGE_HEADS[index] ??= Buffer.from(`\x03${index}\0\0\0\0\0\x03${STAGE_NAME}\0\0\0\0\x03${FIELD_NAME}`, 'latin1');
  return STAGE_HEADS[index] as Buffer;
}

/** One stage at `start`; returns where it ends. */
function writeStage(out: Buffer, start: number, head: Buffer, delta: Buffer): number {
  out.set(head, start);
  const end = start + head.length + delta.length + 2;
  const innerAt = start + head.length - FIELD_NAME.length - 1 - 4;
  const outerAt = innerAt - STAGE_NAME.length - 1 - 4;
  out.writeInt32LE(end - outerAt, outerAt);
  out.writeInt32LE(end - 1 - innerAt, innerAt);
  out.set(delta, start + head.length);
  out[end - 2] = 0;
  out[end - 1] = 0;
  return end;
}

/** Deletes the document of that key: by an `_id` alone one on each shard that has one with it. */
export function deleteStatement(key: Buffer): Buffer {
  return documentOfFields(fieldOf('q', TYPE.document, key), fieldOf('limit', TYPE.int, ONE));
}
