/** Keeps track of the threads that write to a cluster for this process, each with sessions of its own. */

import type { Binary } from '../bson/bson.js';
import { awaitAll } from '../lib/tasks.js';

/** A thread that writes, as the main thread sees it. */
export interface OtherWriter {
  /** Whether a write of its may still be carried out whose answer it does not have. */
  readonly hasLost: boolean;
  /** Resolves once no write whose answer was lost can take effect any more. */
  resolveLost(): Promise<void>;
}

/**
 * The threads that write to one cluster, and what those have left behind that ended without having all their answers.
 * The sessions of the latter are closed before this process writes again: the server refuses what comes later in them, and
 * what it is carrying out in one is over before it can be closed.
 */
export class OtherWriters {
  readonly #close: (sessions: readonly Binary[]) => Promise<void>;
  readonly #writing = new Set<OtherWriter>();
  #left: readonly Binary[] = [];
  #closing: Promise<void> | undefined;

  /** `close` lets the server refuse whatever was sent in these sessions. */
  constructor(close: (sessions: readonly Binary[]) => Promise<void>) {
    this.#close = close;
  }

  /** Adds a writer; returns the way to take it out again. */
  add(writer: OtherWriter): () => void {
    this.#writing.add(writer);
    return () => this.#writing.delete(writer);
  }

  /** A thread has ended, and what it has sent in these sessions may still be carried out. */
  leave(sessions: readonly Binary[]): void {
    this.#left = [...this.#left, ...sessions];
  }

  /** Whether anything whose answer was lost may still be carried out. */
  get hasLost(): boolean {
    return this.#left.length > 0 || [...this.#writing].some((each) => each.hasLost);
  }

  /** Resolves once nothing can take effect any more whose answer was lost. Errors: the driver's. */
  async resolveLost(): Promise<void> {
    await awaitAll([...this.#writing].map((each) => each.resolveLost()));
    await this.resolveLeft();
  }

  /** As `settle`, of those that have ended: to be called before each write. */
  async resolveLeft(): Promise<void> {
    while (this.#left.length > 0) {
      // One at a time, whoever asks.
      this.#closing ??= this.#closeLeft(this.#left).finally(() => {
        this.#closing = undefined;
      });
      await this.#closing;
    }
  }

  async #closeLeft(sessions: readonly Binary[]): Promise<void> {
    await this.#close(sessions);
    const closed = new Set(sessions);
    this.#left = this.#left.filter((each) => !closed.has(each));
  }
}
