import { Decimal128, valueEnd } from '../bson/bson.js';
import { forEachField } from '../bson/raw-document.js';

/** What two `_id`s must share to be one key on the server, as a text. */
export interface DocumentKey {
  /** Equal for equal keys: 1, Long 1, 1.0 and Decimal 1 are one key with different bytes. */
  readonly text: string;
  /** Whether different keys surely have different texts; if not, equal texts may be two keys. */
  readonly exact: boolean;
  /** Whether a collation could make other texts equal to it. */
  readonly holdsText: boolean;
}

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

/** Reads a raw `{_id: …}` document. */
export function documentKey(id: Buffer): DocumentKey {
  const type = id[4] as number;
  // `_id` and its terminator are 4 bytes, after the length and the type.
  return keyOfValue(id, type, 9, valueEnd(id, type, 9));
}

function keyOfValue(buffer: Buffer, type: number, start: number, end: number): DocumentKey {
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
function numberKey(value: number): DocumentKey {
  const large = Number.isInteger(value) && !Number.isSafeInteger(value);
  const text = large ? `n${BigInt(value)}` : `n${value === 0 ? 0 : value}`;
  return { text, exact: true, holdsText: false };
}

function decimalKey(bytes: Buffer): DocumentKey {
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

function nestedKey(doc: Buffer, type: number): DocumentKey {
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
