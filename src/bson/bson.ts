/** Decodes and encodes BSON without losing the order, the names or the types of fields. */
import { BSON } from 'mongodb';

/** The BSON types the engine handles; every other file takes them from here. */
export { Binary, Decimal128, Double, Int32, Long, MaxKey, ObjectId, Timestamp } from 'mongodb';

/** A command or reply as the driver takes it. */
export type Doc = Record<string, unknown>;

/**
 * A document whose field order and names are kept exactly: a plain object would move integer-like names to the front
 * and lose `__proto__` (docs/04-apply.md). Values: Maps, arrays and the driver's BSON types, never promoted numbers.
 */
export type OrderedDoc = Map<string, unknown>;

const LEAVES = {
  promoteValues: false,
  promoteLongs: false,
  promoteBuffers: false,
  bsonRegExp: true,
  validation: { utf8: false },
} as const;

/** Decodes raw BSON, keeping field order, names and number types. */
export function decodeOrdered(raw: Uint8Array): OrderedDoc {
  const result: OrderedDoc = new Map();
  for (const field of readFields(Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength))) {
    result.set(field.name, decodeField(field));
  }
  return result;
}

/** The BSON value of an Extended JSON one, e.g. of `{"$numberLong": "1"}`. */
export function extendedValue(value: unknown): unknown {
  return (BSON.EJSON.deserialize({ value } as Doc, { relaxed: false }) as Doc)['value'];
}

/** Encodes a document to raw BSON; Maps keep their order at any depth. */
export function encode(doc: OrderedDoc | Doc): Buffer {
  return Buffer.from(BSON.serialize(doc as Doc, { ignoreUndefined: true }));
}

/** Bytes of a document once encoded. */
export function sizeOf(doc: Doc): number {
  return BSON.calculateObjectSize(doc, { ignoreUndefined: true });
}

/** Decodes with the driver's ordinary promotions; for replies and records of ours, never for user documents. */
export function decodePlain(raw: Uint8Array): Doc {
  return BSON.deserialize(raw, { validation: { utf8: false } });
}

/** Decodes what belongs to a reply: long integers stay what they are. */
export function decodeReply(raw: Uint8Array): Doc {
  return BSON.deserialize(raw, { promoteLongs: false, validation: { utf8: false } });
}

/** Whether decoding and encoding gives the same bytes; what cannot be carried in a command is found by this. */
export function survivesDecoding(raw: Buffer): boolean {
  try {
    return encode(decodeOrdered(raw)).equals(raw);
  } catch (error) {
    if (error instanceof Error) return false;
    throw error;
  }
}

/** The value of a raw `{_id: …}` as Extended JSON, for people and reports. */
export function idText(id: Uint8Array): string {
  return BSON.EJSON.stringify(BSON.deserialize(id, LEAVES)['_id'], { relaxed: true });
}

/** A text that is equal for equal values and keeps number types apart; field order counts. For comparing specs. */
export function canonicalText(value: unknown): string {
  return BSON.EJSON.stringify(toPlain(value), { relaxed: false });
}

/** As `canonicalText`, with the top-level fields sorted: for options whose order carries no meaning. */
export function unorderedText(doc: OrderedDoc): string {
  return canonicalText([...doc].sort(([a], [b]) => (a < b ? -1 : 1)));
}

function toPlain(value: unknown): unknown {
  if (value instanceof Map) return { doc: [...value].map(([key, item]) => [key, toPlain(item)]) };
  if (Array.isArray(value)) return value.map(toPlain);
  return value;
}

interface Field {
  readonly name: string;
  readonly type: number;
  readonly raw: Buffer;
}

const TYPE_DOCUMENT = 3;
const TYPE_ARRAY = 4;

function* readFields(buffer: Buffer): Generator<Field> {
  let offset = 4;
  while (offset < buffer.length - 1) {
    const type = buffer[offset] as number;
    const nameEnd = buffer.indexOf(0, offset + 1);
    const end = valueEnd(buffer, type, nameEnd + 1);
    yield { name: buffer.toString('utf8', offset + 1, nameEnd), type, raw: buffer.subarray(nameEnd + 1, end) };
    offset = end;
  }
}

function decodeField(field: Field): unknown {
  if (field.type === TYPE_DOCUMENT) return decodeOrdered(field.raw);
  if (field.type === TYPE_ARRAY) return [...readFields(field.raw)].map(decodeField);
  return BSON.deserialize(wrapValue(field.type, field.raw), LEAVES)['v'];
}

/** `{v: <value>}` as raw BSON. */
function wrapValue(type: number, value: Uint8Array): Buffer {
  const length = 4 + 3 + value.length + 1;
  const buffer = Buffer.allocUnsafe(length);
  buffer.writeInt32LE(length, 0);
  buffer[4] = type;
  buffer[5] = 0x76;
  buffer[6] = 0;
  buffer.set(value, 7);
  buffer[length - 1] = 0;
  return buffer;
}

/**
 * Where the value that begins at `start` ends. Throws RangeError on a type that BSON 1.1 does not know.
 * Source: bsonspec.org.
 */
export function valueEnd(buffer: Buffer, type: number, start: number): number {
  switch (type) {
    case 0x01: // double
    case 0x09: // date
    case 0x11: // timestamp
    case 0x12: // long
      return start + 8;
    case 0x10: // int
      return start + 4;
    case 0x07: // object id
      return start + 12;
    case 0x08: // boolean
      return start + 1;
    case 0x13: // decimal
      return start + 16;
    case 0x02: // string
    case 0x0d: // code
    case 0x0e: // symbol
      return start + 4 + buffer.readInt32LE(start);
    case 0x03: // document
    case 0x04: // array
    case 0x0f: // code with scope
      return start + buffer.readInt32LE(start);
    case 0x05: // binary
      return start + 5 + buffer.readInt32LE(start);
    case 0x0c: // DBPointer
      return start + 4 + buffer.readInt32LE(start) + 12;
    case 0x0b: // regular expression
      return buffer.indexOf(0, buffer.indexOf(0, start) + 1) + 1;
    case 0x06: // undefined
    case 0x0a: // null
    case 0x7f: // MaxKey
    case 0xff: // MinKey
      return start;
    default:
      throw new RangeError(`BSON type 0x${type.toString(16)} is not known`);
  }
}
