/** Writes an encoded message as the JSON that mongosync's clients expect. */
import {
  type DescField,
  type DescMessage,
  fromBinary,
  type JsonObject,
  type JsonValue,
  toJson,
} from '@bufbuild/protobuf';
import { type ReflectMessage, reflect } from '@bufbuild/protobuf/reflect';
import { unsetJson } from '../descriptors.js';

/**
 * An encoded message as mongosync's clients expect its JSON, which is not proto's own mapping: plain fields are always
 * there, be they false, 0 or ""; 64-bit integers are numbers; repeated fields are always arrays; what is written for an
 * optional field that is not set is the field's option. Source: docs/api.md, proto/mongoferry/v1/json_options.proto.
 */
export function decodeToJson(type: DescMessage, bytes: Uint8Array): JsonObject {
  return messageToJson(reflect(type, fromBinary(type, bytes)));
}

function messageToJson(message: ReflectMessage): JsonObject {
  const json: JsonObject = {};
  for (const field of message.fields) {
    const value = fieldToJson(message, field);
    if (value !== undefined) json[field.jsonName] = value;
  }
  return json;
}

function fieldToJson(message: ReflectMessage, field: DescField): JsonValue | undefined {
  if (field.fieldKind === 'list') {
    const items = [...message.get(field)].map((item) => valueToJson(field, item));
    return items.length === 0 && unsetJson(field) === 'omit' ? undefined : items;
  }
  const hasPresence = field.fieldKind === 'message' || field.proto.proto3Optional;
  if (hasPresence && !message.isSet(field)) return unsetJson(field) === 'null' ? null : undefined;
  return valueToJson(field, message.get(field));
}

function valueToJson(field: DescField, value: unknown): JsonValue {
  if (field.message !== undefined) {
    const message = value as ReflectMessage;
    return field.message.typeName.startsWith('google.protobuf.')
      ? toJson(field.message, message.message)
      : messageToJson(message);
  }
  if (field.enum !== undefined) return field.enum.value[value as number]?.name ?? (value as number);
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64');
  if (typeof value === 'bigint') return Number(value);
  if (typeof value === 'number' && !Number.isFinite(value)) return null;
  return value as JsonValue;
}
