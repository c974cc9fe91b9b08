/** Decides how an index is built on the destination, and which indexes have to wait for the commit. */
import {
  canonicalText,
  Decimal128,
  type Doc,
  Double,
  Int32,
  Long,
  type OrderedDoc,
  unorderedText,
} from '../bson/bson.js';
import { isCollated, numberOf } from './collection-spec.js';

/** An index's name. */
export function indexName(spec: OrderedDoc): string {
  return String(spec.get('name'));
}

/** Held back until the commit: uniqueness could refuse a change that is only late, expiry would delete, hidden is restored as it was. */
const HELD_BACK = ['unique', 'prepareUnique', 'expireAfterSeconds', 'hidden'] as const;

/**
 * Options that are on or off. Old servers kept the value they were given, of any type: `isTrue` says what they take it
 * for, in whatever is compared or carried. Tried on 4.4.2: `sparse` is kept so, `unique` becomes true.
 */
const SWITCHES = new Set(['unique', 'prepareUnique', 'hidden', 'sparse']);

/** Never sent: the server's bookkeeping and options without effect since 4.4. */
const NOT_SENT = new Set(['ns', 'background', 'dropDups', 'buildUUID', 'safe']);

/**
 * Options that createIndexes knows. Old servers stored whatever they were given; sent today, such an option is refused
 * (code 197). Source: MongoDB manual, "createIndexes".
 */
const KNOWN = new Set([
  'v',
  'key',
  'name',
  'unique',
  'prepareUnique',
  'expireAfterSeconds',
  'hidden',
  'sparse',
  'partialFilterExpression',
  'collation',
  'weights',
  'default_language',
  'language_override',
  'textIndexVersion',
  '2dsphereIndexVersion',
  'bits',
  'min',
  'max',
  'coarsestIndexedLevel',
  'finestIndexedLevel',
  'wildcardProjection',
  'storageEngine',
  'columnstoreProjection',
]);

const LONGEST_EXPIRY_SECONDS = 2_147_483_647;

const NUMBERS = [
  'bits',
  'min',
  'max',
  'textIndexVersion',
  '2dsphereIndexVersion',
  'coarsestIndexedLevel',
  'finestIndexedLevel',
] as const;

/** The spec to build on the destination during the migration, and what was changed in it for the server to take it. */
export function relaxedIndex(
  spec: OrderedDoc,
  collectionOptions: OrderedDoc,
): { readonly spec: OrderedDoc; readonly warnings: readonly string[] } {
  const result: OrderedDoc = new Map();
  const warnings: string[] = [];
  for (const [name, value] of spec) {
    if (NOT_SENT.has(name) || (HELD_BACK as readonly string[]).includes(name)) continue;
    if (SWITCHES.has(name)) result.set(name, isTrue(value));
    else if (KNOWN.has(name)) result.set(name, name === 'key' ? sendableKey(value as OrderedDoc, warnings) : value);
    else warnings.push(`option "${name}" is unknown to createIndexes and was dropped`);
  }
  if (isNever(spec.get('expireAfterSeconds')))
    warnings.push(
      'its expireAfterSeconds is not a number, so that nothing expires; it was changed to the largest value that servers accept',
    );
  // Without it the index would inherit the collection's collation (docs/05-indexes.md).
  if (isCollated(collectionOptions) && !spec.has('collation')) result.set('collation', new Map([['locale', 'simple']]));
  return { spec: result, warnings };
}

/** Key values of old servers that today's refuse (code 67) mean ascending. */
function sendableKey(key: OrderedDoc, warnings: string[]): OrderedDoc {
  const result: OrderedDoc = new Map();
  for (const [field, value] of key) {
    const legacy =
      typeof value === 'string'
        ? value === ''
        : !isNumber(value) || numberOf(value) === 0 || Number.isNaN(numberOf(value));
    if (legacy) warnings.push(`the key value of "${field}" has an old form and was changed to 1`);
    result.set(field, legacy ? new Int32(1) : value);
  }
  return result;
}

function isNumber(value: unknown): boolean {
  return (
    typeof value === 'number' ||
    value instanceof Int32 ||
    value instanceof Double ||
    value instanceof Long ||
    value instanceof Decimal128
  );
}

/** A text equal for two specs that are built the same way; held-back options do not count. */
export function builtText(spec: OrderedDoc): string {
  const result = new Map(
    [...spec].filter(
      ([name]) => !NOT_SENT.has(name) && !(HELD_BACK as readonly string[]).includes(name) && KNOWN.has(name),
    ),
  );
  return comparable(result);
}

/** An index that cannot be built beside another one of its collection before the commit. */
export interface IndexTwin {
  readonly spec: OrderedDoc;
  /** The name of the other. */
  readonly of: string;
}

/**
 * A collection's indexes by when they can be built. Two that differ in nothing but what is held back, as a unique index
 * and its non-unique twin do, are one to the server until that is given back: the unique one is built, the other one
 * waits until then.
 */
