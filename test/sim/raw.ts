/** Raw BSON documents taken apart into fields and put together again, for doubles of servers. */
import { BSON } from 'mongodb';
import { valueEnd } from '../../src/bson/bson.js';

/** A field of a raw document; its value stays raw. */
export interface Field {
  readonly name: string;
  readonly type: number;
  readonly value: Buffer;
}

export const Type = {
  double: 1,
  string: 2,
  document: 3,
  array: 4,
  binary: 5,
  objectId: 7,
  boolean: 8,
  date: 9,
  null: 10,
  int: 16,
  timestamp: 17,
  long: 18,
  decimal: 19,
  maxKey: 0x7f,
  minKey: 0xff,
} as const;

/** The fields of a raw document or array, in order. */
export function fieldsOf(doc: Buffer): Field[] {
  const fields: Field[] = [];
  let offset = 4;
  while (offset < doc.length - 1) {
    const type = doc[offset] as number;
    const nameEnd = doc.indexOf(0, offset + 1);
    const end = valueEnd(doc, type, nameEnd + 1);
    fields.push({ name: doc.toString('utf8', offset + 1, nameEnd), type, value: doc.subarray(nameEnd + 1, end) });
    offset = end;
  }
  return fields;
}

/** The first field of that name. */
export function fieldOf(doc: Buffer, name: string): Field | undefined {
  let offset = 4;
  while (offset < doc.length - 1) {
    const type = doc[offset] as number;
    const nameEnd = doc.indexOf(0, offset + 1);
    const end = valueEnd(doc, type, nameEnd + 1);
    if (nameEnd - offset - 1 === name.length && doc.toString('utf8', offset + 1, nameEnd) === name)
      return { name, type, value: doc.subarray(nameEnd + 1, end) };
    offset = end;
  }
  return undefined;
}

/** A raw document of these fields. */
export function documentFrom(fields: readonly Field[]): Buffer {
  let length = 5;
  for (const { name, value } of fields) length += 2 + Buffer.byteLength(name) + value.length;
  const doc = Buffer.allocUnsafe(length);
  doc.writeInt32LE(length, 0);
  let offset = 4;
  for (const { name, type, value } of fields) {
    doc[offset++] = type;
    offset += doc.write(name, offset, 'utf8');
    doc[offset++] = 0;
    doc.set(value, offset);
    offset += value.length;
  }
  doc[offset] = 0;
  return doc;
}

/** Documents that stand one after the other, each by itself. */
export function documentsIn(bytes: Buffer): Buffer[] {
  const documents: Buffer[] = [];
  for (let start = 0; start < bytes.length; ) {
    const end = start + bytes.readInt32LE(start);
    documents.push(bytes.subarray(start, end));
    start = end;
  }
  return documents;
}

/** A value as a field. */
export function toField(name: string, value: unknown): Field {
  const [field] = fieldsOf(toRaw({ v: value }));
  if (field === undefined) throw new TypeError(`${name} has no value that BSON knows`);
  return { ...field, name };
}

/** A field that holds a raw document. */
export function documentField(name: string, value: Buffer): Field {
  return { name, type: Type.document, value };
}

/** A document or Map as raw BSON. */
export function toRaw(doc: object): Buffer {
  const bytes = BSON.serialize(doc, { ignoreUndefined: true });
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** A raw document as the driver gives it to the engine: ints and doubles are numbers, longs are not. */
export function fromRaw(raw: Buffer): Record<string, unknown> {
  return BSON.deserialize(raw, { promoteLongs: false, validation: { utf8: false } });
}

/** A raw field's value likewise. */
export function fieldValue({ type, value }: Field): unknown {
  return fromRaw(documentFrom([{ name: 'v', type, value }]))['v'];
}

/** The raw `{_id: …}` of a document. Errors: TypeError when it has none. */
export function idOf(doc: Buffer): Buffer {
  const field = fieldOf(doc, '_id');
  if (field === undefined) throw new TypeError('a document without _id');
  return documentFrom([field]);
}
