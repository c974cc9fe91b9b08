/** Reads the top-level fields of raw documents without decoding them. */
import { valueEnd } from './bson.js';

/** A field inside a raw document: its BSON type and where its value stands. */
export interface RawField {
  readonly type: number;
  readonly start: number;
  readonly end: number;
}

/** Calls `visit` for every top-level field, in order, until it returns false. Names are latin1: exact for comparing. */
export function forEachField(doc: Buffer, visit: (name: string, field: RawField) => boolean | undefined): void {
  let offset = 4;
  const last = doc.length - 1;
  while (offset < last) {
    const type = doc[offset] as number;
    const nameEnd = doc.indexOf(0, offset + 1);
    const start = nameEnd + 1;
    const end = valueEnd(doc, type, start);
    if (visit(doc.toString('latin1', offset + 1, nameEnd), { type, start, end }) === false) return;
    offset = end;
  }
}

/** A name as `forEachField` gives it. */
export function rawName(name: string): string {
  return Buffer.from(name).toString('latin1');
}

/** The first top-level field of that name: ASCII, or as `rawName` makes it. */
export function findField(doc: Buffer, name: string): RawField | undefined {
  let found: RawField | undefined;
  forEachField(doc, (each, field) => {
    if (each !== name) return true;
    found = field;
    return false;
  });
  return found;
}

/** The document `{_id: <the document's _id>}`, or undefined when it has none. */
export function idDocument(doc: Buffer): Buffer | undefined {
  // The server puts _id first on insert, so the walk almost always ends at the first field.
  const field = findField(doc, '_id');
  return field === undefined ? undefined : documentOf('_id', field.type, doc.subarray(field.start, field.end));
}

/** A document of one field, as raw BSON. */
export function documentOf(name: string, type: number, value: Uint8Array): Buffer {
  const nameLength = Buffer.byteLength(name);
  const length = 4 + 1 + nameLength + 1 + value.length + 1;
  const buffer = Buffer.allocUnsafe(length);
  buffer.writeInt32LE(length, 0);
  buffer[4] = type;
  buffer.write(name, 5);
  buffer[5 + nameLength] = 0;
  buffer.set(value, 6 + nameLength);
  buffer[length - 1] = 0;
  return buffer;
}

/** A field as it stands inside a document: type, name, value. The name is ASCII, or latin1 as `forEachField` gives it. */
export function fieldOf(name: string, type: number, value: Uint8Array): Buffer {
  const head = Buffer.allocUnsafe(2 + name.length + value.length);
  head[0] = type;
  head.write(name, 1, 'latin1');
  head[1 + name.length] = 0;
  head.set(value, 2 + name.length);
  return head;
}

/** A document of such fields. */
export function documentOfFields(...fields: readonly Buffer[]): Buffer {
  const length = fields.reduce((sum, each) => sum + each.length, 5);
  const doc = Buffer.allocUnsafe(length);
  doc.writeInt32LE(length, 0);
  let offset = 4;
  for (const each of fields) {
    doc.set(each, offset);
    offset += each.length;
  }
  doc[offset] = 0;
  return doc;
}

const TYPE_TIMESTAMP = 0x11;
/** `_id` and the zero behind it, as a little-endian number. */
const ID_NAME = 0x0064695f;

/**
 * Whether the server would put the current time in place of a top-level `Timestamp(0, 0)` of this document when it is
 * inserted plainly (SERVER-43014); `_id` is exempt. Asked for every document: a walk over types and lengths is several
 * times faster than a search for eight zero bytes, which has to look at all of a document's content.
 */
export function holdsEmptyTimestamp(doc: Buffer): boolean {
  return holdsEmptyTimestampAt(doc, 0);
}

/** As `holdsEmptyTimestamp`, for a document that begins at `begin` of `doc`. */
export function holdsEmptyTimestampAt(doc: Buffer, begin: number): boolean {
  const last = begin + doc.readInt32LE(begin) - 1;
  let offset = begin + 4;
  while (offset < last) {
    const type = doc[offset] as number;
    let nameEnd = offset + 1;
    while (doc[nameEnd] !== 0) nameEnd++;
    const start = nameEnd + 1;
    if (type === TYPE_TIMESTAMP && doc.readUInt32LE(start) === 0 && doc.readUInt32LE(start + 4) === 0) {
      const isId = nameEnd - offset === 4 && doc.readUInt32LE(offset + 1) === ID_NAME;
      if (!isId) return true;
    }
    offset = valueEnd(doc, type, start);
  }
  return false;
}

/**
 * Whether a plain replacement would change or refuse this document: an empty timestamp, a top-level name that begins
 * with `$`, or one that occurs twice. A plain insert takes the latter two as they are.
 */
export function needsLiteralReplacement(doc: Buffer): boolean {
  const names = new Set<string>();
  let special = false;
  forEachField(doc, (name) => {
    special = name.startsWith('$') || names.has(name);
    names.add(name);
    return !special;
  });
  return special || holdsEmptyTimestamp(doc);
}
