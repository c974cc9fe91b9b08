/** Finds a text that two documents share exactly when the server takes their `_id`s for equal. */

import { AppError } from '../errors.js';
import { Decimal128, valueEnd } from './bson.js';
import { findField, forEachField, idDocument, type RawField } from './raw-document.js';

/**
 * The key of a document, as a change event names it: on a replica set `{_id: …}`; on a sharded cluster the shard key's
 * fields first and `_id` last, as `{customer: 95, _id: 7}`. There an `_id` alone names no document: two shards may each
 * have one with it. So order is kept by `_id`, and two changes are of one document only if their whole keys are equal.
 */
export interface DocumentKey {
  /** Of the `_id`. Equal for equal ones: 1, Long 1, 1.0 and Decimal 1 are one key with different bytes. */
  readonly text: string;
  /** Of the whole key; the `_id`'s where that is the whole. */
  readonly identity: string;
  /** Whether different keys surely have different texts; if not, equal texts may be two keys. */
  readonly exact: boolean;
  /** Whether a collation could make other texts equal to the `_id`. */
  readonly holdsText: boolean;
}

/*
 * How a key is made, and why not from the bytes.
 *
 * Two changes of one document must stay in order, so they must get the same key. The server takes `_id`s of different
 * types for equal: an application may insert `{_id: 1}` (Int32), delete it, and insert `{_id: 1.0}` (Double). Keys made
 * from the bytes would put the two inserts and the delete on different lanes, and the last state would depend on which
 * lane is faster. So all numbers share one form: `n` and the exact value in decimal digits.
 *
 * Number by number: 1, Long 1, 1.0 and Decimal 1.0 all give `n1`; -0.0 gives `n0`. Above 2^53 a Double holds whole
 * numbers that JavaScript prints rounded (1e21), so they go through BigInt and meet the Long of the same value. A
 * Decimal that is not a small whole number is rounded to the nearest Double: several Decimals then share a key (`exact:
 * false`).
 *
 * A shared key of different `_id`s is safe: they wait for each other, and are never joined into one operation.
 * Different keys for equal `_id`s would be a fault. So wherever it is uncertain, the key is the coarser one: that is
 * the invariant.
 *
 * Documents and arrays: the keys of their fields one after the other, each with its length before it. Without
 * lengths, a string that looks like a key could make one field look like two.
 *
 * Strings are compared byte for byte here. Under a collation the server takes more of them for equal ("a" and "A"), so
 * `holdsText` tells the caller to keep all operations of such a collection in stream order (`isSequential`).
 */

/** What two values must share to be one to the server. */
type ValueKey = Omit<DocumentKey, 'identity'>;

const Type = {
  double: 1,
  string: 2,
  document: 3,
  array: 4,
  objectId: 7,
  symbol: 14,
  int: 16,
  long: 18,
  decimal: 19,
} as const;

/** Reads the raw `documentKey` of an event, or a raw `{_id: …}`. Errors: Internal when it has no `_id`. */
export function documentKey(key: Buffer): DocumentKey {
  const field = idField(key);
  if (field === undefined) throw new AppError('Internal', 'a change event whose documentKey has no _id was read');
  const id = keyOfValue(key, field.type, field.start, field.end);
  if (isWhole(key, field)) return { ...id, identity: id.text };
  const whole = nestedKey(key, Type.document);
  return { ...id, identity: whole.text, exact: whole.exact };
}

/** The raw `{_id: …}` of a raw document key: without a copy where that is the whole key. */
export function idOfKey(key: Buffer): Buffer | undefined {
  const field = idField(key);
  return field !== undefined && isWhole(key, field) ? key : idDocument(key);
}

/** `_id` and the zero behind it, as a little-endian number. */
const ID_NAME = 0x0064695f;
/** Where the value of a first field of that name stands: after the length, the type and the name. */
const FIRST_VALUE = 9;

