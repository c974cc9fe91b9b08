/** Makes raw documents that no driver would write. */
import { BSON, type MongoClient } from 'mongodb';
import { DocumentSequence } from 'mongodb/lib/cmap/commands.js';

/** A field as it stands in BSON: name (bytes where no string has them), type and the value's bytes. */
export interface RawPart {
  readonly name: string | Buffer;
  readonly type: number;
  readonly bytes: Uint8Array;
}

/** A raw document of these fields, in this order, whatever their names: also repeated ones. */
export function rawDocument(parts: readonly RawPart[]): Buffer {
  const chunks: Uint8Array[] = [];
  for (const { name, type, bytes } of parts) {
    chunks.push(Buffer.from([type]), Buffer.from(name as string), Buffer.from([0]), bytes);
  }
  chunks.push(Buffer.from([0]));
  const length = chunks.reduce((sum, chunk) => sum + chunk.length, 4);
  return Buffer.concat([int32(length), ...chunks]);
}

/** A field with a value that the driver can encode. */
export function part(name: string | Buffer, value: unknown): RawPart {
  const doc = Buffer.from(BSON.serialize({ v: value }, { ignoreUndefined: false }));
  return { name, type: doc[4] ?? 0, bytes: doc.subarray(7, doc.length - 1) };
}

/** A field with a document or array (type 4) of these fields. */
export function nested(name: string | Buffer, parts: readonly RawPart[], type = 3): RawPart {
  return { name, type, bytes: rawDocument(parts) };
}

/** Four bytes, little-endian. */
export function int32(value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeInt32LE(value);
  return buffer;
}

/** Eight bytes, little-endian. */
export function int64(value: bigint): Buffer {
  const buffer = Buffer.alloc(8);
  buffer.writeBigInt64LE(value);
  return buffer;
}

/** A BSON string of these bytes, which need not be UTF-8. */
export function rawString(bytes: Buffer): Buffer {
  return Buffer.concat([int32(bytes.length + 1), bytes, Buffer.from([0])]);
}

/** A document of exactly `bytes` bytes with that `_id`. */
export function documentOfSize(id: unknown, bytes: number): Buffer {
  const without = rawDocument([part('_id', id), { name: 'pad', type: 2, bytes: rawString(Buffer.alloc(0)) }]);
  const pad = Buffer.alloc(bytes - without.length, 'x');
  return rawDocument([part('_id', id), { name: 'pad', type: 2, bytes: rawString(pad) }]);
}

interface Sequence {
  push(document: unknown, buffer: Uint8Array): number;
}

/** Raw BSON documents as a command's field, put on the wire as they are. */
export function sequence(field: string, documents: readonly Uint8Array[]): unknown {
  const made = new (DocumentSequence as new (name: string) => Sequence)(field);
  for (const document of documents) made.push(null, document);
  return made;
}

const MAX_BATCH_BYTES = 24 * 1024 * 1024;
const CONCERN = { w: 'majority', j: true };

/** Inserts raw documents in order, which the driver's own insert would decode, change or refuse. Errors: RawWriteError. */
export async function rawInsert(
  client: MongoClient,
  db: string,
  collection: string,
  documents: readonly Buffer[],
): Promise<void> {
  for (const batch of batchesOf(documents)) {
    const reply = await client.db(db).command({
      insert: collection,
      ordered: true,
      bypassDocumentValidation: true,
      writeConcern: CONCERN,
      documents: sequence('documents', batch),
    });
    throwWriteErrors(reply, `${db}.${collection}`);
  }
}

/**
 * Puts raw documents in place by their `_id`, bit for bit: an insert would set a top-level `Timestamp(0, 0)` to the
 * present time, a replacement would refuse names that begin with `$`. `ids` are the documents' `_id` fields.
 */
export async function rawReplace(
  client: MongoClient,
  db: string,
  collection: string,
  documents: readonly { readonly id: RawPart; readonly bytes: Buffer }[],
): Promise<void> {
  const statements = documents.map(({ id, bytes }) =>
    rawDocument([
      nested('q', [{ ...id, name: '_id' }]),
      nested('u', [nested('0', [nested('$replaceWith', [{ name: '$literal', type: 3, bytes }])])], 4),
      part('upsert', true),
    ]),
  );
  const reply = await client.db(db).command({
    update: collection,
    ordered: true,
    bypassDocumentValidation: true,
    writeConcern: CONCERN,
    updates: sequence('updates', statements),
  });
  throwWriteErrors(reply, `${db}.${collection}`);
}

/** The server refused a document of a raw write. */
export class RawWriteError extends Error {
  override readonly name = 'RawWriteError';
}

function throwWriteErrors(reply: Record<string, unknown>, namespace: string): void {
  const problems = (reply['writeErrors'] ?? (reply['writeConcernError'] && [reply['writeConcernError']])) as
    | { index?: number; code: number; errmsg: string }[]
    | undefined;
  const first = problems?.[0];
  if (first === undefined) return;
  throw new RawWriteError(`${namespace}, document ${first.index}: ${first.code} ${first.errmsg.slice(0, 500)}`);
}

function* batchesOf(documents: readonly Buffer[]): Generator<Buffer[]> {
  let batch: Buffer[] = [];
  let bytes = 0;
  for (const document of documents) {
    if (batch.length > 0 && (bytes + document.length > MAX_BATCH_BYTES || batch.length >= 10_000)) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(document);
    bytes += document.length;
  }
  if (batch.length > 0) yield batch;
}
