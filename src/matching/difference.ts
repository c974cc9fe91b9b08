/** Tells how two documents with the same `_id` differ. */
import { createHash } from 'node:crypto';
import { canonicalText, decodeOrdered, type OrderedDoc } from '../bson/bson.js';
import { forEachField } from '../bson/raw-document.js';

/**
 * How a document differs: missing from the destination, there but not on the source, the same fields in another order,
 * equal but for BSON types, or otherwise.
 */
export type DifferenceKind = 'missing' | 'extra' | 'fieldOrder' | 'type' | 'content';

/** One document that is not the same on both sides. */
export interface Difference {
  /** Hexadecimal source UUID of its collection. */
  readonly collection: string;
  /** Raw `{_id: …}`. */
  readonly id: Buffer;
  readonly kind: DifferenceKind;
  /** As `firstDifference` tells. */
  readonly field: string;
}

/** Above it a document is remembered by a digest, so that what is held for comparing stays small. Bytes. */
const MAX_HELD_BYTES = 64;

/**
 * What is held of one side's document until the other side's is read: its bytes, or a SHA-256 of them. Equal for equal
 * documents, and only for them.
 */
export function fingerprint(doc: Buffer): Buffer {
  if (doc.length <= MAX_HELD_BYTES) return Buffer.from(doc);
  return createHash('sha256').update(doc).digest();
}

/** Larger documents are not decoded to tell how they differ: of the largest it takes ten seconds, with all else at a stop. */
const MAX_DECODED_BYTES = 1024 * 1024;

/** Tells how two documents with one `_id` differ; call for documents whose bytes do. */
export function kindOf(source: Buffer | undefined, destination: Buffer | undefined): DifferenceKind {
  if (source === undefined) return 'extra';
  if (destination === undefined) return 'missing';
  if (Math.max(source.length, destination.length) > MAX_DECODED_BYTES) return 'content';
  const a = decodeOrdered(source);
  const b = decodeOrdered(destination);
  if (sorted(a) === sorted(b)) return 'fieldOrder';
  return loose(a) === loose(b) ? 'type' : 'content';
}

const MAX_FIELD_NAME = 200;

/**
 * The name of the first top-level field that has other bytes in the other document or is not there, or, if there is no
 * such field, that stands in another place; long ones are cut. '' when a document is missing.
 */
export function firstDifference(source: Buffer | undefined, destination: Buffer | undefined): string {
  if (source === undefined || destination === undefined) return '';
  const [a, b] = [fieldsOf(source), fieldsOf(destination)];
  const [names, others] = [[...a.keys()], [...b.keys()]];
  const isOther = (name: string): boolean => a.get(name)?.equals(b.get(name) ?? NOTHING) !== true;
  const found = [...names, ...others].find(isOther) ?? names.find((name, n) => others[n] !== name) ?? '';
  return Buffer.from(found, 'latin1').toString().slice(0, MAX_FIELD_NAME);
}

const NOTHING = Buffer.alloc(0);

/** Each field's bytes by its name; of several with one name all. */
function fieldsOf(doc: Buffer): Map<string, Buffer> {
  const fields = new Map<string, Buffer>();
  forEachField(doc, (name, { start, end }) => {
    // Its type and name come before.
    const field = doc.subarray(start - name.length - 2, end);
    const earlier = fields.get(name);
    fields.set(name, earlier === undefined ? field : Buffer.concat([earlier, field]));
    return true;
  });
  return fields;
}

/** With the fields of every level sorted. */
function sorted(value: unknown): string {
  return canonicalText(order(value));
}

function order(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(order);
  if (!(value instanceof Map)) return value;
  const fields = [...(value as OrderedDoc)].map(([name, item]) => [name, order(item)] as const);
  return new Map(fields.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
}

/** With numbers and the other types written as plain text. */
function loose(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(loose).join()}]`;
  if (value instanceof Map) return `{${[...value].map(([name, item]) => `${name}:${loose(item)}`).join()}}`;
  if (value !== null && typeof value === 'object' && '_bsontype' in value && isNumeric(String(value._bsontype)))
    return String(Number(String(value)));
  return canonicalText(value);
}

function isNumeric(type: string): boolean {
  return type === 'Int32' || type === 'Long' || type === 'Double' || type === 'Decimal128';
}