export function splitTwins(indexes: readonly OrderedDoc[]): {
  readonly built: readonly OrderedDoc[];
  readonly twins: readonly IndexTwin[];
} {
  const groups = new Map<string, OrderedDoc[]>();
  for (const spec of indexes) {
    const text = builtText(new Map([...spec].filter(([name]) => name !== 'name')));
    groups.set(text, [...(groups.get(text) ?? []), spec]);
  }
  const first = new Map<OrderedDoc, OrderedDoc>();
  for (const group of groups.values()) {
    const leader = group.find((spec) => isTrue(spec.get('unique'))) ?? group[0];
    for (const spec of group) if (leader !== undefined) first.set(spec, leader);
  }
  const leaderOf = (spec: OrderedDoc): OrderedDoc => first.get(spec) ?? spec;
  return {
    built: indexes.filter((spec) => leaderOf(spec) === spec),
    twins: indexes.filter((spec) => leaderOf(spec) !== spec).map((spec) => ({ spec, of: indexName(leaderOf(spec)) })),
  };
}

/** The spec of an index with all that is held back from others: for one that is built after the commit. */
export function wholeIndex(spec: OrderedDoc, collectionOptions: OrderedDoc): OrderedDoc {
  const { spec: result } = relaxedIndex(spec, collectionOptions);
  for (const name of HELD_BACK) {
    const value = name === 'expireAfterSeconds' ? sendableExpiry(spec.get(name)) : isTrue(spec.get(name)) || undefined;
    if (value !== undefined) result.set(name, value);
  }
  return result;
}

/** A text equal for two specs that mean the same, held-back options included. */
export function comparableIndex(spec: OrderedDoc): string {
  const result = new Map([...spec].filter(([name]) => KNOWN.has(name)));
  const ttl = sendableExpiry(result.get('expireAfterSeconds'));
  if (ttl !== undefined) result.set('expireAfterSeconds', String(numberOf(ttl)));
  return comparable(result);
}

function comparable(spec: Map<string, unknown>): string {
  const key = spec.get('key');
  if (key instanceof Map) spec.set('key', canonicalText(sendableKey(key, [])));
  const collation = spec.get('collation');
  if (collation instanceof Map) {
    if (collation.get('locale') === 'simple') spec.delete('collation');
    else spec.set('collation', new Map([...collation].filter(([name]) => name !== 'version')));
  }
  for (const name of SWITCHES) {
    if (isTrue(spec.get(name))) spec.set(name, true);
    else spec.delete(name);
  }
  // Change events, listIndexes and createIndexes give some of these as int, others as double.
  for (const name of NUMBERS) if (isNumber(spec.get(name))) spec.set(name, String(numberOf(spec.get(name))));
  const weights = spec.get('weights');
  if (weights instanceof Map)
    spec.set('weights', new Map([...weights].map(([field, weight]) => [field, String(numberOf(weight))])));
  spec.delete('v');
  return unorderedText(spec);
}

/** Old servers stored what they were given, and took every value but false, null and zero for true. */
function isTrue(value: unknown): boolean {
  return value !== undefined && value !== null && value !== false && !(isNumber(value) && numberOf(value) === 0);
}

/** An expiry of NaN. Source: MongoDB manual, "TTL Indexes": servers from 5.0.14 and 6.0.2 on take it for the largest. */
function isNever(expireAfterSeconds: unknown): boolean {
  return expireAfterSeconds !== undefined && Number.isNaN(numberOf(expireAfterSeconds));
}

/** Seconds as collMod takes them; old servers kept fractions and NaN. */
function sendableExpiry(value: unknown): unknown {
  if (value === undefined) return undefined;
  if (isNever(value)) return new Int32(LONGEST_EXPIRY_SECONDS);
  const seconds = numberOf(value);
  return Number.isInteger(seconds) ? value : new Int32(Math.trunc(seconds));
}

/** The spec after a collMod of it, as the change event describes it. */
export function modifiedIndex(spec: OrderedDoc, change: OrderedDoc): OrderedDoc {
  const result = new Map(spec);
  for (const [name, value] of change) {
    if (name === 'name' || name === 'keyPattern') continue;
    if (value === false) result.delete(name);
    else result.set(name, value);
    if (name === 'unique' && value === true) result.delete('prepareUnique');
    if (name === 'forceNonUnique') {
      result.delete('forceNonUnique');
      result.delete('unique');
    }
  }
  return result;
}

/** What the commit gives back to an index, by collMod; undefined where nothing was held back. */
export interface IndexRestoration {
  readonly name: string;
  readonly unique: boolean;
  readonly prepareUnique: boolean;
  readonly hidden: boolean;
  readonly expireAfterSeconds: unknown;
}

export function restoration(spec: OrderedDoc): IndexRestoration {
  return {
    name: indexName(spec),
    unique: isTrue(spec.get('unique')),
    prepareUnique: isTrue(spec.get('prepareUnique')),
    hidden: isTrue(spec.get('hidden')),
    expireAfterSeconds: sendableExpiry(spec.get('expireAfterSeconds')),
  };
}

/** The largest expiry: nothing younger than 68 years goes; an index cannot lose the option itself. */
const NEVER_SECONDS = 2_147_483_647;

/** The `index` fields of the collMods, one after the other, that take from an index that is there what is held back. */
export function heldBackChanges(spec: OrderedDoc): Doc[] {
  const name = indexName(spec);
  const ttl = spec.get('expireAfterSeconds');
  return [
    ...(isTrue(spec.get('unique')) ? [{ name, forceNonUnique: true }] : []),
    ...(isTrue(spec.get('prepareUnique')) ? [{ name, prepareUnique: false }] : []),
    ...(ttl !== undefined && numberOf(ttl) !== NEVER_SECONDS ? [{ name, expireAfterSeconds: NEVER_SECONDS }] : []),
    ...(isTrue(spec.get('hidden')) ? [{ name, hidden: false }] : []),
  ];
}
