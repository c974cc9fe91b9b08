/** Reads the query string of a request as a JSON object. */
import { type DescField, type DescMessage, type JsonObject, type JsonValue, ScalarType } from '@bufbuild/protobuf';
import type { FieldViolation } from '../../errors.js';

/** A query string as a JSON object, for encodeJsonRequest to judge, and what could not be put into one. */
export interface QueryRequest {
  readonly value: JsonObject;
  readonly violations: readonly FieldViolation[];
}

/**
 * Turns `?details=ALL&interval=1s` into `{"details": "ALL", "interval": "1s"}`: parameters that name a boolean or an
 * integer field become that, all else stays text. Only a request's own fields can be given, not members of members.
 */
export function readQuery(type: DescMessage, query: URLSearchParams): QueryRequest {
  const value: JsonObject = {};
  const violations: FieldViolation[] = [];
  const fields = new Map(type.fields.map((field) => [field.jsonName, field]));
  for (const [name, text] of query) {
    if (name === '__proto__') violations.push({ field: name, description: 'is not a permitted name' });
    else if (Object.hasOwn(value, name)) violations.push({ field: name, description: 'is given more than once' });
    else value[name] = convert(fields.get(name), text);
  }
  return { value, violations };
}

function convert(field: DescField | undefined, text: string): JsonValue {
  if (field?.fieldKind !== 'scalar') return text;
  if (field.scalar === ScalarType.BOOL && (text === 'true' || text === 'false')) return text === 'true';
  const isInteger = field.scalar === ScalarType.INT32 || field.scalar === ScalarType.INT64;
  return isInteger && /^-?\d{1,15}$/.test(text) ? Number(text) : text;
}
