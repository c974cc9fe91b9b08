/** BSON values as bytes: what passes through the router double is read and put together here, never decoded and encoded anew. */
import { BSON } from 'mongodb';
import { valueEnd } from '../../../src/bson/bson.js';

/** A value as it stands in a document: its BSON type and its bytes. */
export class RawValue {
  constructor(
    readonly type: number,
    readonly bytes: Buffer,
  ) {}
}

/** The top-level fields of a document, in order. */
export type Fields = ReadonlyMap<string, RawValue>;

/** What {@link encode} takes: raw values and raw documents (bytes), and whatever the driver's BSON library takes. */
export type Encodable =
  | RawValue
  | Uint8Array
  | string
  | number
  | bigint
  | boolean
  | null
  | undefined
  | Date
  | BSON.BSONValue
  | readonly Encodable[]
  | ReadonlyMap<string, Encodable>
  | { readonly [name: string]: Encodable };

/** A document that is being put together. */
export type Doc = Map<string, Encodable>;

/** One part of {@link doc}. */
export type Part = ReadonlyMap<string, Encodable> | Readonly<Record<string, Encodable>> | undefined;

export const BSON_TYPE = {
  double: 1,
  string: 2,
  document: 3,
  array: 4,
  binary: 5,
  undefined: 6,
  objectId: 7,
  boolean: 8,
  date: 9,
  null: 10,
  regex: 11,
  dbPointer: 12,
  code: 13,
  symbol: 14,
  codeWithScope: 15,
  int: 16,
  timestamp: 17,
  long: 18,
  decimal: 19,
  maxKey: 127,
  minKey: 255,
} as const;

export const NULL = new RawValue(BSON_TYPE.null, Buffer.alloc(0));

/** A field of a document and where it stands there. */
export interface Element {
  readonly name: string;
  readonly value: RawValue;
  readonly start: number;
  readonly end: number;
}

/** The top-level fields of a raw document or array, in order, names that occur twice included. */
export function* elements(raw: Buffer): Generator<Element> {
  let start = 4;
  while (start < raw.length - 1) {
    const type = raw[start] as number;
    const nameEnd = raw.indexOf(0, start + 1);
    const end = valueEnd(raw, type, nameEnd + 1);
    const value = new RawValue(type, raw.subarray(nameEnd + 1, end));
    yield { name: raw.toString('utf8', start + 1, nameEnd), value, start, end };
    start = end;
  }
}

/** All top-level fields. Not for documents of users, whose names may occur twice. */
export function fieldsOf(raw: Buffer): Map<string, RawValue> {
  const fields = new Map<string, RawValue>();
  for (const { name, value } of elements(raw)) fields.set(name, value);
  return fields;
}

/** The first top-level field of that name. */
export function fieldOf(raw: Buffer, name: string): RawValue | undefined {
  return elementOf(raw, name)?.value;
}

/** As {@link fieldOf}, without a text made of each name: documents by the thousand are looked through. */
function elementOf(raw: Buffer, name: string, from = 4): Element | undefined {
  const wanted = Buffer.from(name);
  for (let start = from; start < raw.length - 1; ) {
    const type = raw[start] as number;
    const nameEnd = raw.indexOf(0, start + 1);
    const end = valueEnd(raw, type, nameEnd + 1);
    if (nameEnd - start - 1 === wanted.length && wanted.compare(raw, start + 1, nameEnd) === 0) {
      return { name, value: new RawValue(type, raw.subarray(nameEnd + 1, end)), start, end };
    }
    start = end;
  }
  return undefined;
}

/** The first field's name; '' for an empty document. */
export function firstName(raw: Buffer): string {
  for (const { name } of elements(raw)) return name;
  return '';
}

/** The document without its top-level fields of that name, all other bytes untouched. */
export function withoutField(raw: Buffer, name: string): Buffer {
  const chunks: Buffer[] = [];
  let kept = 4;
  for (let found = elementOf(raw, name); found !== undefined; found = elementOf(raw, name, kept)) {
    chunks.push(raw.subarray(kept, found.start));
    kept = found.end;
  }
  return kept === 4 ? raw : wrap([...chunks, raw.subarray(kept, raw.length - 1)]);
}

/** Merges parts into one document: a later part's value takes the place of an earlier one's; undefined is left out. */
export function doc(...parts: readonly Part[]): Doc {
  const result: Doc = new Map();
  for (const part of parts) {
    if (part === undefined) continue;
    for (const [name, value] of part instanceof Map ? part : Object.entries(part)) {
      if (value !== undefined) result.set(name, value);
    }
  }
  return result;
}

/** A document that was put together, as if it had been read. */
export function asFields(document: Doc): Map<string, RawValue> {
  return new Map([...document].map(([name, value]) => [name, rawValue(value)] as const));
}

/** A document as raw BSON. */
export function encode(document: Part | Uint8Array): Buffer {
  if (document === undefined) return wrap([]);
  if (document instanceof Uint8Array) return asBuffer(document);
  const chunks: Buffer[] = [];
  for (const [name, value] of document instanceof Map ? document : Object.entries(document)) {
    if (value !== undefined) pushField(chunks, name, rawValue(value));
  }
  return wrap(chunks);
}

