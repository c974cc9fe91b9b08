/** Finds the fields of an encoded request that this server does not know, before a decoder drops them. */
import { type DescField, type DescMessage, ScalarType } from '@bufbuild/protobuf';
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import { MAX_VALUES, maxItems, tooManyItems } from '../limits.js';
import { memberPath, type Violations } from '../violations.js';

/** As deep as the decoders go. */
const MAX_DEPTH = 100;

/** A message of so many fields that it is not looked at any further. */
export class TooManyFields extends Error {
  override readonly name = 'TooManyFields';
}

/**
 * Finds what a decoder would drop from an encoded request: fields that this server does not know, because the client is
 * newer or wrong, and the map key `__proto__`. Were they ignored, so would be the filter they may stand for.
 *
 * Errors: TooManyFields; another error when the bytes are no encoded message.
 */
export function findForeignFields(type: DescMessage, bytes: Uint8Array, violations: Violations): void {
  const reader = new BinaryReader(bytes);
  scan({ type, reader, end: bytes.byteLength, path: '', depth: 0, left: { fields: MAX_VALUES } }, violations);
}

interface Scan {
  readonly type: DescMessage;
  readonly reader: BinaryReader;
  /** Offset behind the message's last byte. */
  readonly end: number;
  readonly path: string;
  readonly depth: number;
  /** How many fields more there may be in the whole request. */
  readonly left: { fields: number };
}

function countField({ left }: Pick<Scan, 'left'>): void {
  if (left.fields-- <= 0) throw new TooManyFields(`the request holds more than ${MAX_VALUES} values`);
}

const fieldsByType = new WeakMap<DescMessage, ReadonlyMap<number, DescField>>();

function fieldsOf(type: DescMessage): ReadonlyMap<number, DescField> {
  const known = fieldsByType.get(type) ?? new Map(type.fields.map((field) => [field.number, field]));
  fieldsByType.set(type, known);
  return known;
}

function scan(at: Scan, violations: Violations): void {
  const { type, reader, end, path, depth, left } = at;
  if (depth > MAX_DEPTH) throw new Error('nested too deep');
  const fields = fieldsOf(type);
  const counts = new Map<number, number>();
  while (reader.pos < end) {
    countField(at);
    const [number, wireType] = reader.tag();
    const field = fields.get(number);
    if (field === undefined || !wireTypesOf(field).includes(wireType)) {
      violations.add(
        memberPath(path, `#${number}`),
        'is not known to this server; the client may be newer than the server',
      );
      reader.skip(wireType, number);
      continue;
    }
    const index = counts.get(number) ?? 0;
    counts.set(number, index + 1);
    const name = memberPath(path, field.jsonName);
    if (field.fieldKind === 'list' && index >= maxItems(field)) {
      violations.add(name, tooManyItems(field));
      reader.skip(wireType, number);
      continue;
    }
    const inner = { reader, left, path: field.fieldKind === 'list' ? `${name}[${index}]` : name, depth: depth + 1 };
    if (field.fieldKind === 'map') scanMapEntry({ ...inner, field }, violations);
    else if (field.message === undefined) reader.skip(wireType, number);
    else scan({ ...inner, type: field.message, end: endOfNext(reader) }, violations);
  }
  if (reader.pos !== end) throw new RangeError('a field ends after its message');
}

interface EntryScan extends Omit<Scan, 'type' | 'end'> {
  readonly field: DescField & { fieldKind: 'map' };
}

function scanMapEntry(at: EntryScan, violations: Violations): void {
  const { reader, field, path, depth, left } = at;
  const end = endOfNext(reader);
  let keyPath = memberPath(path, '');
  while (reader.pos < end) {
    countField(at);
    const [number, wireType] = reader.tag();
    if (number === 1 && wireType === WireType.LengthDelimited) {
      const key = reader.string();
      keyPath = memberPath(path, key);
      if (key === '__proto__') violations.add(keyPath, 'is not a permitted name');
    } else if (number === 2 && wireType === WireType.LengthDelimited && field.message !== undefined) {
      scan({ type: field.message, reader, end: endOfNext(reader), path: keyPath, depth: depth + 1, left }, violations);
    } else reader.skip(wireType, number);
  }
}

function endOfNext(reader: BinaryReader): number {
  const length = reader.uint32();
  return reader.pos + length;
}

/** The wire types in which a field may arrive; repeated numbers may be packed or not. */
function wireTypesOf(field: DescField): WireType[] {
  if (field.message !== undefined || field.fieldKind === 'map') return [WireType.LengthDelimited];
  const single = field.enum === undefined ? scalarWireType(field.scalar) : WireType.Varint;
  return field.fieldKind === 'list' ? [single, WireType.LengthDelimited] : [single];
}

function scalarWireType(type: ScalarType | undefined): WireType {
  switch (type) {
    case ScalarType.STRING:
    case ScalarType.BYTES:
      return WireType.LengthDelimited;
    case ScalarType.DOUBLE:
    case ScalarType.FIXED64:
    case ScalarType.SFIXED64:
      return WireType.Bit64;
    case ScalarType.FLOAT:
    case ScalarType.FIXED32:
    case ScalarType.SFIXED32:
      return WireType.Bit32;
    default:
      return WireType.Varint;
  }
}
