/** The cursors that clients have open on a router. */
import { randomBytes } from 'node:crypto';
import { RouterError } from './errors.js';
import type { Doc } from './raw-values.js';
import type { Request } from './request.js';

/** A cursor that a client reads on from. */
export interface RouterCursor {
  /** Answers a getMore. A cursor that is at its end takes itself out of the store. */
  more(request: Request): Promise<Doc>;
  /** Ends it on the shards, too. */
  kill(request: Request): Promise<void>;
}

/** Cursors by the number that the client was told. */
export class CursorStore {
  readonly #cursors = new Map<bigint, RouterCursor>();
  readonly #queues = new Map<bigint, Promise<unknown>>();

  /** Keeps a cursor; the number is its id from now on. */
  register(cursor: RouterCursor): bigint {
    for (;;) {
      const id = randomBytes(8).readBigInt64LE() & (2n ** 62n - 1n);
      if (id === 0n || this.#cursors.has(id)) continue;
      this.#cursors.set(id, cursor);
      return id;
    }
  }

  remove(id: bigint): void {
    this.#cursors.delete(id);
    this.#queues.delete(id);
  }

  /** Answers a getMore, one at a time for each cursor. Errors: CursorNotFound (43). */
  async more(id: bigint, request: Request): Promise<Doc> {
    const cursor = this.#cursors.get(id);
    if (cursor === undefined) throw new RouterError(43, 'CursorNotFound', `cursor id ${id} not found`);
    const turn = (this.#queues.get(id) ?? Promise.resolve()).then(() => cursor.more(request));
    this.#queues.set(
      id,
      turn.catch(() => undefined),
    );
    return await turn;
  }

  /** Whether there was such a cursor. */
  async kill(id: bigint, request: Request): Promise<boolean> {
    const cursor = this.#cursors.get(id);
    this.remove(id);
    await cursor?.kill(request);
    return cursor !== undefined;
  }
}
