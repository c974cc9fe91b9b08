/** Reads cursors as raw BSON for the comparison. */
import type { Document, Long, MongoClient } from 'mongodb';

interface Cursor {
  readonly id: Long;
  readonly ns: string;
  readonly firstBatch?: Buffer[];
  readonly nextBatch?: Buffer[];
}

/** A command that opens a cursor, e.g. `{find: 'items'}`, and the database it runs in. */
export interface CursorCommand {
  readonly db: string;
  readonly command: Document;
}

/**
 * Reads a cursor to its end, batch by batch, as raw BSON. The next batch is on its way while one is being used, so at
 * most two, of 16 MB each, are in memory. The cursor is closed however the iteration ends. Errors: the driver's.
 */
export async function* rawBatches(client: MongoClient, { db, command }: CursorCommand): AsyncGenerator<Buffer[]> {
  await using session = client.startSession();
  const database = client.db(db);
  const run = async (what: Document, batch: string): Promise<Cursor> => {
    const reply = await database.command(what, { session, promoteLongs: false, fieldsAsRaw: { [batch]: true } });
    return reply['cursor'] as Cursor;
  };
  let cursor = await run(command, 'firstBatch');
  const collection = cursor.ns.slice(db.length + 1);
  let ahead: Promise<Cursor> | undefined;
  try {
    for (;;) {
      ahead = cursor.id.isZero() ? undefined : run({ getMore: cursor.id, collection }, 'nextBatch');
      // Its failure is met at the await below; until then it must not count as unhandled.
      ahead?.catch(() => undefined);
      yield cursor.firstBatch ?? cursor.nextBatch ?? [];
      if (ahead === undefined) return;
      cursor = await ahead;
    }
  } finally {
    await Promise.allSettled([ahead]);
    if (!cursor.id.isZero()) await database.command({ killCursors: collection, cursors: [cursor.id] }, { session });
  }
}

/** Everything a cursor gives, at once. */
export async function rawAll(client: MongoClient, command: CursorCommand): Promise<Buffer[]> {
  const all: Buffer[] = [];
  for await (const batch of rawBatches(client, command)) all.push(...batch);
  return all;
}

/** The documents of a cursor, looked at in order and as far ahead as wanted. */
export class RawDocuments implements AsyncDisposable {
  readonly #batches: AsyncGenerator<Buffer[]>;
  #documents: Buffer[] = [];
  #position = 0;
  #ended = false;

  constructor(client: MongoClient, command: CursorCommand) {
    this.#batches = rawBatches(client, command);
  }

  /** Documents in memory, from {@link at}`(0)` on. */
  get buffered(): number {
    return this.#documents.length - this.#position;
  }

  /** Reads until at least `count` documents are in memory; false when there are not that many. */
  async fill(count: number): Promise<boolean> {
    while (this.buffered < count && !this.#ended) {
      const { value, done } = await this.#batches.next();
      if (done === true) {
        this.#ended = true;
      } else {
        this.#documents = this.#documents.slice(this.#position).concat(value);
        this.#position = 0;
      }
    }
    return this.buffered >= count;
  }

  /** The document `ahead` of the next one; undefined when it is not in memory. */
  at(ahead: number): Buffer | undefined {
    return this.#documents[this.#position + ahead];
  }

  /** Leaves `count` documents behind. */
  skip(count: number): void {
    this.#position += count;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#batches.return(undefined);
  }
}
