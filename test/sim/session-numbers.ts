/** The transaction numbers of a simulated server's sessions: a write with a lower one is refused. */
import { made } from './catalog.js';
import { Codes, serverError } from './errors.js';
import { type Doc, numberOf, type Request } from './request.js';
import type { ServerState } from './server-state.js';

/** What is known of each session. */
export class SessionNumbers {
  /** Replicated, by one real retryable write each. */
  readonly #stored = new Map<string, number>();
  /** In the primary's memory alone. */
  readonly #seen = new Map<string, number>();

  /** A new primary knows only what was replicated. */
  forget(): void {
    this.#seen.clear();
  }

  /** Resolves with the answer of a write that was carried out before. Errors: 225. */
  check(state: ServerState, { session, command }: Request): Doc | undefined {
    if (command['txnNumber'] === undefined || session === undefined) return undefined;
    const number = numberOf(command['txnNumber']);
    const stored = this.#stored.get(session) ?? -1;
    const highest = Math.max(stored, this.#seen.get(session) ?? -1);
    if (number < highest) {
      const text = `Retryable write with txnNumber ${number} is prohibited on session ${session} because a newer retryable write with txnNumber ${highest} has already started on this session.`;
      throw serverError(Codes.TransactionTooOld, text);
    }
    this.#seen.set(session, number);
    if (command['stmtIds'] !== undefined) return undefined;
    if (stored === number) return { n: 1, nModified: 1, retriedStmtIds: [0], ok: 1 };
    const set = (value: number) => () => void this.#stored.set(session, value);
    state.change((tx) => tx.did(made({ redo: set(number), undo: set(stored) })));
    return undefined;
  }
}
