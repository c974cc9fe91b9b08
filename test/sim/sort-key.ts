/** Texts that compare as the server compares values: across types, numbers by value, strings by their bytes. */
import { Decimal128 } from 'mongodb';
import { type Field, fieldsOf, Type } from './raw.js';

/** The server's order of types. Source: MongoDB manual, "Comparison/Sort Order". */
const RANKS = new Map<number, number>([
  [Type.minKey, 0],
  [0x06, 10],
  [Type.null, 15],
  [Type.double, 20],
  [Type.int, 20],
  [Type.long, 20],
  [Type.decimal, 20],
  [Type.string, 25],
  [0x0e, 25],
  [Type.document, 30],
  [Type.array, 35],
  [Type.binary, 40],
  [Type.objectId, 45],
  [Type.boolean, 50],
  [Type.date, 55],
  [Type.timestamp, 60],
  [0x0b, 65],
  [0x0d, 75],
  [0x0f, 80],
  [Type.maxKey, 127],
]);

/** Which type a sort key is of: comparisons of a query match one only. */
export function rankOf(key: string): number {
  return key.charCodeAt(0);
}

/** `foldsCase`: strings compare as by a collation of strength 2, as far as the simulation's letters go. */
export function sortKey(field: Field, foldsCase = false): string {
  const rank = RANKS.get(field.type);
  if (rank === undefined) throw new RangeError(`the simulation does not know the order of BSON type ${field.type}`);
  return String.fromCharCode(rank) + bodyOf(field, foldsCase);
}

/** Of several values, e.g. of an index. */
export function compoundKey(fields: readonly (Field | undefined)[], foldsCase = false): string {
  const nothing = { name: '', type: Type.null, value: Buffer.alloc(0) };
  return fields.map((each) => `${sortKey(each ?? nothing, foldsCase)}\x00\x00`).join('');
}

function bodyOf(field: Field, foldsCase: boolean): string {
  const { type, value } = field;
  switch (type) {
    case Type.double:
      return numberKey(value.readDoubleLE(0), 0n);
    case Type.int:
      return numberKey(value.readInt32LE(0), 0n);
    case Type.long:
      return longKey(value.readBigInt64LE(0));
    case Type.decimal:
      return numberKey(Number(new Decimal128(Buffer.from(value)).toString()), 0n);
    case Type.string:
    case 0x0e:
      return terminated(textOf(value, foldsCase));
    case Type.document:
    case Type.array:
      return nestedKey(value, foldsCase);
    case Type.binary:
      return value.toString('latin1').replace(/^(.)(.)(.)(.)/s, '$4$3$2$1');
    case Type.date:
      return bigEndian(value.readBigInt64LE(0) + 2n ** 63n);
    case Type.timestamp:
      return bigEndian(value.readBigUInt64LE(0));
    default:
      return value.toString('latin1');
  }
}

function textOf(value: Buffer, foldsCase: boolean): string {
  const text = value.toString('latin1', 4, value.length - 1);
  return foldsCase ? text.toLowerCase() : text;
}

/** No key is the beginning of another: a zero in a text is not its end. */
function terminated(text: string): string {
  return `${text.replaceAll('\x00', '\x00\xff')}\x00\x01`;
}

function nestedKey(doc: Buffer, foldsCase: boolean): string {
  let key = '';
  for (const field of fieldsOf(doc)) {
    const own = sortKey(field, foldsCase);
    key += `${own[0]}${terminated(field.name)}${own.slice(1)}`;
  }
  return `${key}\x00`;
}

function longKey(value: bigint): string {
  const near = Number(value);
  return numberKey(near, value - BigInt(near));
}

/** `rest`: what a long has beyond the double nearest to it. */
function numberKey(value: number, rest: bigint): string {
  if (Number.isNaN(value)) return '\x00';
  const bytes = Buffer.allocUnsafe(8);
  bytes.writeDoubleBE(value === 0 ? 0 : value, 0);
  const isNegative = ((bytes[0] as number) & 0x80) !== 0;
  if (isNegative) for (let i = 0; i < 8; i++) bytes[i] = ~(bytes[i] as number);
  else bytes[0] = (bytes[0] as number) | 0x80;
  return `\x01${bytes.toString('latin1')}${rest === 0n ? '\x80\x00' : restKey(rest)}`;
}

function restKey(rest: bigint): string {
  const shifted = Number(rest) + 0x8000;
  return String.fromCharCode(shifted >> 8, shifted & 0xff);
}

function bigEndian(value: bigint): string {
  const bytes = Buffer.allocUnsafe(8);
  bytes.writeBigUInt64BE(value, 0);
  return bytes.toString('latin1');
}
