/** Encodes a JSON value as a message, and finds everything that is wrong with it. */
import {
  type DescEnum,
  type DescField,
  type DescMessage,
  fromJson,
  type JsonObject,
  type JsonValue,
  ScalarType,
  toBinary,
} from '@bufbuild/protobuf';
import type { FieldViolation } from '../../errors.js';
import { isJsonNonEmpty, isJsonRequired, shortEnumName } from '../descriptors.js';
import { maxItems, tooManyItems } from '../limits.js';
import { memberPath, Violations } from '../violations.js';

/** A request that arrived as JSON: encoded without the parts that are wrong, and what is wrong. */
export interface JsonRequest {
  readonly bytes: Uint8Array;
  readonly violations: readonly FieldViolation[];
}

/**
 * Encodes a JSON value as a message. Every unknown field, wrong type and bad enum value is found, not only the first;
 * what is right around them is still encoded, so that the checks of the content can add theirs. `null` stands for a
 * field that is not given. Names of fields are taken in any case of letters, once each. Source: docs/api.md; ts-proto's own fromJSON would let most of this pass.
 */
export function encodeJsonRequest(type: DescMessage, value: JsonValue, violations = new Violations()): JsonRequest {
  const clean = readMessage(type, value, '', violations) ?? {};
  return { bytes: toBinary(type, fromJson(type, clean)), violations: violations.all };
}

type Reader = (value: JsonValue, path: string, violations: Violations) => JsonValue | undefined;

function readMessage(
  type: DescMessage,
  value: JsonValue,
  path: string,
  violations: Violations,
): JsonObject | undefined {
  if (!isObject(value)) {
    violations.add(path, path === '' ? 'the body must be a JSON object' : `must be an object, not ${kindOf(value)}`);
    return undefined;
  }
  const fields = fieldsOf(type);
  const clean: JsonObject = {};
  /** Fields by how they were written. */
  const given = new Map<DescField, string>();
  for (const [name, member] of Object.entries(value)) {
    const field = fields.get(name.toLowerCase());
    const memberAt = memberPath(path, field?.jsonName ?? name);
    const other = field && given.get(field);
    if (field === undefined) violations.add(memberAt, unknownField(name, fields));
    else if (other !== undefined && member !== null)
      violations.add(memberAt, `is given more than once, as "${other}" and as "${name}"`);
    else if (member !== null) {
      given.set(field, name);
      const read = readField(field, member, memberAt, violations);
      if (read !== undefined) clean[field.jsonName] = read;
    }
  }
  for (const field of type.fields) {
    if (isJsonRequired(field) && !given.has(field))
      violations.add(memberPath(path, field.jsonName), 'is required; it may be empty');
  }
  return clean;
}

const FIELDS = new WeakMap<DescMessage, ReadonlyMap<string, DescField>>();

/** By name in lower case: mongosync takes the names in any. A message has no two that differ in it only. */
function fieldsOf(type: DescMessage): ReadonlyMap<string, DescField> {
  const known = FIELDS.get(type);
  if (known !== undefined) return known;
  const fields = new Map(type.fields.map((field) => [field.jsonName.toLowerCase(), field]));
  FIELDS.set(type, fields);
  return fields;
}

/** Longer than any field's name with as many underscores as it could have. */
const MAX_FIELD_NAME = 100;

function unknownField(name: string, fields: ReadonlyMap<string, DescField>): string {
  const near = fields.get(name.slice(0, MAX_FIELD_NAME).replaceAll('_', '').toLowerCase());
  return near === undefined ? 'is not a known field' : `is not a known field; it is written "${near.jsonName}"`;
}

function readField(field: DescField, value: JsonValue, path: string, violations: Violations): JsonValue | undefined {
  if (field.fieldKind !== 'list') return readerOf(field)(value, path, violations);
  if (!Array.isArray(value)) {
    violations.add(path, `must be an array, not ${kindOf(value)}`);
    return undefined;
  }
  if (value.length === 0 && isJsonNonEmpty(field)) {
    violations.add(path, 'must not be empty; leave it out to mean all of them');
  }
  if (value.length > maxItems(field)) {
    violations.add(path, tooManyItems(field));
    return [];
  }
  const read = readerOf(field);
  return value.map((item, i) => read(item, `${path}[${i}]`, violations)).filter((item) => item !== undefined);
}

function readerOf(field: DescField): Reader {
  if (field.message !== undefined) return messageReader(field.message);
  if (field.enum !== undefined) return enumReader(field.enum);
  return scalarReader(field.scalar);
}

function messageReader(type: DescMessage): Reader {
  switch (type.typeName) {
    case 'google.protobuf.Value':
      return (value) => value;
    case 'google.protobuf.Struct':
      return expecting('an object', isObject);
    case 'google.protobuf.Duration':
      return expecting('a duration in seconds such as "1s" or "0.5s"', isDuration);
    default:
      return (value, path, violations) => readMessage(type, value, path, violations);
  }
}

function enumReader(type: DescEnum): Reader {
  const names = new Map(
    type.values.flatMap(
      ({ name }) =>
        [
          [name, name],
          [shortEnumName(type, name), name],
        ] as const,
    ),
  );
  const choices = type.values.filter(({ number }) => number !== 0).map(({ name }) => shortEnumName(type, name));
  return (value, path, violations) => {
    const name = typeof value === 'string' ? names.get(value) : undefined;
    if (name === undefined) violations.add(path, `must be one of ${choices.join(', ')}`);
    return name;
  };
}

function scalarReader(type: ScalarType | undefined): Reader {
  switch (type) {
    case ScalarType.STRING:
      return expecting('a string', (value) => typeof value === 'string');
    case ScalarType.BOOL:
      return expecting('true or false', (value) => typeof value === 'boolean');
    case ScalarType.INT32:
      return expecting('an integer', (value) => Number.isInteger(value) && Math.abs(Number(value)) < 2 ** 31);
    case ScalarType.INT64:
      return expecting('an integer', Number.isSafeInteger);
    case ScalarType.DOUBLE:
      return expecting('a number', (value) => typeof value === 'number');
    default:
      return (value) => value;
  }
}

function expecting(what: string, test: (value: JsonValue) => boolean): Reader {
  return (value, path, violations) => {
    if (test(value)) return value;
    violations.add(path, `must be ${what}, not ${kindOf(value)}`);
    return undefined;
  };
}

/** Seconds up to a year, which is over every limit there is, with at most nine decimals. */
function isDuration(value: JsonValue): boolean {
  return typeof value === 'string' && /^-?\d{1,8}(\.\d{1,9})?s$/.test(value);
}

function isObject(value: JsonValue): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function kindOf(value: JsonValue): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  switch (typeof value) {
    case 'object':
      return 'an object';
    case 'string':
      return 'this string';
    case 'number':
      return 'this number';
    default:
      return `${String(value)}`;
  }
}
