/** A collection of a simulated server: its documents, their order, its indexes. Every change can be undone. */
import { documentFrom, type Field, fieldOf, fieldsOf, idOf, Type } from './raw.js';
import { compoundKey, sortKey } from './sort-key.js';

/** A change of state that has been made; a rollback undoes it. */
export interface Change {
  undo(): void;
  redo(): void;
}

/** A document, never changed in place. */
export interface StoredDocument {
  readonly raw: Buffer;
  /** Raw `{_id: …}`. */
  readonly id: Buffer;
  /** Compares as its `_id` does. */
  readonly key: string;
  /** Keys in unique indexes, by the index's name and fields. */
  readonly indexKeys: Map<string, string>;
}

/** A BSON document whose order is kept: the server's own objects. */
export type Spec = ReadonlyMap<string, unknown>;

/** A collection. */
export class FakeCollection {
  readonly uuid: Buffer;
  readonly db: string;
  name: string;
  /** As listCollections tells them. */
  options: Spec;
  /** Finished ones, that on `_id` apart, by name. */
  indexes: ReadonlyMap<string, Spec> = new Map();
  readonly #documents = new Map<number, StoredDocument>();
  readonly #byKey = new Map<string, number>();
  #nextRecord = 1;
  #sorted: (readonly [number, StoredDocument])[] | undefined;
  #natural: (readonly [number, StoredDocument])[] | undefined;

  constructor(db: string, name: string, uuid: Buffer, options: Spec) {
    this.db = db;
    this.name = name;
    this.uuid = uuid;
    this.options = options;
  }

  get size(): number {
    return this.#documents.size;
  }

  get bytes(): number {
    let bytes = 0;
    for (const { raw } of this.#documents.values()) bytes += raw.length;
    return bytes;
  }

  get isCapped(): boolean {
    return this.options.get('capped') === true;
  }

  /** Whether letters' cases are not told apart. */
  get foldsCase(): boolean {
    return this.options.has('collation');
  }

  /** With their record ids, in `_id` order. */
  get sorted(): readonly (readonly [number, StoredDocument])[] {
    this.#sorted ??= [...this.#documents].sort(([, a], [, b]) => (a.key < b.key ? -1 : 1));
    return this.#sorted;
  }

  /** With their record ids, in the order of these. */
  get natural(): readonly (readonly [number, StoredDocument])[] {
    this.#natural ??= [...this.#documents].sort(([a], [b]) => a - b);
    return this.#natural;
  }

  /** The record id of the document with that key. */
  recordOf(key: string): number | undefined {
    return this.#byKey.get(key);
  }

  document(record: number): StoredDocument | undefined {
    return this.#documents.get(record);
  }

  /** A document as this collection would hold it. */
  toStored(raw: Buffer): StoredDocument {
    const field = fieldOf(raw, '_id');
    if (field === undefined) throw new TypeError('a document without _id');
    return { raw, id: idOf(raw), key: sortKey(field, this.foldsCase), indexKeys: new Map() };
  }

  /** Puts a document at a record, or takes away what is there. */
  put(record: number | undefined, document: StoredDocument | undefined): Change {
    const at = record ?? this.#nextRecord++;
    const before = this.#documents.get(at);
    const change = {
      redo: () => this.#set(at, document),
      undo: () => this.#set(at, before),
    };
    change.redo();
    return change;
  }

  /**
   * The unique index that a document violates beside all but the one at `record`, if there is one. An index whose keys
   * stay as they were `before` is not looked at.
   */
  violated(document: StoredDocument, record: number | undefined, before?: StoredDocument): Spec | undefined {
    for (const index of this.indexes.values()) {
      if (index.get('unique') !== true && index.get('prepareUnique') !== true) continue;
      if (before !== undefined && this.#keyIn(index, before) === this.#keyIn(index, document)) continue;
      if (this.#isTaken(index, document, record)) return index;
    }
    return undefined;
  }

  /** Whether two documents have one key in an index. */
  hasDuplicates(index: Spec): boolean {
    const keys = [...this.#documents.values()].map((each) => this.#keyIn(index, each));
    return new Set(keys.filter((key) => key !== undefined)).size < keys.filter((key) => key !== undefined).length;
  }

  #isTaken(index: Spec, document: StoredDocument, record: number | undefined): boolean {
    const key = this.#keyIn(index, document);
    if (key === undefined) return false;
    for (const [at, other] of this.#documents) if (at !== record && this.#keyIn(index, other) === key) return true;
    return false;
  }

  /** Undefined: a sparse index does not hold the document. */
  #keyIn(index: Spec, document: StoredDocument): string | undefined {
    const names = [...(index.get('key') as Spec).keys()];
    const cached = document.indexKeys.get(names.join());
    const fields = cached === undefined ? names.map((name) => fieldOf(document.raw, name)) : [];
    const key = cached ?? compoundKey(fields, this.foldsCase && index.has('collation'));
    if (cached === undefined) document.indexKeys.set(names.join(), key);
    if (index.get('sparse') === true && names.every((name) => fieldOf(document.raw, name) === undefined))
      return undefined;
    return key;
  }

  #set(record: number, document: StoredDocument | undefined): void {
    const before = this.#documents.get(record);
    if (before !== undefined) this.#byKey.delete(before.key);
    if (document === undefined) this.#documents.delete(record);
    else {
      this.#documents.set(record, document);
      this.#byKey.set(document.key, record);
    }
    this.#sorted = undefined;
    this.#natural = undefined;
  }
}

/** What a replacement of `before` by `doc` leaves: the old bytes of an equal `_id`, then the other fields. */
export function replaced(before: Buffer | undefined, doc: Buffer): Buffer {
  const old = before === undefined ? undefined : fieldOf(before, '_id');
  return old === undefined ? doc : withId(old, doc);
}

/** A document with that `_id`, which comes first. */
export function withId(id: Field, doc: Buffer): Buffer {
  return documentFrom([{ ...id, name: '_id' }, ...fieldsOf(doc).filter(({ name }) => name !== '_id')]);
}

/** A plain insert or replacement puts the time in place of empty timestamps at the top. */
export function withTimes(doc: Buffer, time: Buffer): Buffer {
  if (doc.indexOf(EMPTY) < 0) return doc;
  const isEmpty = ({ name, type, value }: Field): boolean =>
    type === Type.timestamp && name !== '_id' && value.equals(EMPTY);
  const fields = fieldsOf(doc);
  if (!fields.some(isEmpty)) return doc;
  return documentFrom(fields.map((field) => (isEmpty(field) ? { ...field, value: time } : field)));
}

const EMPTY = Buffer.alloc(8);
