import type { Violations } from '../violations.js';

/** The Extended JSON forms of scalar values that a filter can compare, each with the shape of its content. */
const EXTENDED: ReadonlyMap<string, (value: unknown) => boolean> = new Map(
  Object.entries({
    $numberInt: (value: unknown) => isText(value, /^-?\d{1,10}$/),
    $numberLong: (value: unknown) => isText(value, /^-?\d{1,19}$/),
    $numberDouble: (value: unknown) => isText(value, /^(-?Infinity|NaN|-?\d+(\.\d+)?([eE][+-]?\d+)?)$/),
    $numberDecimal: (value: unknown) => isText(value, /^(-?Infinity|NaN|-?[\d.]+([eE][+-]?\d+)?)$/),
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
  return check(entry[1]) ? undefined : `is not a valid Extended JSON ${entry[0]}`;
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

function isDate(value: unknown): boolean {
  if (typeof value === 'string') return /^\d{4}-\d\d-\d\dT/.test(value) && !Number.isNaN(Date.parse(value));
  if (!isObjectWith(value, ['$numberLong']) || !isText(value['$numberLong'], /^-?\d{1,19}$/)) return false;
  return Math.abs(Number(value['$numberLong'])) <= MAX_DATE_MS;
}

function isBinary(value: unknown): boolean {
  if (!isObjectWith(value, ['base64', 'subType'])) return false;
  return isText(value['base64'], /^[A-Za-z0-9+/]*={0,2}$/) && isText(value['subType'], /^[0-9a-f]{1,2}$/i);
}

function isText(value: unknown, form: RegExp): value is string {
  return typeof value === 'string' && form.test(value);
}

function isObjectWith(value: unknown, keys: readonly string[]): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false;
  const given = Object.keys(value);
  return given.length === keys.length && keys.every((key) => given.includes(key));
}
