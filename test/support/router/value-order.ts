/** The order in which the server sorts BSON values of all types, for chunks, merged cursors and ranges. */
import { BSON_TYPE, decoded, elements, numberOf, type RawValue } from './raw-values.js';

const CANONICAL: Readonly<Record<number, number>> = {
  [BSON_TYPE.minKey]: -1,
  [BSON_TYPE.undefined]: 0,
  [BSON_TYPE.null]: 5,
  [BSON_TYPE.int]: 10,
  [BSON_TYPE.long]: 10,
  [BSON_TYPE.double]: 10,
  [BSON_TYPE.decimal]: 10,
  [BSON_TYPE.string]: 15,
  [BSON_TYPE.symbol]: 15,
  [BSON_TYPE.document]: 20,
  [BSON_TYPE.array]: 25,
  [BSON_TYPE.binary]: 30,
  [BSON_TYPE.objectId]: 35,
  [BSON_TYPE.boolean]: 40,
  [BSON_TYPE.date]: 45,
  [BSON_TYPE.timestamp]: 47,
  [BSON_TYPE.regex]: 50,
  [BSON_TYPE.dbPointer]: 55,
  [BSON_TYPE.code]: 60,
  [BSON_TYPE.codeWithScope]: 65,
  [BSON_TYPE.maxKey]: 127,
};

/** The number that stands for a value's type in the order of types. Source: the server's `canonicalizeBSONType`. */
export function canonicalType({ type }: RawValue): number {
  return CANONICAL[type] ?? 0;
}

/** Negative, 0 or positive as `a` sorts before, with or after `b`, without a collation. */
export function compareValues(a: RawValue, b: RawValue): number {
  const types = canonicalType(a) - canonicalType(b);
  if (types !== 0) return types;
  switch (canonicalType(a)) {
    case 10:
      return compareNumbers(a, b);
    case 15:
    case 60:
      return Buffer.compare(a.bytes.subarray(4, -1), b.bytes.subarray(4, -1));
    case 20:
    case 25:
      return compareElements(a.bytes, b.bytes, canonicalType(a) === 20);
    case 30:
      return (
        a.bytes.readInt32LE(0) - b.bytes.readInt32LE(0) || Buffer.compare(a.bytes.subarray(4), b.bytes.subarray(4))
      );
    case 45:
      return compareBigints(a.bytes.readBigInt64LE(0), b.bytes.readBigInt64LE(0));
    case 47:
      return compareBigints(a.bytes.readBigUInt64LE(0), b.bytes.readBigUInt64LE(0));
    default:
      return Buffer.compare(a.bytes, b.bytes);
  }
}

/** As {@link compareValues}, for lists: the first values that differ decide. */
export function compareLists(a: readonly RawValue[], b: readonly RawValue[]): number {
  for (const [index, value] of a.entries()) {
    const other = b[index];
    if (other === undefined) return 1;
    const order = compareValues(value, other);
    if (order !== 0) return order;
  }
  return a.length - b.length;
}

function compareElements(a: Buffer, b: Buffer, withNames: boolean): number {
  const others = elements(b);
  for (const mine of elements(a)) {
    const next = others.next();
    if (next.done === true) return 1;
    const other = next.value;
    const order =
      canonicalType(mine.value) - canonicalType(other.value) ||
      (withNames ? Buffer.compare(Buffer.from(mine.name), Buffer.from(other.name)) : 0) ||
      compareValues(mine.value, other.value);
    if (order !== 0) return order;
  }
  return others.next().done === true ? 0 : -1;
}

function compareBigints(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function compareNumbers(a: RawValue, b: RawValue): number {
  const [x, y] = [numberOf(a) ?? 0, numberOf(b) ?? 0];
  if (Number.isNaN(x) || Number.isNaN(y)) return Number(Number.isNaN(y)) - Number(Number.isNaN(x));
  // Doubles decide unless they are equal, or too large or too fine to be exact.
  if (x !== y) return x < y ? -1 : 1;
  if (!Number.isFinite(x) || (isExact(a) && isExact(b))) return 0;
  return compareExact(exact(a), exact(b));
}

function isExact(value: RawValue): boolean {
  return value.type === BSON_TYPE.int || value.type === BSON_TYPE.double;
}

/** `coefficient × 10^exponent` */
interface Exact {
  readonly coefficient: bigint;
  readonly exponent: number;
}

function compareExact(a: Exact, b: Exact): number {
  const exponent = Math.min(a.exponent, b.exponent);
  const scaled = (each: Exact): bigint => each.coefficient * 10n ** BigInt(each.exponent - exponent);
  return compareBigints(scaled(a), scaled(b));
}

function exact(value: RawValue): Exact {
  if (value.type === BSON_TYPE.long) return { coefficient: value.bytes.readBigInt64LE(0), exponent: 0 };
  if (value.type === BSON_TYPE.decimal) return exactDecimal(String(decoded(value)));
  return exactDouble(numberOf(value) ?? 0);
}

function exactDecimal(text: string): Exact {
  const [, sign = '', whole = '0', fraction = '', exponent = '0'] =
    /^(-?)(\d+)(?:\.(\d+))?(?:E([+-]?\d+))?$/.exec(text) ?? [];
  return { coefficient: BigInt(`${sign}${whole}${fraction}`), exponent: Number(exponent) - fraction.length };
}

function exactDouble(value: number): Exact {
  let [mantissa, twos] = [value, 0];
  while (!Number.isInteger(mantissa)) {
    mantissa *= 2;
    twos += 1;
  }
  // m / 2^n = m × 5^n / 10^n
  return { coefficient: BigInt(mantissa) * 5n ** BigInt(twos), exponent: -twos };
}