/** The field of that name. Read for every event: where it is the first one, its name is compared as a number. */
function idField(key: Buffer): RawField | undefined {
  if (key.length <= FIRST_VALUE || key.readUInt32LE(5) !== ID_NAME) return findField(key, '_id');
  const type = key[4] as number;
  return { type, start: FIRST_VALUE, end: valueEnd(key, type, FIRST_VALUE) };
}

/** Whether `_id` is all that a key has: it follows the length, and the terminator follows it. */
function isWhole(key: Buffer, { start, end }: RawField): boolean {
  return start === FIRST_VALUE && end === key.length - 1;
}

function keyOfValue(buffer: Buffer, type: number, start: number, end: number): ValueKey {
  switch (type) {
    case Type.objectId:
      return { text: `o${buffer.toString('latin1', start, end)}`, exact: true, holdsText: false };
    case Type.string:
    case Type.symbol:
      return { text: `s${buffer.toString('latin1', start + 4, end - 1)}`, exact: true, holdsText: true };
    case Type.int:
      return numberKey(buffer.readInt32LE(start));
    case Type.double:
      return numberKey(buffer.readDoubleLE(start));
    case Type.long:
      return { text: `n${buffer.readBigInt64LE(start)}`, exact: true, holdsText: false };
    case Type.decimal:
      return decimalKey(buffer.subarray(start, end));
    case Type.document:
    case Type.array:
      return nestedKey(buffer.subarray(start, end), type);
    default:
      return { text: `${type}:${buffer.toString('latin1', start, end)}`, exact: true, holdsText: false };
  }
}

/** Whole numbers as BigInt writes them, so that doubles and longs above 2^53 meet exactly; -0 is 0. */
function numberKey(value: number): ValueKey {
  const large = Number.isInteger(value) && !Number.isSafeInteger(value);
  const text = large ? `n${BigInt(value)}` : `n${value === 0 ? 0 : value}`;
  return { text, exact: true, holdsText: false };
}

function decimalKey(bytes: Buffer): ValueKey {
  const text = new Decimal128(Buffer.from(bytes)).toString();
  const whole = /^(-?)(\d+)(?:\.(\d+))?(?:E([+-]?\d+))?$/.exec(text);
  // Without the zeros at its end: 1.0 and 10E-1 are whole, too.
  const written = `${whole?.[2] ?? ''}${whole?.[3] ?? ''}`;
  const stripped = written.replace(/0+$/, '') || '0';
  const exponent = Number(whole?.[4] ?? 0) - (whole?.[3]?.length ?? 0) + written.length - stripped.length;
  // Only decimals that are small whole numbers can equal a long beyond the doubles' precision.
  if (whole !== null && (stripped === '0' || (exponent >= 0 && exponent < 40))) {
    const digits = stripped === '0' ? 0n : BigInt(stripped) * 10n ** BigInt(exponent);
    return { text: `n${whole[1] === '-' ? -digits : digits}`, exact: true, holdsText: false };
  }
  const value = Number(text);
  return { ...numberKey(Number.isNaN(value) && text !== 'NaN' ? Number.POSITIVE_INFINITY : value), exact: false };
}

function nestedKey(doc: Buffer, type: number): ValueKey {
  let text = type === Type.array ? 'a[' : 'd{';
  let exact = true;
  let holdsText = false;
  forEachField(doc, (name, field) => {
    const key = keyOfValue(doc, field.type, field.start, field.end);
    // Lengths keep neighbouring fields apart whatever their content.
    text += `${name.length}:${name}${key.text.length}:${key.text}`;
    exact &&= key.exact;
    holdsText ||= key.holdsText;
    return true;
  });
  return { text, exact, holdsText };
}

/** A lane's number in [0, lanes) for a text; FNV-1a over its UTF-16 units. */
export function laneOf(text: string, lanes: number): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  }
  return (hash >>> 0) % lanes;
}
