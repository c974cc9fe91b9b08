/** Lists values of every BSON type that software is known to damage. */
import {
  Binary,
  BSONRegExp,
  BSONSymbol,
  Code,
  DBRef,
  Decimal128,
  Double,
  Int32,
  Long,
  MaxKey,
  MinKey,
  ObjectId,
  Timestamp,
} from 'mongodb';
import { int32, int64, nested, part, type RawPart, rawString } from './seed-data-raw.js';

/** A value worth carrying, and its name for people. */
export interface SeedValue {
  readonly name: string;
  readonly type: number;
  readonly bytes: Uint8Array;
}

const OID = new ObjectId('0123456789abcdef01234567');

/** Every BSON type, with the values of each that software is known to damage. In a fixed order, always the same. */
export function everyValue(): SeedValue[] {
  return [...numbers(), ...texts(), ...times(), ...binaries(), ...containers(), ...others()];
}

/** The values of {@link everyValue} that a server takes as `_id`, none equal to another. */
export function everyId(): SeedValue[] {
  const refused = new Set([0x04, 0x06, 0x0b]);
  const twice = new Set(['int 1', 'long 1', 'decimal 1', 'decimal 1.0', 'decimal NaN', 'NaN with payload']);
  const twiceToo = new Set([
    '-0.0',
    'decimal -0',
    'decimal Infinity',
    'long 0',
    'int 0',
    'symbol',
    'nested dollar name',
  ]);
  return everyValue().filter(({ name, type }) => !refused.has(type) && !twice.has(name) && !twiceToo.has(name));
}

function value(name: string, what: unknown): SeedValue {
  const { type, bytes } = part('v', what);
  return { name, type, bytes };
}

function double(name: string, hex: string): SeedValue {
  return { name, type: 0x01, bytes: Buffer.from(hex, 'hex').reverse() };
}

function numbers(): SeedValue[] {
  return [
    value('double 1.0', new Double(1)),
    value('int 1', new Int32(1)),
    value('long 1', Long.ONE),
    value('decimal 1', new Decimal128('1')),
    value('decimal 1.0', new Decimal128('1.0')),
    value('double 1.5', new Double(1.5)),
    value('0.0', new Double(0)),
    double('-0.0', '8000000000000000'),
    value('int 0', new Int32(0)),
    value('long 0', Long.ZERO),
    double('NaN', '7ff8000000000000'),
    double('NaN with payload', 'fff80000deadbeef'),
    double('Infinity', '7ff0000000000000'),
    double('-Infinity', 'fff0000000000000'),
    double('smallest double', '0000000000000001'),
    value('largest int', new Int32(2_147_483_647)),
    value('smallest int', new Int32(-2_147_483_648)),
    value('largest long', Long.MAX_VALUE),
    value('smallest long', Long.MIN_VALUE),
    value('long beyond doubles', Long.fromString('9007199254740993')),
    value('decimal NaN', new Decimal128('NaN')),
    value('decimal Infinity', new Decimal128('Infinity')),
    value('decimal -0', new Decimal128('-0')),
    value('decimal with exponent', new Decimal128('1E-6176')),
    value('decimal with many digits', new Decimal128('1234567890123456789012345678901234')),
  ];
}

function texts(): SeedValue[] {
  const latin1 = rawString(Buffer.from('caf\xe9', 'latin1'));
  const surrogate = rawString(Buffer.from('eda080', 'hex'));
  const scope = nested('', [part('0', 1), part('b', 2)]).bytes;
  const code = rawString(Buffer.from('return b'));
  return [
    value('empty string', ''),
    value('string', 'a'),
    value('string of another case', 'A'),
    value('unicode', 'grüße 日本 🚢'),
    value('string with NUL', 'a\0b'),
    { name: 'invalid UTF-8', type: 0x02, bytes: latin1 },
    { name: 'lone surrogate', type: 0x02, bytes: surrogate },
    value('symbol', new BSONSymbol('a')),
    value('code', new Code('return 1')),
    {
      name: 'code with scope',
      type: 0x0f,
      bytes: Buffer.concat([int32(4 + code.length + scope.length), code, scope]),
    },
    value('regex', new BSONRegExp('^a.*/b$', 'imsx')),
    value('regex without options', new BSONRegExp('')),
  ];
}

function times(): SeedValue[] {
  return [
    value('date', new Date('2026-03-04T05:06:07.089Z')),
    value('date before 1970', new Date('1901-01-01T00:00:00Z')),
    { name: 'largest date', type: 0x09, bytes: int64(9_223_372_036_854_775_807n) },
    { name: 'smallest date', type: 0x09, bytes: int64(-9_223_372_036_854_775_808n) },
    { name: 'date beyond JavaScript', type: 0x09, bytes: int64(8_640_000_000_000_001n) },
    value('timestamp', new Timestamp({ t: 1_700_000_000, i: 7 })),
    value('largest timestamp', new Timestamp({ t: 4_294_967_295, i: 4_294_967_295 })),
  ];
}

function binaries(): SeedValue[] {
  const bytes = Buffer.from('00ff10', 'hex');
  const old = Buffer.concat([int32(7), Buffer.from([2]), int32(3), bytes]);
  const kinds = [0, 1, 5, 6, 128, 255].map((kind) => value(`binary ${kind}`, new Binary(bytes, kind)));
  return [
    ...kinds,
    { name: 'old binary', type: 0x05, bytes: old },
    value('empty binary', new Binary(Buffer.alloc(0))),
    value('uuid', new Binary(Buffer.alloc(16, 7), Binary.SUBTYPE_UUID)),
    value('old uuid', new Binary(Buffer.alloc(16, 7), 3)),
    value('object id', OID),
  ];
}

function containers(): SeedValue[] {
  let deep: RawPart = part('0', 'bottom');
  for (let level = 0; level < 60; level++) deep = nested(level % 2 === 0 ? 'd' : '0', [deep]);
  const as = (name: string, { type, bytes }: RawPart): SeedValue => ({ name, type, bytes });
  return [
    as('empty document', nested('', [])),
    as('document', nested('', [part('b', 1), part('a', 2)])),
    as('document in another order', nested('', [part('a', 2), part('b', 1)])),
    as('numeric names', nested('', [part('10', 'x'), part('b', 'y'), part('2', 'z'), part('0', 'w')])),
    as('__proto__', nested('', [part('__proto__', 1), part('constructor', 2), part('toString', 3)])),
    as('repeated names', nested('', [part('d', 1), part('e', 2), part('d', 3)])),
    as('dotted names', nested('', [part('a.b', 1), part('', 2), part('.', 3)])),
    as('nested dollar name', nested('', [part('$x', 1), part('a$', 2)])),
    as('nested empty timestamp', nested('', [{ name: 't', type: 0x11, bytes: int64(0n) }])),
    as('deep', deep),
    as('empty array', nested('', [], 4)),
    as('array', nested('', [part('0', 1), part('1', 'two'), nested('2', [part('0', null)], 4)], 4)),
    as('array with odd keys', nested('', [part('5', 1), part('x', 2), part('5', 3)], 4)),
  ];
}

function others(): SeedValue[] {
  const pointer = Buffer.concat([rawString(Buffer.from('shop.items')), OID.id]);
  return [
    value('true', true),
    value('false', false),
    value('null', null),
    value('MinKey', new MinKey()),
    value('MaxKey', new MaxKey()),
    value('reference', new DBRef('items', OID)),
    { name: 'undefined', type: 0x06, bytes: Buffer.alloc(0) },
    { name: 'DBPointer', type: 0x0c, bytes: pointer },
  ];
}
