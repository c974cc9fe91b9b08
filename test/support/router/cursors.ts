/** Cursors over one shard, handed through, and over several, merged. */
import type { ShardAnswer } from './backend.js';
import type { RouterCursor } from './cursor-store.js';
import {
  type Doc,
  doc,
  elements,
  type Fields,
  fieldOf,
  itemsOf,
  numberOf,
  type RawValue,
  withoutField,
} from './raw-values.js';
import { cursorIdOf, cursorOf, RemoteCursor } from './remote-cursor.js';
import { answered, ONE, okay, type Request } from './request.js';
import { compareValues } from './value-order.js';

/** Documents of the first batch where the client asks for no other number. */
export const FIRST_BATCH = 101;
const BATCH_BYTES = 16 * 1024 * 1024;

/** An answer with an empty cursor, for what is not there. */
export function emptyCursor(ns: string): Doc {
  return okay({ cursor: doc({ firstBatch: [], id: 0n, ns }) });
}

/** What a cursor's later commands must carry. */
export function sessionOf({ command, transaction }: Request): Doc {
  return doc(command.some('lsid'), transaction && { txnNumber: transaction.number, autocommit: false });
}

/** Takes over one shard's cursor: its batches pass as they are, under a number of the router's own. */
export function passCursor(request: Request, shard: string, answer: Fields): Doc {
  const cursor = cursorOf(answer);
  if (cursorIdOf(cursor) === 0n) return answered(answer, answer);
  const passed = new PassedCursor(new RemoteCursor(shard, answer), sessionOf(request));
  passed.id = request.parts.cursors.register(passed);
  return answered(doc(answer, { cursor: doc(cursor, { id: passed.id }) }), answer);
}

class PassedCursor implements RouterCursor {
  id = 0n;
  readonly #remote: RemoteCursor;
  readonly #session: Doc;

  constructor(remote: RemoteCursor, session: Doc) {
    this.#remote = remote;
    this.#session = session;
  }

