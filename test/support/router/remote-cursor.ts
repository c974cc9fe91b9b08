/** A cursor on one shard, of which the router makes its own cursors. */
import { collectionOf, databaseOf } from './catalog.js';
import { RouterError, ShardError } from './errors.js';
import {
  bigintOf,
  type Doc,
  doc,
  documentsOf,
  type Fields,
  fieldsOf,
  isTrue,
  type RawValue,
  rawValue,
  textOf,
} from './raw-values.js';
import type { Request } from './request.js';

const NO_CURSOR = rawValue(0n);

/** A shard's cursor and the documents that have come of it. */
export class RemoteCursor {
  readonly shard: string;
  readonly ns: string;
  /** The highest resume token that the shard has promised to be through with; change streams only. */
  promised = '';
  #id: RawValue;
  #documents: readonly Buffer[];
  #position = 0;

  /** Of the answer to the command that opened it. */
  constructor(shard: string, answer: Fields) {
    const cursor = cursorOf(answer);
    this.shard = shard;
    this.ns = textOf(cursor.get('ns')) ?? '';
    this.#id = cursor.get('id') ?? NO_CURSOR;
    this.#documents = documentsOf(cursor.get('firstBatch'));
  }

  get id(): RawValue {
    return this.#id;
  }

  /** Whether the shard may have more documents. */
  get isOpen(): boolean {
    return isTrue(this.#id);
  }

  /** The next document; undefined if none has come. */
  get head(): Buffer | undefined {
    return this.#documents[this.#position];
  }

  /** Leaves the next document behind. */
  shift(): void {
    this.#position += 1;
  }

  /** The command that asks for the next batch. */
  getMore(options: Doc): Doc {
    return doc({ getMore: this.#id, collection: collectionOf(this.ns) }, options);
  }

  /** Asks for the next batch. Errors: {@link ShardError}; as `call`. */
  async fetch(request: Request, options: Doc): Promise<Map<string, RawValue>> {
    const answer = await request.callOk(this.shard, databaseOf(this.ns), this.getMore(options));
    const cursor = cursorOf(answer);
    this.#documents = [...this.#documents.slice(this.#position), ...documentsOf(cursor.get('nextBatch'))];
    this.#position = 0;
    this.#id = cursor.get('id') ?? NO_CURSOR;
    return answer;
  }

  /** Ends the cursor on the shard, if it is open. A shard that cannot be reached has none any more. */
  async kill(request: Request, session: Doc): Promise<void> {
    if (!this.isOpen) return;
    const cursors = [this.#id];
    this.#id = NO_CURSOR;
    const body = doc({ killCursors: collectionOf(this.ns), cursors }, { lsid: session.get('lsid') });
    try {
      await request.call(this.shard, databaseOf(this.ns), body);
    } catch (error) {
      if (!(error instanceof RouterError) && !(error instanceof ShardError)) throw error;
    }
  }
}

/** The `cursor` field of an answer. */
export function cursorOf(answer: Fields): Map<string, RawValue> {
  const cursor = answer.get('cursor');
  if (cursor === undefined) throw new Error('a shard opened no cursor');
  return fieldsOf(cursor.bytes);
}

/** The cursor's number in an answer; 0 where it is at its end. */
export function cursorIdOf(cursor: Fields): bigint {
  return bigintOf(cursor.get('id'));
}
