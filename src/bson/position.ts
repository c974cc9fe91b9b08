/** Defines positions in a change stream: they have an order, a time and a text, and no other file looks inside. */
import { Binary, type Doc, Timestamp } from './bson.js';

/** Of a start at a cluster time, in its text. */
const START = /^@(\d+)\.(\d+)$/;

/**
 * A point between two changes of a stream: behind an event, behind all that the server had at some moment, or the start
 * at a cluster time, before the first event of that time.
 *
 * Behind it is the server's resume token: `_data`, a hexadecimal KeyString that begins with the cluster time and is no
 * prefix of another, so tokens of one stream compare as strings; and, for some `_id`s, `_typeBits` (their types, without
 * which the server cannot read a token of a Decimal), which add nothing to the order. Times alone would not do: all
 * events of a transaction share one. Source: the server's resume_token.cpp, read on 4.4 to 7.0.
 */
export class Position {
  /** The token's `_data`; undefined: a start at `#start`. */
  readonly #data: string | undefined;
  readonly #typeBits: string | undefined;
  readonly #start: Timestamp | undefined;

  private constructor(parts: { data?: string; typeBits?: string | undefined; start?: Timestamp }) {
    this.#data = parts.data;
    this.#typeBits = parts.typeBits;
    this.#start = parts.start;
  }

  /** The start at a cluster time: everything of that time and later comes after it. */
  static startAt(time: Timestamp): Position {
    return new Position({ start: time });
  }

  /** The position of a resume token, as an event's `_id` or a reply's `postBatchResumeToken` has it. */
  static ofResumeToken(token: Doc): Position {
    const bits = token['_typeBits'];
    const typeBits =
      bits instanceof Binary ? Buffer.from(bits.buffer.subarray(0, bits.position)).toString('hex') : undefined;
    return new Position({ data: String(token['_data']), typeBits });
  }

  /** What `toText` has written, here or in an earlier version. */
  static fromText(text: string): Position {
    const start = START.exec(text);
    if (start !== null) return Position.startAt(new Timestamp({ t: Number(start[1]), i: Number(start[2]) }));
    const [data = '', typeBits] = text.split(':');
    return new Position({ data, typeBits });
  }

  /** For records: `_data` and, after a colon, `_typeBits` in hexadecimal; of a start `@seconds.increment`. */
  toText(): string {
    if (this.#start !== undefined) return `@${this.#start.getHighBitsUnsigned()}.${this.#start.getLowBitsUnsigned()}`;
    return this.#typeBits === undefined ? `${this.#data}` : `${this.#data}:${this.#typeBits}`;
  }

  /** Of the last change before it, or of the start. Errors: RangeError for a token of an unknown form. */
  get time(): Timestamp {
    if (this.#start !== undefined) return this.#start;
    const data = this.#data ?? '';
    // The type byte of a timestamp, 0x82, and the big-endian value.
    if (!/^82[0-9A-Fa-f]{16}/.test(data)) throw new RangeError('resume token of an unknown form');
    return new Timestamp({ t: Number.parseInt(data.slice(2, 10), 16), i: Number.parseInt(data.slice(10, 18), 16) });
  }

  /** Whether nothing has been read before it: it is a start at a time. */
  get isStart(): boolean {
    return this.#start !== undefined;
  }

  /** Below 0, 0 or above 0, as this one is before, at or after another one of the same stream. */
  compare(other: Position): number {
    const [a, b] = [this.#data, other.#data];
    if (a !== undefined && b !== undefined) return a === b ? 0 : a < b ? -1 : 1;
    const order = this.time.compare(other.time);
    if (order !== 0 || (a === undefined && b === undefined)) return order;
    // What shares a start's time comes after it.
    return a === undefined ? -1 : 1;
  }

  /** Whether nothing that comes after `other` comes before this one. */
  isAtOrBefore(other: Position): boolean {
    return this.compare(other) <= 0;
  }

  equals(other: Position | undefined): boolean {
    return other !== undefined && this.compare(other) === 0;
  }

  /** The options of a $changeStream stage that begins here. */
  get stageOptions(): Doc {
    if (this.#start !== undefined) return { startAtOperationTime: this.#start };
    const bits = this.#typeBits === undefined ? {} : { _typeBits: new Binary(Buffer.from(this.#typeBits, 'hex')) };
    return { resumeAfter: { _data: this.#data, ...bits } };
  }
}

/** How far something has got. */
export interface ReachedPosition {
  readonly position: Position;
  /**
   * Whether everything of the position's time comes before it: the events of a transaction share one, and may come in
   * parts.
   */
  readonly isBetween: boolean;
}

/** Whether everything up to a cluster time, included, comes before what was reached. */
export function hasReached({ position, isBetween }: ReachedPosition, time: Timestamp): boolean {
  const own = position.time;
  return own.greaterThan(time) || (isBetween && own.equals(time));
}

/** Seconds since the epoch of a cluster time. */
export function secondsOf(time: Timestamp): number {
  return time.getHighBitsUnsigned();
}
