import { createHash } from 'node:crypto';
import { canonicalText, decodeOrdered, type OrderedDoc } from '../cluster/bson.js';

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
