/** Decides which options of a collection are carried, which are held back, and how they are restored. */
import { type Binary, type Doc, Int32, Long, type OrderedDoc, unorderedText } from '../bson/bson.js';

/** Larger than any collection: a capped collection on the destination must not evict by itself before the commit. */
const UNREACHED_CAPPED_BYTES = Long.fromNumber(2 ** 50);

/** What the server stores for `max` once a collMod has taken a maximum away (tried on 6.0.5). */
const NO_MAXIMUM = 2_147_483_647;

/**
 * Options that are the server's bookkeeping, or must not stay: `temp` would lose the collection at a restart;
 * `recordPreImages` is gone from later servers, which have `changeStreamPreAndPostImages`.
 */
const NOT_CARRIED = new Set(['uuid', 'idIndex', 'temp', 'autoIndexId', 'flags', 'info', 'recordPreImages']);

/** Held back until the commit: they make the destination change documents by itself or write more than was asked. */
const HELD_BACK = new Set(['expireAfterSeconds', 'changeStreamPreAndPostImages', 'max']);

/** A collection's options as they are recorded: without the server's bookkeeping. */
export function carriedOptions(options: OrderedDoc): OrderedDoc {
  return new Map([...options].filter(([name]) => !NOT_CARRIED.has(name)));
}

/**
 * The `create` command for a collection or view on the destination. Capped size and count, expiry and pre-images are
 * held back until the commit (docs/05-indexes.md). Validators stay: every write of ours bypasses them, and a collMod
 * at the commit would leave `validationLevel` in options that did not have it.
 */
export function createCommand(coll: string, options: OrderedDoc): Doc {
  const command: Doc = { create: coll };
  for (const [name, value] of carriedOptions(options)) {
    if (!HELD_BACK.has(name)) command[name] = value;
  }
  if (isCapped(options)) command['size'] = UNREACHED_CAPPED_BYTES;
  return command;
}

/** The collMod fields that give the destination what `createCommand` held back, TTL apart; empty when nothing was. */
export function restoreCommand(options: OrderedDoc): Doc {
  const command: Doc = {};
  if (isCapped(options)) {
    command['cappedSize'] = options.get('size');
    const max = options.get('max');
    if (max !== undefined) command['cappedMax'] = numberOf(max) >= NO_MAXIMUM ? 0 : max;
  }
  const images = options.get('changeStreamPreAndPostImages');
  if (images instanceof Map && images.get('enabled') === true) command['changeStreamPreAndPostImages'] = images;
  return command;
}

/**
 * The collMod fields that bring a collection as it is to what `createCommand` would make; empty when it is so. A
 * maximum that was taken away stays in the options as the server's own number for none.
 */
export function holdBackCommand(options: OrderedDoc): Doc {
  const command: Doc = {};
  if (isCapped(options)) {
    if (numberOf(options.get('size')) !== numberOf(UNREACHED_CAPPED_BYTES))
      command['cappedSize'] = UNREACHED_CAPPED_BYTES;
    const max = options.get('max');
    if (max !== undefined && numberOf(max) < NO_MAXIMUM) command['cappedMax'] = 0;
  }
  if (options.has('expireAfterSeconds')) command['expireAfterSeconds'] = 'off';
  const images = options.get('changeStreamPreAndPostImages');
  if (images instanceof Map && images.get('enabled') === true)
    command['changeStreamPreAndPostImages'] = { enabled: false };
  return command;
}

/** A clustered collection's expiry in seconds, or undefined. Time-series collections are not migrated. */
export function collectionTtl(options: OrderedDoc): unknown {
  return options.get('expireAfterSeconds');
}

export function isCapped(options: OrderedDoc): boolean {
  return options.get('capped') === true;
}

/** Whether the collection compares strings by a collation other than the simple one. */
export function isCollated(options: OrderedDoc): boolean {
  return options.get('collation') instanceof Map;
}

/**
 * The options after a collMod, as the change event describes it. Source: MongoDB manual, "collMod"; tried on 6.0.5:
 * an empty validator removes it, `"off"` removes the expiry, capped sizes are renamed.
 */
export function modifiedOptions(options: OrderedDoc, change: OrderedDoc): OrderedDoc {
  const result = new Map(options);
  for (const [name, value] of change) {
    switch (name) {
      case 'index':
        break;
      case 'cappedSize':
        result.set('size', value);
        break;
      case 'cappedMax':
        result.set('max', numberOf(value) > 0 ? value : new Int32(NO_MAXIMUM));
        break;
      case 'expireAfterSeconds':
        if (value === 'off') result.delete(name);
        else result.set(name, value);
        break;
      case 'validator':
        if (value instanceof Map && value.size === 0) result.delete(name);
        else result.set(name, value);
        break;
      case 'changeStreamPreAndPostImages':
        if (value instanceof Map && value.get('enabled') === true) result.set(name, value);
        else result.delete(name);
        break;
      default:
        result.set(name, value);
    }
  }
  return result;
}

/** The part of a collMod event that is carried out on the destination at once, rather than held back. */
export function immediateChange(change: OrderedDoc): Doc {
  const held = new Set([
    'index',
    'cappedSize',
    'cappedMax',
    'expireAfterSeconds',
    'changeStreamPreAndPostImages',
    'recordPreImages',
  ]);
  return Object.fromEntries([...change].filter(([name]) => !held.has(name)));
}

/** A BSON number as a JS number; for sizes and counts. */
export function numberOf(value: unknown): number {
  if (typeof value === 'number') return value;
  if (value instanceof Long) return value.toNumber();
  if (value instanceof Int32) return value.value;
  if (value !== null && typeof value === 'object' && 'value' in value) return Number(value.value);
  return Number(value);
}

/** A text equal for options that mean the same: order, defaults and the servers' own rounding left out. */
export function comparableOptions(options: OrderedDoc): string {
  const result = carriedOptions(options);
  for (const name of ['size', 'max', 'expireAfterSeconds']) {
    const value = result.get(name);
    if (value !== undefined) result.set(name, String(numberOf(value)));
  }
  const size = result.get('size');
  // 6.0 rounds capped sizes up to 256 bytes, 7.0 does not.
  if (size !== undefined) result.set('size', String(Math.ceil(Number(size) / 256) * 256));
  const images = result.get('changeStreamPreAndPostImages');
  if (images instanceof Map && images.get('enabled') === false) result.delete('changeStreamPreAndPostImages');
  if (result.get('validationLevel') === 'strict') result.delete('validationLevel');
  if (result.get('validationAction') === 'error') result.delete('validationAction');
  const collation = result.get('collation');
  if (collation instanceof Map) result.set('collation', new Map([...collation].filter(([name]) => name !== 'version')));
  const clustered = result.get('clusteredIndex');
  if (clustered instanceof Map) result.set('clusteredIndex', unorderedText(clustered));
  return unorderedText(result);
}

export function sameUuid(a: Binary | undefined, b: Binary | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return Buffer.from(a.buffer).equals(Buffer.from(b.buffer));
}
