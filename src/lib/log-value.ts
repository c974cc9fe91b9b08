/** Turns values into plain JSON for the log, without secrets and of bounded size. */
import { isSecretKey, redactAndCut, redactDocuments, redactSecretValue } from './redact.js';

const MAX_DEPTH = 6;
const MAX_ITEMS = 100;
/** Characters of a text. */
export const MAX_VALUE_CHARACTERS = 8192;
const MAX_KEY = 200;

/**
 * A field's value as plain JSON, without secrets: long texts, deep trees and long lists are cut, bytes become their
 * length, big integers texts, and an Error its name, code, message and causes. Never throws and never recurses for ever.
 */
export function toLoggable(key: string, value: unknown, depth = 0): unknown {
  if (isSecretKey(key)) return redactSecretValue(value);
  if (typeof value === 'string') return cut(value);
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'function' || typeof value === 'symbol') return `[${typeof value}]`;
  if (typeof value !== 'object' || value === null) return value;
  if (depth >= MAX_DEPTH) return '[…]';
  return objectToLoggable(value, depth);
}

function objectToLoggable(value: object, depth: number): unknown {
  if (value instanceof Error) return errorToLoggable(value, depth);
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'invalid date' : value.toISOString();
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  if (value instanceof Map) return objectToLoggable(Object.fromEntries(value), depth);
  if (Array.isArray(value) || value instanceof Set) return listToLoggable([...value], depth);
  const bsonType = (value as { _bsontype?: unknown })._bsontype;
  if (typeof bsonType === 'string') return `[${bsonType}] ${cut(String(value))}`;
  const out: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value).slice(0, MAX_ITEMS))
    out[key.slice(0, MAX_KEY)] = toLoggable(key.slice(0, MAX_KEY), item, depth + 1);
  return out;
}

function listToLoggable(items: readonly unknown[], depth: number): unknown[] {
  const out = items.slice(0, MAX_ITEMS).map((item) => toLoggable('', item, depth + 1));
  if (items.length > MAX_ITEMS) out.push(`[${items.length - MAX_ITEMS} more]`);
  return out;
}

/** Only the fields known to hold no document: a driver's error also carries key values, replies and whole operations. */
function errorToLoggable(error: Error, depth: number): unknown {
  const { code, codeName, violations, metadata, cause } = error as Error & Record<string, unknown>;
  const fromServer = error.name.startsWith('Mongo');
  const out: Record<string, unknown> = { name: error.name };
  if (typeof code === 'string' || typeof code === 'number') out['code'] = code;
  if (typeof codeName === 'string') out['codeName'] = codeName;
  out['message'] = cut(fromServer ? redactDocuments(error.message) : error.message);
  if (Array.isArray(violations) && violations.length > 0) out['violations'] = listToLoggable(violations, depth + 1);
  if (isFilledObject(metadata)) out['metadata'] = toLoggable('', metadata, depth + 1);
  if (isUnexpected(error, code) && error.stack !== undefined) out['stack'] = stackFrames(error.stack);
  if (error instanceof AggregateError) out['errors'] = listToLoggable(error.errors, depth + 1);
  if (cause !== undefined) out['cause'] = toLoggable('cause', cause, depth + 1);
  return out;
}

function isFilledObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && Object.keys(value).length > 0;
}

/** Where it came from matters for bugs; an outage or a refusal is explained by its message. */
function isUnexpected(error: Error, code: unknown): boolean {
  return code === 'Internal' || ['TypeError', 'RangeError', 'ReferenceError', 'SyntaxError'].includes(error.name);
}

/** The frames without the message, which is shown redacted elsewhere. */
function stackFrames(stack: string): string[] {
  return stack
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line.startsWith('at '))
    .slice(0, 20);
}

function cut(text: string): string {
  return redactAndCut(text, MAX_VALUE_CHARACTERS);
}
