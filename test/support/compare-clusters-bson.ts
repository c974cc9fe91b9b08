/** Reads raw BSON for the comparison, independently of src/. */
import { BSON } from 'mongodb';

// Written apart from src/cluster on purpose: what judges the engine must not share the engine's mistakes.

/** A value of a raw document: its BSON type and its bytes. */
export interface RawValue {
  readonly type: number;
  readonly bytes: Buffer;
}

/** A field of a raw document. */
export interface RawField extends RawValue {
  readonly name: string;
}

const DOUBLE = 0x01;
const DOCUMENT = 0x03;
const ARRAY = 0x04;
const BINARY = 0x05;
const REGEX = 0x0b;
const DB_POINTER = 0x0c;
const INT = 0x10;
const LONG = 0x12;

/** Bytes of the values that all have one length. */
const FIXED: Readonly<Record<number, number>> = {
  [DOUBLE]: 8,
  [INT]: 4,
  [LONG]: 8,
  6: 0, // undefined
  7: 12, // object id
  8: 1, // boolean
  9: 8, // date
  10: 0, // null
  17: 8, // timestamp
  19: 16, // decimal
  127: 0, // max key
  255: 0, // min key
};

/** Every top-level field in stored order; names occur more than once where the document has them so. */
export function* fieldsOf(doc: Buffer): Generator<RawField> {
  let offset = 4;
  while (offset < doc.length - 1) {
    const type = doc[offset] ?? 0;
    const nameEnd = doc.indexOf(0, offset + 1);
    const start = nameEnd + 1;
    const end = start + valueLength(doc, type, start);
    if (end > doc.length) throw new RangeError(`a BSON value ends beyond its document at byte ${start}`);
    yield { name: doc.toString('utf8', offset + 1, nameEnd), type, bytes: doc.subarray(start, end) };
    offset = end;
  }
}

/** The first top-level field of that name. */
export function fieldOf(doc: Buffer, name: string): RawValue | undefined {
  for (const field of fieldsOf(doc)) {
    if (field.name === name) return field;
  }
  return undefined;
}

function valueLength(doc: Buffer, type: number, start: number): number {
  const fixed = FIXED[type];
  if (fixed !== undefined) return fixed;
  switch (type) {
    case DOCUMENT:
    case ARRAY:
    case 0x0f: // code with scope
      return doc.readInt32LE(start);
    case BINARY:
      return doc.readInt32LE(start) + 5;
    case REGEX:
      return doc.indexOf(0, doc.indexOf(0, start) + 1) + 1 - start;
    case DB_POINTER:
      return doc.readInt32LE(start) + 16;
    case 0x02: // string
    case 0x0d: // code
    case 0x0e: // symbol
      return doc.readInt32LE(start) + 4;
    default:
      throw new RangeError(`BSON has no type ${type}`);
  }
}

/** Whether two values are the same bytes. */
export function sameBytes(a: RawValue, b: RawValue): boolean {
  return a.type === b.type && a.bytes.equals(b.bytes);
}

/** Whether two values are the same bytes, or equal numbers of different types. */
export function sameOrEqualNumbers(a: RawValue, b: RawValue): boolean {
  if (sameBytes(a, b)) return true;
  const first = numberOf(a);
  return first !== undefined && first === numberOf(b);
}

/** The number that a double, int or long is; undefined for other types. */
export function numberOf({ type, bytes }: RawValue): number | undefined {
  if (type === DOUBLE) return bytes.readDoubleLE();
  if (type === INT) return bytes.readInt32LE();
  if (type === LONG) return Number(bytes.readBigInt64LE());
  return undefined;
}

/** A text that is equal for documents that differ in nothing but the order of fields, at any depth. */
export function orderlessText(doc: Buffer): string {
  return orderless({ type: DOCUMENT, bytes: doc });
}

function orderless({ type, bytes }: RawValue): string {
  if (type !== DOCUMENT && type !== ARRAY) return `${type}:${bytes.toString('base64')}`;
  const fields = [...fieldsOf(bytes)].map((field) => `${JSON.stringify(field.name)}=${orderless(field)}`);
  return type === ARRAY ? `[${fields.join()}]` : `{${fields.sort().join()}}`;
}

/** A value for people, fields in their stored order, numbers with their types: `{b: 1, 0: Long 2}`. */
export function renderValue({ type, bytes }: RawValue): string {
  if (type === DOCUMENT) {
    return `{${[...fieldsOf(bytes)].map((field) => `${field.name}: ${renderValue(field)}`).join(', ')}}`;
  }
  if (type === ARRAY) return `[${[...fieldsOf(bytes)].map(renderValue).join(', ')}]`;
  if (type === INT) return String(bytes.readInt32LE());
  if (type === LONG) return `Long ${bytes.readBigInt64LE()}`;
  if (type === DOUBLE) return `Double ${Object.is(bytes.readDoubleLE(), -0) ? '-0' : bytes.readDoubleLE()}`;
  return renderScalar(type, bytes);
}

function renderScalar(type: number, bytes: Buffer): string {
  const size = 4 + 3 + bytes.length + 1;
  const head = Buffer.from([size & 0xff, (size >> 8) & 0xff, (size >> 16) & 0xff, size >>> 24, type, 0x76, 0]);
  try {
    const { v } = BSON.deserialize(Buffer.concat([head, bytes, Buffer.from([0])]), { promoteValues: false });
    return BSON.EJSON.stringify(v, { relaxed: false }) ?? `type ${type}`;
  } catch (error) {
    // What the server stores and the driver cannot decode: invalid UTF-8, dates out of range.
    if (error instanceof Error) return `type ${type} 0x${bytes.toString('hex').slice(0, 80)}`;
    throw error;
  }
}
