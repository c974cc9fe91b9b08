/** Compares two streams of documents that come in one order. */
import { idDocument } from '../bson/raw-document.js';
import type { RawBatch } from '../documents/raw-batch.js';
import { fingerprint } from './difference.js';
import { idKey } from './id-key.js';

/** Documents of one side that wait for the other side's, at most; beyond it they are given up as differing. */
const MAX_UNMATCHED = 20_000;
/** Of their ids. */
const MAX_UNMATCHED_BYTES = 8 * 1024 * 1024;

/** The documents of one side, in the order of the side's index, raw and in batches. */
export type DocumentBatches = AsyncIterator<RawBatch>;

/** What a comparison tells while it runs. */
export interface MatchEvents {
  /** So many more documents were read. */
  readonly onRead: (source: number, destination: number) => void;
  /** Documents (raw `{_id: …}`) that are not the same, or whose counterpart was not met within reach. */
  readonly onDiffering: (ids: Buffer[]) => Promise<void>;
}

/**
 * Compares two streams of documents that come in one order, without knowing that order: equal neighbours are paired
 * off by their bytes, others by their `_id`'s bytes as soon as both have been met. Memory is bounded whatever is missing.
 */
export async function matchDocuments(
  source: DocumentBatches,
  destination: DocumentBatches,
  events: MatchEvents,
): Promise<void> {
  const a = new MatchedSide(source);
  const b = new MatchedSide(destination);
  const differing: Buffer[] = [];
  for (;;) {
    const [hasA, hasB] = await Promise.all([a.fill(), b.fill()]);
    events.onRead(a.takeRead(), b.takeRead());
    if (!hasA && !hasB) break;
    skipEqualBatches(a, b);
    while (a.isFilled && b.isFilled) pairHeads(a, b, differing);
    if (!hasA) while (b.isFilled) take(b, a, differing);
    if (!hasB) while (a.isFilled) take(a, b, differing);
    if (a.unmatched.isFull || b.unmatched.isFull) giveUp(a, b, differing);
    if (differing.length > 0) await events.onDiffering(differing.splice(0));
  }
  giveUp(a, b, differing);
  if (differing.length > 0) await events.onDiffering(differing);
}

/**
 * As long as both sides have the same documents, their replies are the same bytes: one comparison of all of it instead of
 * one for each document, for which a Buffer of its own would have to be made.
 */
function skipEqualBatches(a: MatchedSide, b: MatchedSide): void {
  const [ofA, ofB] = [a.untouched, b.untouched];
  if (ofA === undefined || ofB === undefined || !ofA.equals(ofB)) return;
  a.skipBatch();
  b.skipBatch();
  ofA.free();
  ofB.free();
}

function pairHeads(a: MatchedSide, b: MatchedSide, differing: Buffer[]): void {
  if (a.head.equals(b.head)) {
    a.skip();
    b.skip();
    return;
  }
  // One that has been waited for goes first, so that the streams come into step again.
  const waitsForA = b.unmatched.has(a.headKey);
  const waitsForB = a.unmatched.has(b.headKey);
  if (waitsForA || !waitsForB) take(a, b, differing);
  if (waitsForB || (!waitsForA && b.isFilled)) take(b, a, differing);
}

function take(from: MatchedSide, other: MatchedSide, differing: Buffer[]): void {
  const { head, headId: id, headKey: key } = from;
  from.skip();
  const counterpart = other.unmatched.take(key);
  if (counterpart === undefined) {
    // On a sharded cluster: which of them is whose counterpart is for a comparison of them all to tell.
    const other = from.unmatched.take(key);
    if (other !== undefined) differing.push(other.id);
    from.unmatched.add(key, Buffer.from(id), fingerprint(head));
  } else if (!counterpart.print.equals(fingerprint(head))) differing.push(counterpart.id);
}

function giveUp(a: MatchedSide, b: MatchedSide, differing: Buffer[]): void {
  for (const side of [a, b]) {
    differing.push(...side.unmatched.takeAll());
  }
}

/** What waits for the other side's documents. */
class Unmatched {
  readonly #waiting = new Map<string, { readonly id: Buffer; readonly print: Buffer }>();
  #bytes = 0;

  get isFull(): boolean {
    return this.#waiting.size > MAX_UNMATCHED || this.#bytes > MAX_UNMATCHED_BYTES;
  }

  has(key: string): boolean {
    return this.#waiting.has(key);
  }

  add(key: string, id: Buffer, print: Buffer): void {
    this.#waiting.set(key, { id, print });
    this.#bytes += id.length;
  }

  take(key: string): { readonly id: Buffer; readonly print: Buffer } | undefined {
    const found = this.#waiting.get(key);
    if (found === undefined) return undefined;
    this.#waiting.delete(key);
    this.#bytes -= found.id.length;
    return found;
  }

  takeAll(): Buffer[] {
    const ids = [...this.#waiting.values()].map(({ id }) => id);
    this.#waiting.clear();
    this.#bytes = 0;
    return ids;
  }
}

/** One of the two streams: the batch at hand, and what still waits for the other stream. */
class MatchedSide {
  readonly unmatched = new Unmatched();
  readonly #batches: DocumentBatches;
  #batch: RawBatch | undefined;
  #index = 0;
  #read = 0;
  #ended = false;

  constructor(batches: DocumentBatches) {
    this.#batches = batches;
  }

  get isFilled(): boolean {
    return this.#index < (this.#batch?.length ?? 0);
  }

  /** The batch at hand, if nothing of it has been used yet. */
  get untouched(): RawBatch | undefined {
    return this.#index === 0 ? this.#batch : undefined;
  }

  get head(): Buffer {
    return this.#batch?.documents[this.#index] as Buffer;
  }

  get headId(): Buffer {
    return idDocument(this.head) ?? this.head;
  }

  get headKey(): string {
    return idKey(this.headId);
  }

  skip(): void {
    this.#index++;
  }

  skipBatch(): void {
    this.#index = this.#batch?.length ?? 0;
  }

  /** Documents read since the last call. */
  takeRead(): number {
    const read = this.#read;
    this.#read = 0;
    return read;
  }

  /** Whether a document is at hand, after reading on if need be. */
  async fill(): Promise<boolean> {
    while (!this.isFilled && !this.#ended) {
      const next = await this.#batches.next();
      if (next.done === true) {
        this.#ended = true;
        this.#batch = undefined;
      } else {
        this.#batch = next.value;
        this.#read += next.value.length;
      }
      this.#index = 0;
    }
    return this.isFilled;
  }
}
