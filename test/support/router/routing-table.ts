/** What the router knows of one sharded collection: its key, its chunks and their versions. */
import { ObjectId, Timestamp } from 'mongodb';
import { hashedValue } from './hashed-value.js';
import { type Doc, doc, elements, type Fields, fieldsOf, isTrue, type RawValue, textOf } from './raw-values.js';
import { compareLists, compareValues } from './value-order.js';

/** A range of shard keys and where its documents are. */
export interface Chunk {
  /** Values of the key's fields, as in `min`. */
  readonly low: readonly RawValue[];
  readonly high: readonly RawValue[];
  readonly shard: string;
  /** As `config.chunks` has it. */
  readonly min: RawValue;
  readonly max: RawValue;
}

/** The version of an unsharded collection; goes with a database version. */
export const UNSHARDED = doc({
  t: new Timestamp(0n),
  e: new ObjectId('000000000000000000000000'),
  v: new Timestamp(0n),
});

/** Tells a shard to accept a write whatever the version: for multi writes that go to all shards. */
export const IGNORED = doc({
  t: new Timestamp((2n ** 32n - 1n) * 2n ** 32n + (2n ** 32n - 1n)),
  e: new ObjectId('00000000ffffffffffffffff'),
  v: new Timestamp(0n),
});

const NO_CHUNKS = new Timestamp(0n);

/** The chunks of one collection, in order, and what a shard must be told with each command. */
export class RoutingTable {
  /** `{a: 1, b: 'hashed'}` */
  readonly key: RawValue;
  readonly unique: boolean;
  readonly epoch: RawValue;
  readonly timestamp: RawValue;
  /** Dotted names of the key's fields, in order. */
  readonly paths: readonly string[];
  /** Of each field, whether it is hashed. */
  readonly hashed: readonly boolean[];
  readonly chunks: readonly Chunk[];
  /** Names of the shards that own chunks, sorted. */
  readonly shards: readonly string[];
  /** Whether strings compare by their bytes. */
  readonly simpleCollation: boolean;
  readonly #versions = new Map<string, RawValue>();

  /** `collection` is of `config.collections`, `chunks` of `config.chunks`; there must be one chunk at least. */
  constructor(collection: Fields, chunks: readonly Buffer[]) {
    const required = (name: string): RawValue => {
      const value = collection.get(name);
      if (value === undefined) throw new Error(`config.collections has an entry without ${name}`);
      return value;
    };
    this.key = required('key');
    this.unique = isTrue(collection.get('unique'));
    this.epoch = required('lastmodEpoch');
    this.timestamp = required('timestamp');
    const keyFields = [...elements(this.key.bytes)];
    this.paths = keyFields.map(({ name }) => name);
    this.hashed = keyFields.map(({ value }) => textOf(value) === 'hashed');
    const collation = collection.get('defaultCollation');
    const locale = collation === undefined ? undefined : textOf(fieldsOf(collation.bytes).get('locale'));
    this.simpleCollation = locale === undefined || locale === 'simple';
    this.chunks = chunks.map((raw) => this.#read(raw)).sort((a, b) => compareLists(a.low, b.low));
    this.shards = [...this.#versions.keys()].sort();
  }

  /** The `shardVersion` that this shard must be told. */
  version(shard: string): Doc {
    return doc({ t: this.timestamp, e: this.epoch, v: this.#versions.get(shard) ?? NO_CHUNKS });
  }

  /** The collection's version: that of the chunk which changed last. */
  get latestVersion(): RawValue {
    return [...this.#versions.values()].reduce((a, b) => (compareValues(a, b) < 0 ? b : a));
  }

  /** The chunk of a key, given as {@link stored} values. */
  chunkOf(key: readonly RawValue[]): Chunk {
    let [low, high] = [0, this.chunks.length];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (compareLists((this.chunks[middle] as Chunk).low, key) <= 0) low = middle;
      else high = middle;
    }
    return this.chunks[low] as Chunk;
  }

  /** The values of a document's key as chunks' bounds have them: hashed where the key is. */
  stored(values: readonly RawValue[]): RawValue[] {
    return values.map((value, index) => (this.hashed[index] ? hashedValue(value) : value));
  }

  /** The shard of a document, by the plain values of its key. */
  shardOf(values: readonly RawValue[]): string {
    return this.chunkOf(this.stored(values)).shard;
  }

  #read(raw: Buffer): Chunk {
    const fields = fieldsOf(raw);
    const [min, max, lastmod] = [fields.get('min'), fields.get('max'), fields.get('lastmod')];
    const shard = textOf(fields.get('shard')) ?? '';
    if (min === undefined || max === undefined || lastmod === undefined) throw new Error('a chunk without bounds');
    const version = this.#versions.get(shard);
    if (version === undefined || compareValues(version, lastmod) < 0) this.#versions.set(shard, lastmod);
    return { low: valuesOf(min), high: valuesOf(max), shard, min, max };
  }
}

/** The values of a document's fields. */
export function valuesOf(document: RawValue): RawValue[] {
  return Array.from(elements(document.bytes), ({ value }) => value);
}
