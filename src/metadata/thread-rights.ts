/** Gives threads of the lease's holder their share of the right to write, and their place in the lease's record. */
import type { Binary, Doc } from '../bson/bson.js';
import type { SharedDeadline } from '../lib/shared-deadline.js';

/** What it asks of the lease. */
export interface ThreadRightsParts {
  /** For how many milliseconds the right to write is certain; -Infinity: it is over, lost or given back. */
  readonly leftMs: () => number;
  /** Changes the record of the lease by a `$set`. Errors: LeaseLost; the driver's. */
  readonly change: (set: Doc) => Promise<void>;
}

/**
 * A thread must not write before the record names the sessions in which it will: whoever takes over closes them, and the
 * server then refuses what the thread has sent. So `addSessions` comes first, and `share` once it has resolved.
 */
export class ThreadRights {
  readonly #parts: ThreadRightsParts;
  readonly #shared = new Set<SharedDeadline>();
  #sessions: readonly Binary[] = [];

  constructor(parts: ThreadRightsParts) {
    this.#parts = parts;
  }

  /** The sessions of all threads that may have something on its way. */
  get sessions(): readonly Binary[] {
    return this.#sessions;
  }

  /** Stores sessions on a majority. Errors: LeaseLost; the driver's. */
  async addSessions(ids: readonly Binary[]): Promise<void> {
    // Before it is sent: it may be stored without an answer.
    this.#sessions = [...new Set([...this.#sessions, ...ids])];
    await this.#parts.change({ sessions: { $setUnion: ['$sessions', { $literal: ids }] } });
  }

  /** Takes out sessions in which nothing can take effect any more. Errors: LeaseLost; the driver's. */
  async removeSessions(ids: readonly Binary[]): Promise<void> {
    const removed = new Set(ids);
    await this.#parts.change({ sessions: { $setDifference: ['$sessions', { $literal: ids }] } });
    this.#sessions = this.#sessions.filter((each) => !removed.has(each));
  }

  /**
   * Keeps `deadline` at the moment until which the right to write is certain. Ends it, for good, with the lease, and when
   * the returned function is called.
   */
  share(deadline: SharedDeadline): () => void {
    this.#shared.add(deadline);
    this.publish();
    return () => {
      this.#shared.delete(deadline);
      deadline.end();
    };
  }

  /** To be called whenever the lease's deadline has changed. */
  publish(): void {
    const isOver = this.#parts.leftMs() === Number.NEGATIVE_INFINITY;
    for (const each of this.#shared) {
      if (isOver) each.end();
      else each.set(this.#parts.leftMs);
    }
  }
}
