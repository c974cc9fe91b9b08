/** Stores the changed documents that the applier has not reached yet, until they can be compared. */
import type { Timestamp } from '../bson/bson.js';
import { InvariantError } from '../errors.js';
import { inChunks } from '../lib/in-chunks.js';
import { idKey } from '../matching/id-key.js';
import type { BacklogRecord, VerificationState } from '../metadata/verification-store.js';
import { addIds, type DirtyIds } from './dirty-set.js';

/** Of the ids in one record; a record holds at most 16 MB. */
const CHUNK_BYTES = 4 * 1024 * 1024;
const CHUNK_DOCUMENTS = 50_000;

/** How far both clusters' streams have been read. */
export interface ReadUpTo {
  readonly source: Timestamp | undefined;
  readonly destination: Timestamp | undefined;
}

/** Documents to be compared once the applier has passed `time`. */
export interface Chunk {
  readonly time: Timestamp;
  /** By collection as the streams name it: the map may not know it yet. */
  readonly ids: DirtyIds;
  /** Everything the streams have named up to there is in this chunk or in an earlier one; undefined: unknown. */
  readonly readUpTo: ReadUpTo | undefined;
}

/**
 * What the streams have named and the applier has not reached: in the metadata, first in, first out, so that neither
 * the memory grows nor the streams stand still while the applier is behind.
 */
export class Backlog {
  readonly #store: VerificationState;
  #first: (Chunk & { readonly number: number }) | undefined;
  #next = 0;
  #open = 0;
  /** Of the last chunk of documents that were not compared before. */
  #lastNamed = -1;

  constructor(store: VerificationState) {
    this.#store = store;
  }

  get isEmpty(): boolean {
    return this.#open === 0;
  }

  /** Whether it holds documents that have not been compared since a stream named them. */
  get holdsNamed(): boolean {
    return this.#open > 0 && this.#lastNamed >= this.#next - this.#open;
  }

  /** The number under which the next chunk will be stored; to be stored with the positions that rely on those before. */
  get next(): number {
    return this.#next;
  }

  /** Goes on after another process, which stored `next`. */
  async load(next: number, signal: AbortSignal): Promise<void> {
    this.#next = next;
    const first = await this.#store.firstBacklog(signal);
    this.#open = first === undefined ? 0 : Math.max(0, next - first.number);
    this.#lastNamed = next - 1;
  }

  /** `readUpTo`: undefined for documents that were compared, and for which there is no room elsewhere. */
  async add(ids: DirtyIds, time: Timestamp, readUpTo: ReadUpTo | undefined, signal: AbortSignal): Promise<void> {
    const all = [...ids].flatMap(([name, own]) => [...own.values()].map((id) => ({ name, id })));
    const portions = [...inChunks(all, CHUNK_DOCUMENTS, CHUNK_BYTES, ({ id }) => id.length)];
    for (const [index, portion] of portions.entries()) {
      // Not before the last of them has everything been named that was read.
      const times = index === portions.length - 1 ? readUpTo : undefined;
      const record: BacklogRecord = {
        number: this.#next,
        time,
        ids: packed(portion),
        sourceTime: times?.source,
        destinationTime: times?.destination,
      };
      await this.#store.putBacklog(record, signal);
      if (readUpTo !== undefined) this.#lastNamed = this.#next;
      this.#next++;
      this.#open++;
    }
  }

  /** The oldest chunk. */
  async first(signal: AbortSignal): Promise<Chunk | undefined> {
    if (this.isEmpty) return undefined;
    if (this.#first !== undefined) return this.#first;
    const record = await this.#store.firstBacklog(signal);
    if (record === undefined) throw new InvariantError('a chunk of the backlog is gone');
    const { number, time, ids, sourceTime: source, destinationTime: destination } = record;
    const readUpTo = source === undefined && destination === undefined ? undefined : { source, destination };
    this.#first = { number, time, ids: unpacked(ids), readUpTo };
    return this.#first;
  }

  /** Removes the oldest chunk, once what it led to is stored. */
  async dropFirst(signal: AbortSignal): Promise<void> {
    if (this.#first === undefined) return;
    await this.#store.deleteBacklog(this.#first.number, signal);
    this.#first = undefined;
    this.#open--;
  }
}

function packed(items: readonly { readonly name: string; readonly id: Buffer }[]): BacklogRecord['ids'] {
  const byName = new Map<string, Buffer[]>();
  for (const { name, id } of items) {
    const own = byName.get(name) ?? [];
    byName.set(name, own);
    own.push(id);
  }
  return [...byName].map(([name, ids]) => ({ name, ids: Buffer.concat(ids) }));
}

/** BSON documents tell their own length. */
function unpacked(records: BacklogRecord['ids']): DirtyIds {
  const result: DirtyIds = new Map();
  for (const { name, ids } of records) {
    for (let start = 0; start < ids.length; ) {
      const end = start + ids.readInt32LE(start);
      const id = ids.subarray(start, end);
      addIds(result, name, new Map([[idKey(id), id]]));
      start = end;
    }
  }
  return result;
}