  async more(request: Request): Promise<Doc> {
    const options = doc(request.command.some('batchSize', 'maxTimeMS'), this.#session);
    const answer = await this.#remote.fetch(request, options);
    const cursor = cursorOf(answer);
    if (!this.#remote.isOpen) request.parts.cursors.remove(this.id);
    return answered(doc(answer, { cursor: doc(cursor, { id: this.#remote.isOpen ? this.id : 0n }) }), answer);
  }

  async kill(request: Request): Promise<void> {
    await this.#remote.kill(request, this.#session);
  }
}

/** How several shards' cursors become one. */
export interface MergeOptions {
  readonly ns: string;
  /** 1 or -1 for each part of the `$sortKey` that the shards were asked for; undefined: in any order. */
  readonly directions?: readonly number[] | undefined;
  readonly limit?: number | undefined;
  readonly skip?: number | undefined;
}

/** Documents of several shards, in order where they carry sort keys. */
export class MergedCursor implements RouterCursor {
  id = 0n;
  readonly #ns: string;
  readonly #remotes: readonly RemoteCursor[];
  readonly #session: Doc;
  readonly #directions: readonly number[] | undefined;
  readonly #sortKeys = new WeakMap<Buffer, readonly RawValue[]>();
  #limit: number;
  #skip: number;

  constructor(remotes: readonly RemoteCursor[], session: Doc, { ns, directions, limit, skip = 0 }: MergeOptions) {
    this.#remotes = remotes;
    this.#session = session;
    this.#ns = ns;
    this.#directions = directions;
    this.#limit = limit || Number.POSITIVE_INFINITY;
    this.#skip = skip;
  }

  get isDone(): boolean {
    return this.#limit <= 0 || this.#remotes.every((each) => each.head === undefined && !each.isOpen);
  }

  /** The next documents, at most so many and 16 MB. Errors: as a getMore on a shard; the cursor is gone then. */
  async take(request: Request, count: number): Promise<Buffer[]> {
    const documents: Buffer[] = [];
    let bytes = 0;
    while (documents.length < count && this.#limit > 0) {
      const remote = await this.#next(request);
      const head = remote?.head;
      if (remote === undefined || head === undefined) break;
      if (this.#skip === 0 && bytes + head.length > BATCH_BYTES && documents.length > 0) break;
      remote.shift();
      if (this.#skip > 0) {
        this.#skip -= 1;
        continue;
      }
      documents.push(this.#directions ? withoutField(head, '$sortKey') : head);
      bytes += head.length;
      this.#limit -= 1;
    }
    if (this.isDone) await this.kill(request);
    return documents;
  }

  async more(request: Request): Promise<Doc> {
    const nextBatch = await this.take(request, request.command.number('batchSize') || Number.POSITIVE_INFINITY);
    if (this.isDone) request.parts.cursors.remove(this.id);
    return okay({ cursor: doc({ nextBatch, id: this.isDone ? 0n : this.id, ns: this.#ns }) });
  }

  async kill(request: Request): Promise<void> {
    await Promise.all(this.#remotes.map((each) => each.kill(request, this.#session)));
  }

  /** The shard whose document is next; undefined when there is none. */
  async #next(request: Request): Promise<RemoteCursor | undefined> {
    for (;;) {
      const waiting = this.#remotes.filter((each) => each.head === undefined && each.isOpen);
      const ready = this.#remotes.filter((each) => each.head !== undefined);
      if (waiting.length > 0 && (this.#directions !== undefined || ready.length === 0)) {
        await this.#fetch(request, waiting);
        continue;
      }
      return this.#directions === undefined ? ready[0] : this.#first(ready, this.#directions);
    }
  }

  async #fetch(request: Request, remotes: readonly RemoteCursor[]): Promise<void> {
    try {
      await Promise.all(remotes.map((each) => each.fetch(request, this.#session)));
    } catch (error) {
      request.parts.cursors.remove(this.id);
      await this.kill(request);
      throw error;
    }
  }

  #first(ready: readonly RemoteCursor[], directions: readonly number[]): RemoteCursor | undefined {
    let best: RemoteCursor | undefined;
    for (const each of ready) {
      if (best === undefined || this.#compare(each.head as Buffer, best.head as Buffer, directions) < 0) best = each;
    }
    return best;
  }

  #compare(a: Buffer, b: Buffer, directions: readonly number[]): number {
    const [keyA, keyB] = [this.#sortKey(a), this.#sortKey(b)];
    for (const [index, direction] of directions.entries()) {
      const order = compareValues(keyA[index] as RawValue, keyB[index] as RawValue);
      if (order !== 0) return order * direction;
    }
    return 0;
  }

  #sortKey(document: Buffer): readonly RawValue[] {
    const known = this.#sortKeys.get(document);
    if (known !== undefined) return known;
    const key = itemsOf(fieldOf(document, '$sortKey'));
    this.#sortKeys.set(document, key);
    return key;
  }
}

/** Options of {@link mergeCursors}. */
export interface FirstBatchOptions extends MergeOptions {
  readonly batchSize: number;
  /** The cursor is closed after the first batch. */
  readonly singleBatch?: boolean;
}

/** Answers a command with the first batch of a merged cursor, kept if there is more. */
export async function mergeCursors(
  request: Request,
  answers: readonly ShardAnswer[],
  { batchSize, singleBatch = false, ...options }: FirstBatchOptions,
): Promise<Doc> {
  const remotes = answers.map(({ shard, answer }) => new RemoteCursor(shard, answer));
  const cursor = new MergedCursor(remotes, sessionOf(request), options);
  const firstBatch = await cursor.take(request, batchSize);
  if (!cursor.isDone && singleBatch) await cursor.kill(request);
  else if (!cursor.isDone) cursor.id = request.parts.cursors.register(cursor);
  const readConcern = request.command.document('readConcern');
  const atClusterTime = request.transaction || !readConcern ? undefined : fieldOf(readConcern, 'atClusterTime');
  const fields = doc({ firstBatch, id: cursor.id, ns: options.ns, atClusterTime });
  return answered({ cursor: fields, ok: ONE }, ...answers.map(({ answer }) => answer));
}

/** 1 or -1 for each field of a sort. */
export function directionsOf(sort: Buffer): number[] {
  return Array.from(elements(sort), ({ value }) => ((numberOf(value) ?? 1) < 0 ? -1 : 1));
}
