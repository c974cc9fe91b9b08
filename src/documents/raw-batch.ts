/** The documents of one reply, raw, which are looked at where the reply has them. */
import type { Doc } from '../bson/bson.js';
import type { Position } from '../bson/position.js';
import { idDocument } from '../bson/raw-document.js';
import { freeReply } from '../cluster/reply-memory.js';
import { InvariantError } from '../errors.js';

const TYPE_DOCUMENT = 0x03;
/** So many pieces of a message are written by one call. */
const FEW = 8;

/** What came with the documents of a reply. */
export interface BatchPlace {
  /** Of change streams: the position after this batch, also when it is empty. */
  readonly position?: Position | undefined;
  /** Of finds with `$_requestResumeToken`: what `$_resumeAfter` takes to go on after this batch. */
  readonly resumeAfter?: Doc | undefined;
}

/**
 * One reply of a cursor, of at most 16 MB. A Buffer for each document would cost more than all else that is done with
 * it, most of it in collecting them: so whoever can do without, compares the reply as a whole or has it packed.
 */
export class RawBatch {
  readonly position: Position | undefined;
  readonly resumeAfter: Doc | undefined;
  /** Of all documents together. */
  readonly bytes: number;
  /** The reply's array as it came; once packed, the documents alone. */
  #memory: Buffer;
  #isPacked = false;
  #isFreed = false;
  /** Where each document begins. */
  readonly #starts: number[];
  #documents: Buffer[] | undefined;

  /** `array`: a raw BSON array of documents, which from now on belongs to the batch. Errors: Internal for another array. */
  constructor(array: Buffer, { position, resumeAfter }: BatchPlace = {}) {
    this.#memory = array;
    this.position = position;
    this.resumeAfter = resumeAfter;
    this.#starts = startsOf(array);
    this.bytes = this.#starts.reduce((sum, start) => sum + array.readInt32LE(start), 0);
  }

  get length(): number {
    return this.#starts.length;
  }

  /** Each as a view of the reply; made when they are first asked for. */
  get documents(): Buffer[] {
    this.#assertThere();
    this.#documents ??= this.#starts.map((_, index) => this.#view(index));
    return this.#documents;
  }

  /** A copy of the first one's `_id`, as `{_id: …}`; undefined where there is none. */
  get firstId(): Buffer | undefined {
    return this.length === 0 ? undefined : idDocument(this.#view(0));
  }

  /** As `firstId`, of the last one. */
  get lastId(): Buffer | undefined {
    return this.length === 0 ? undefined : idDocument(this.#view(this.length - 1));
  }

  /** Whether a test holds for a document, which begins at `start` of `memory`. */
  some(test: (memory: Buffer, start: number) => boolean): boolean {
    this.#assertThere();
    return this.#starts.some((start) => test(this.#memory, start));
  }

  /** Whether the other one has the same documents in the same order; false also where one of them is packed. */
  equals(other: RawBatch): boolean {
    this.#assertThere();
    other.#assertThere();
    return !this.#isPacked && !other.#isPacked && this.#memory.equals(other.#memory);
  }

  /**
   * Gives the reply's memory back now; not where somebody holds views of it. Of the batch only how much it was can be
   * asked from then on. Not while it is being sent: it may go once the server has answered.
   */
  free(): void {
    if (this.#documents !== undefined) return;
    this.#isFreed = true;
    freeReply(this.#memory);
  }

  /** The documents as a message takes them: packed, or one by one where they are too few to be worth the moving. */
  pieces(): readonly Buffer[] {
    if (this.#isPacked || this.#documents !== undefined || this.length > FEW) return [this.pack()];
    return this.#starts.map((_, index) => this.#view(index));
  }

  /**
   * The documents without anything between them, as a message takes them. They are moved within the reply's own memory;
   * not where somebody holds views of it.
   */
  pack(): Buffer {
    this.#assertThere();
    if (this.#isPacked) return this.#memory;
    if (this.#documents !== undefined) return Buffer.concat(this.#documents);
    let to = 0;
    for (const [index, start] of this.#starts.entries()) {
      const end = start + this.#memory.readInt32LE(start);
      this.#memory.copyWithin(to, start, end);
      this.#starts[index] = to;
      to += end - start;
    }
    this.#memory = this.#memory.subarray(0, to);
    this.#isPacked = true;
    return this.#memory;
  }

  #assertThere(): void {
    if (this.#isFreed) throw new InvariantError('documents were asked for whose memory was given back');
  }

  #view(index: number): Buffer {
    this.#assertThere();
    const start = this.#starts[index] as number;
    return this.#memory.subarray(start, start + this.#memory.readInt32LE(start));
  }
}

/** Names of an array's elements are their indexes: only how many digits they have matters. */
function startsOf(array: Buffer): number[] {
  const starts: number[] = [];
  const last = array.length - 1;
  let digits = 1;
  let moreFrom = 10;
  for (let offset = 4; offset < last; ) {
    if (array[offset] !== TYPE_DOCUMENT) throw new InvariantError('a cursor gave something that is no document');
    if (starts.length === moreFrom) {
      digits++;
      moreFrom *= 10;
    }
    const start = offset + 2 + digits;
    starts.push(start);
    offset = start + array.readInt32LE(start);
  }
  return starts;
}
