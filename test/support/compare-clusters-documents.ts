/** Compares the documents of two clusters byte for byte. */
import type { Document, MongoClient } from 'mongodb';
import { fieldOf, numberOf, orderlessText, type RawValue, renderValue } from './compare-clusters-bson.js';
import { RawDocuments } from './compare-clusters-read.js';

/** One collection, on two clusters. */
export interface DocumentsToCompare {
  readonly source: MongoClient;
  readonly destination: MongoClient;
  readonly from: { readonly db: string; readonly collection: string };
  readonly to: { readonly db: string; readonly collection: string };
  /** Whether documents are compared in natural order, in which a capped collection keeps them, and not by `_id`. */
  readonly naturalOrder: boolean;
  /** Which of the source's documents there should be; undefined: all. */
  readonly filter?: Document | undefined;
}

type Kind =
  | 'missing'
  | 'extra'
  | 'different'
  | 'different only in field order'
  | 'different only in number types of _id'
  | 'out of order';

const NAMED_IDS = 10;
const PAIRED_IDS = 10_000;
const LOOK_AHEAD_DOCUMENTS = 20_000;
const LOOK_AHEAD_BYTES = 128 * 1024 * 1024;

/**
 * Compares every document byte for byte and returns one line for each kind of difference, with up to ten `_id`s.
 *
 * Both sides are read in one and the same order, so documents of one `_id` meet without knowing that order, be it by a
 * collation or over mixed types. Where two do not meet, both sides are read ahead until one does, at most 20,000
 * documents or 128 MB, which bounds the memory; beyond that the rest of the collection is given up, with a line.
 */
export async function compareDocuments(options: DocumentsToCompare): Promise<string[]> {
  const { source, destination, from, to, naturalOrder, filter } = options;
  const order = naturalOrder ? { hint: { $natural: 1 } } : { sort: { _id: 1 }, hint: { _id: 1 } };
  const command = { ...order, batchSize: 10_000, readConcern: { level: 'majority' } };
  const own = { find: from.collection, ...command, ...(filter === undefined ? {} : { filter }) };
  await using left = new RawDocuments(source, { db: from.db, command: own });
  await using right = new RawDocuments(destination, { db: to.db, command: { find: to.collection, ...command } });
  const found = new Differences();
  await merge(left, right, found);
  return found.lines().map((line) => `${from.db}.${from.collection}: ${line}`);
}

async function merge(left: RawDocuments, right: RawDocuments, found: Differences): Promise<void> {
  for (;;) {
    const more = [await left.fill(1), await right.fill(1)];
    if (!more.includes(true)) return;
    const same = samePrefix(left, right, found);
    left.skip(same);
    right.skip(same);
    if (same === 0 && !(await meetAgain(left, right, found))) {
      found.givenUp = true;
      return;
    }
  }
}

/** Compares documents as long as their `_id`s are the same, and returns how many were. */
function samePrefix(left: RawDocuments, right: RawDocuments, found: Differences): number {
  for (let index = 0; ; index++) {
    const a = left.at(index);
    const b = right.at(index);
    if (a === undefined || b === undefined) return index;
    if (a.equals(b)) continue;
    const id = idOf(a);
    if (keyOf(id) !== keyOf(idOf(b))) return index;
    found.add(orderlessText(a) === orderlessText(b) ? 'different only in field order' : 'different', id);
  }
}

/** Reads ahead until an `_id` occurs on both sides; what stands before it is on one side only. False: none was found. */
async function meetAgain(left: RawDocuments, right: RawDocuments, found: Differences): Promise<boolean> {
  const leftSeen = new Map<string, number>();
  const rightSeen = new Map<string, number>();
  let bytes = 0;
  const drop = (missing: number, extra: number) => {
    for (let index = 0; index < missing; index++) found.add('missing', idOf(left.at(index)));
    for (let index = 0; index < extra; index++) found.add('extra', idOf(right.at(index)));
    left.skip(missing);
    right.skip(extra);
    return true;
  };
  for (let index = 0; index < LOOK_AHEAD_DOCUMENTS && bytes < LOOK_AHEAD_BYTES; index++) {
    const hasLeft = await left.fill(index + 1);
    const hasRight = await right.fill(index + 1);
    if (!hasLeft && !hasRight) return drop(left.buffered, right.buffered);
    if (hasLeft) leftSeen.set(keyOf(idOf(left.at(index))), index);
    if (hasRight) rightSeen.set(keyOf(idOf(right.at(index))), index);
    bytes += (left.at(index)?.length ?? 0) + (right.at(index)?.length ?? 0);
    const onRight = hasLeft ? rightSeen.get(keyOf(idOf(left.at(index)))) : undefined;
    if (onRight !== undefined) return drop(index, onRight);
    const onLeft = hasRight ? leftSeen.get(keyOf(idOf(right.at(index)))) : undefined;
    if (onLeft !== undefined) return drop(onLeft, index);
  }
  return false;
}

/** The differences of one collection: counts of all, `_id`s of the first. */
class Differences {
  readonly #byKind = new Map<Kind, { count: number; ids: RawValue[] }>();
  /** Whether the comparison ended before the collection did. */
  givenUp = false;

  add(kind: Kind, id: RawValue): void {
    const entry = this.#byKind.get(kind) ?? { count: 0, ids: [] };
    this.#byKind.set(kind, entry);
    entry.count++;
    // A copy, or the id would keep the whole reply it was read with in memory.
    if (entry.ids.length < PAIRED_IDS) entry.ids.push({ type: id.type, bytes: Buffer.from(id.bytes) });
  }

  lines(): string[] {
    this.#pair('out of order', keyOf);
    this.#pair('different only in number types of _id', numericKey);
    const lines = [...this.#byKind]
      .filter(([, { count }]) => count > 0)
      .map(([kind, { count, ids }]) => {
        const named = ids.slice(0, NAMED_IDS).map(renderId).join(', ');
        return `${count} ${count === 1 ? 'document' : 'documents'} ${kind}: ${named}${count > NAMED_IDS ? ', …' : ''}`;
      });
    if (this.givenUp) lines.push('more documents in a row have no counterpart than can be looked through; given up');
    return lines;
  }

  /** What is missing here and extra there, under one key, is one document told twice. */
  #pair(kind: Kind, key: (id: RawValue) => string): void {
    const missing = this.#byKind.get('missing');
    const extra = this.#byKind.get('extra');
    if (missing === undefined || extra === undefined) return;
    const extraKeys = new Set(extra.ids.map(key));
    const paired = missing.ids.filter((id) => extraKeys.has(key(id)));
    const keys = new Set(paired.map(key));
    for (const one of [missing, extra]) {
      const rest = one.ids.filter((id) => !keys.has(key(id)));
      one.count -= one.ids.length - rest.length;
      one.ids = rest;
    }
    for (const id of paired) this.add(kind, id);
  }
}

const NO_ID: RawValue = { type: 0, bytes: Buffer.alloc(0) };

function idOf(doc: Buffer | undefined): RawValue {
  return (doc === undefined ? undefined : fieldOf(doc, '_id')) ?? NO_ID;
}

function keyOf({ type, bytes }: RawValue): string {
  return `${type}:${bytes.toString('latin1')}`;
}

function numericKey(id: RawValue): string {
  return String(numberOf(id) ?? keyOf(id));
}

function renderId(id: RawValue): string {
  const text = id.type === 0 ? 'no _id' : renderValue(id);
  return text.length > 100 ? `${text.slice(0, 99)}…` : text;
}
