/** The hash by which the server spreads a hashed shard key: the router double must find a document's chunk as it does. */
import { createHash } from 'node:crypto';
import { BSON_TYPE, decoded, elements, longValue, numberOf, type RawValue } from './raw-values.js';
import { canonicalType } from './value-order.js';

const INT64_MAX = 2n ** 63n - 1n;
const INT64_MIN = -(2n ** 63n);

/**
 * The value of a hashed index for this value, as an int64: the first 8 bytes of an MD5 over a seed, the value's type and
 * the value. Source: the server's `BSONElementHasher`; checked against real hashed indexes by
 * `test/mongo/router-double.mongo.test.ts`.
 */
export function hashedValue(value: RawValue): RawValue {
  const chunks: Buffer[] = [int32(0)];
  append(chunks, value, undefined);
  return longValue(createHash('md5').update(Buffer.concat(chunks)).digest().readBigInt64LE(0));
}

function append(chunks: Buffer[], value: RawValue, name: string | undefined): void {
  chunks.push(int32(canonicalType(value)));
  if (name !== undefined) chunks.push(Buffer.from(`${name}\0`));
  if (value.type === BSON_TYPE.document || value.type === BSON_TYPE.array) {
    for (const element of elements(value.bytes)) append(chunks, element.value, element.name);
    chunks.push(int32(0));
  } else if (canonicalType(value) === 10) {
    chunks.push(longValue(wholeNumber(value)).bytes);
  } else {
    chunks.push(value.bytes);
  }
}

/** Numbers of all types hash as int64: doubles truncated, decimals rounded half to even, NaN as 0. */
function wholeNumber(value: RawValue): bigint {
  if (value.type === BSON_TYPE.long) return value.bytes.readBigInt64LE(0);
  const near = numberOf(value) ?? 0;
  if (Number.isNaN(near)) return 0n;
  if (near >= 2 ** 63) return INT64_MAX;
  if (near <= -(2 ** 63)) return INT64_MIN;
  if (value.type !== BSON_TYPE.decimal) return BigInt(Math.trunc(near));
  return roundedHalfEven(String(decoded(value)));
}

function roundedHalfEven(text: string): bigint {
  const [, sign = '', whole = '0', fraction = '', power = '0'] =
    /^(-?)(\d+)(?:\.(\d+))?(?:E([+-]?\d+))?$/.exec(text) ?? [];
  const exponent = Number(power) - fraction.length;
  const coefficient = BigInt(whole + fraction);
  if (exponent >= 0) return BigInt(sign === '-' ? -1 : 1) * coefficient * 10n ** BigInt(exponent);
  const unit = 10n ** BigInt(-exponent);
  const [quotient, rest] = [coefficient / unit, coefficient % unit];
  const up = rest * 2n > unit || (rest * 2n === unit && quotient % 2n === 1n);
  return BigInt(sign === '-' ? -1 : 1) * (up ? quotient + 1n : quotient);
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
}