/** An array as a raw BSON value: written in one go, since batches of documents are arrays. */
function encodeArray(items: readonly Encodable[]): RawValue {
  const values = items.map(rawValue);
  const lengths = values.reduce((sum, { bytes }, index) => sum + 2 + String(index).length + bytes.length, 5);
  const out = Buffer.allocUnsafe(lengths);
  let offset = out.writeInt32LE(lengths, 0);
  for (const [index, { type, bytes }] of values.entries()) {
    out[offset] = type;
    offset += 1 + out.write(String(index), offset + 1, 'latin1');
    out[offset] = 0;
    out.set(bytes, offset + 1);
    offset += 1 + bytes.length;
  }
  out[offset] = 0;
  return new RawValue(BSON_TYPE.array, out);
}

function pushField(chunks: Buffer[], name: string, { type, bytes }: RawValue): void {
  const head = Buffer.allocUnsafe(2 + Buffer.byteLength(name));
  head[0] = type;
  head.write(name, 1);
  head[head.length - 1] = 0;
  chunks.push(head, bytes);
}

function wrap(chunks: readonly Buffer[]): Buffer {
  const length = chunks.reduce((sum, chunk) => sum + chunk.length, 5);
  const out = Buffer.allocUnsafe(length);
  let offset = out.writeInt32LE(length, 0);
  for (const chunk of chunks) offset += chunk.copy(out, offset);
  out[offset] = 0;
  return out;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Any value as a raw one: whole numbers of 32 bits become int, other numbers double, bigints long. */
export function rawValue(value: Encodable): RawValue {
  if (value instanceof RawValue) return value;
  if (value instanceof Uint8Array) return new RawValue(BSON_TYPE.document, asBuffer(value));
  if (value instanceof Map) return new RawValue(BSON_TYPE.document, encode(value));
  if (Array.isArray(value)) return encodeArray(value);
  if (typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype) {
    return new RawValue(BSON_TYPE.document, encode(value as Part));
  }
  if (typeof value === 'bigint') return longValue(value);
  const raw = Buffer.from(BSON.serialize({ v: value }));
  return fieldOf(raw, 'v') ?? NULL;
}

/** A value of 64 bits. */
export function longValue(value: bigint): RawValue {
  const bytes = Buffer.allocUnsafe(8);
  bytes.writeBigInt64LE(value);
  return new RawValue(BSON_TYPE.long, bytes);
}

/** A value decoded by the driver's library, numbers promoted. Not for what is passed on. */
export function decoded(value: RawValue | undefined): unknown {
  return value === undefined ? undefined : decodedDoc(encode(new Map([['v', value]])))['v'];
}

/** A document decoded as {@link decoded} does. */
export function decodedDoc(raw: Uint8Array): Record<string, unknown> {
  return BSON.deserialize(raw, { validation: { utf8: false } });
}

/** The text of a string; undefined for any other value. */
export function textOf(value: RawValue | undefined): string | undefined {
  if (value?.type !== BSON_TYPE.string) return undefined;
  return value.bytes.toString('utf8', 4, value.bytes.length - 1);
}

/** A number of any type, as near as a double comes; undefined for any other value. */
export function numberOf(value: RawValue | undefined): number | undefined {
  switch (value?.type) {
    case BSON_TYPE.int:
      return value.bytes.readInt32LE(0);
    case BSON_TYPE.long:
      return Number(value.bytes.readBigInt64LE(0));
    case BSON_TYPE.double:
      return value.bytes.readDoubleLE(0);
    case BSON_TYPE.decimal:
      return Number(String(decoded(value)));
    default:
      return undefined;
  }
}

/** A whole number of any type as a bigint; 0 for any other value. */
export function bigintOf(value: RawValue | undefined): bigint {
  if (value?.type === BSON_TYPE.long) return value.bytes.readBigInt64LE(0);
  return BigInt(Math.trunc(numberOf(value) ?? 0));
}

/** Whether a value counts as true, as the server takes flags: true, and numbers but 0. */
export function isTrue(value: RawValue | undefined): boolean {
  return value?.type === BSON_TYPE.boolean ? value.bytes[0] === 1 : (numberOf(value) ?? 0) !== 0;
}

/** The bytes of a document; undefined for any other value. */
export function documentOf(value: RawValue | undefined): Buffer | undefined {
  return value?.type === BSON_TYPE.document ? value.bytes : undefined;
}

/** The items of an array; none for any other value. */
export function itemsOf(value: RawValue | undefined): RawValue[] {
  if (value?.type !== BSON_TYPE.array) return [];
  const { bytes } = value;
  const items: RawValue[] = [];
  for (let start = 4; start < bytes.length - 1; ) {
    const type = bytes[start] as number;
    // A name is a digit at least.
    const from = bytes.indexOf(0, start + 2) + 1;
    const end = valueEnd(bytes, type, from);
    items.push(new RawValue(type, bytes.subarray(from, end)));
    start = end;
  }
  return items;
}

/** The documents of an array; none for any other value. */
export function documentsOf(value: RawValue | undefined): Buffer[] {
  return itemsOf(value).map(({ bytes }) => bytes);
}

/** A value as the server writes it in messages, roughly. */
export function shown(value: RawValue | Part | Buffer): string {
  const raw = value instanceof RawValue ? value : new RawValue(BSON_TYPE.document, encode(value));
  if (raw.type === BSON_TYPE.document) {
    const inner = Array.from(elements(raw.bytes), (each) => `${each.name}: ${shown(each.value)}`).join(', ');
    return inner === '' ? '{}' : `{ ${inner} }`;
  }
  if (raw.type === BSON_TYPE.array) return `[ ${itemsOf(raw).map(shown).join(', ')} ]`;
  if (raw.type === BSON_TYPE.string) return `"${textOf(raw)}"`;
  return String(decoded(raw));
}
