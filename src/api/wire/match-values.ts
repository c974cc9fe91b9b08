/** Checks the values of `documentFilter`. */
import { encode, extendedValue } from '../../bson/bson.js';
import type { Violations } from '../violations.js';

/** The Extended JSON forms of scalar values that a filter can compare, each with the check of its content. */
const EXTENDED: ReadonlyMap<string, (value: unknown) => boolean> = new Map(
  Object.entries({
    $numberInt: (value: unknown) => isInteger(value, 32),
    $numberLong: (value: unknown) => isInteger(value, 64),
    $numberDouble: isDouble,
    $numberDecimal: isDecimal,
    $oid: (value: unknown) => isText(value, /^[0-9a-f]{24}$/i),
    $uuid: (value: unknown) => isText(value, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i),
    $date: isDate,
    $binary: isBinary,
  }),
);

/** Notes every value of `documentFilter.matchValues` that is not a number, string, boolean, date, ObjectId or binary. */
export function checkMatchValues(values: readonly unknown[], path: string, violations: Violations): void {
  for (const [i, value] of values.entries()) {
    const problem = problemOf(value);
    if (problem !== undefined) violations.add(`${path}[${i}]`, problem);
  }
}

function problemOf(value: unknown): string | undefined {
  if (typeof value === 'string' || typeof value === 'boolean') return undefined;
  if (typeof value === 'number') return problemOfNumber(value);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return unsupported;
  const [entry, ...more] = Object.entries(value);
  const check = entry === undefined ? undefined : EXTENDED.get(entry[0]);
  if (entry === undefined || more.length > 0 || check === undefined) return unsupported;
  return check(entry[1]) && isCarried(value) ? undefined : `is not a valid Extended JSON ${entry[0]}`;
}

/** Beyond it JavaScript has no dates, so the value could not be kept. */
const MAX_DATE_MS = 8.64e15;

const unsupported = 'must be a number, string, boolean, date, ObjectId or binary, as Extended JSON';

/** JSON's numbers pass through a double: a large integer has lost its last digits before we could see it. */
function problemOfNumber(value: number): string | undefined {
  if (!Number.isFinite(value)) return 'must be finite; write {"$numberDouble": "…"}';
  if (!Number.isInteger(value) || Number.isSafeInteger(value)) return undefined;
  return 'is an integer beyond 2^53, which JSON does not keep exactly; write {"$numberLong": "…"} or {"$numberDouble": "…"}';
}

/** The last word has who makes the value of it: what passes here must not fail where the filter is used. */
function isCarried(value: unknown): boolean {
  try {
    encode({ value: extendedValue(value) });
    return true;
  } catch (error) {
    if (error instanceof Error) return false;
    throw error;
  }
}

/** The driver would wrap a number that is out of range around. */
function isInteger(value: unknown, bits: number): value is string {
  return isText(value, /^-?\d{1,19}$/) && BigInt.asIntN(bits, BigInt(value)) === BigInt(value);
}

function isDouble(value: unknown): boolean {
  if (isText(value, /^(-?Infinity|NaN)$/)) return true;
  return isText(value, /^-?\d+(\.\d+)?([eE][+-]?\d+)?$/) && Number.isFinite(Number(value));
}

function isDecimal(value: unknown): boolean {
  if (isText(value, /^(-?Infinity|NaN)$/)) return true;
  if (!isText(value, /^-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/)) return false;
  // Out of range it becomes infinite; one that would lose digits is refused by the driver itself.
  return isCarried({ $numberDecimal: value }) && !String(extendedValue({ $numberDecimal: value })).includes('Inf');
}

/** Without a zone it would mean another time on each machine; finer than milliseconds it could not be kept. */
function isDate(value: unknown): boolean {
  if (typeof value === 'string') {
    const day = /^(\d{4}-\d\d-\d\d)T\d\d:\d\d:\d\d(\.\d{1,3})?(Z|[+-]\d\d:\d\d)$/.exec(value)?.[1];
    return day !== undefined && isDay(day) && !Number.isNaN(Date.parse(value));
  }
  if (!isObjectWith(value, ['$numberLong']) || !isInteger(value['$numberLong'], 64)) return false;
  return Math.abs(Number(value['$numberLong'])) <= MAX_DATE_MS;
}

/** `2026-02-31` is parsed as a day in March. */
function isDay(day: string): boolean {
  const parsed = new Date(`${day}T00:00:00Z`);
  return !Number.isNaN(parsed.getTime()) && parsed.toISOString().startsWith(day);
}

function isBinary(value: unknown): boolean {
  if (!isObjectWith(value, ['base64', 'subType']) || !isText(value['subType'], /^[0-9a-f]{1,2}$/i)) return false;
  const { base64 } = value;
  return typeof base64 === 'string' && Buffer.from(base64, 'base64').toString('base64') === base64;
}

function isText(value: unknown, form: RegExp): value is string {
  return typeof value === 'string' && form.test(value);
}

function isObjectWith(value: unknown, keys: readonly string[]): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false;
  const given = Object.keys(value);
  return given.length === keys.length && keys.every((key) => given.includes(key));
}
