/**
 * Makes the server refuse a write that arrives late: one whose connection was cut after it had been sent, and that a
 * proxy or a stalled host delivers after its retry, after another process has taken over, or after the handover.
 */

import { type Binary, type Doc, Long } from '../bson/bson.js';
import { AppError } from '../errors.js';
import { unlessAborted } from '../lib/signals.js';
import { awaitAll, type Deferred, deferred } from '../lib/tasks.js';
import type { DriverClient, DriverSession } from './driver.js';
import { Code, codeOf, isMaybeSent, isTransient, statementErrorsOf, tagMaybeSent } from './errors.js';
import type { OtherWriters } from './other-writers.js';

/** What a numbered write adds to its command, and the session that the command must be sent in. */
export interface Numbered {
  readonly session: DriverSession;
  readonly fields: Doc;
}

/** Stores on a majority that `session` has reached `number`: one retryable write that changes a document, on each shard. */
export type StoreNumber = (session: DriverSession, id: Binary, number: Long) => Promise<void>;

/** Sessions for data, and others for the lease's holder's records, which data must not hold up. */
export interface WriteSessions {
  readonly data: NumberedSessions;
  readonly record: NumberedSessions;
  /** All of them, for whoever must close them after this holder. */
  readonly ids: readonly Binary[];
  /** Threads that write for the same holder, in sessions of their own. */
  readonly others: OtherWriters;
}

/** How sessions are numbered. */
export interface NumberedSessionsOptions {
  /** How many there are. */
  readonly size: number;
  readonly store: StoreNumber;
  /** Whether a mongos answers for the servers: it may not know what a shard has done, or is still to do. */
  readonly isRouted: boolean;
}

interface NumberedSession {
  readonly session: DriverSession;
  readonly id: Binary;
  /** The highest number sent in it. */
  number: number;
  /** Running while its number is being raised on the server. */
  raising: Promise<void> | undefined;
}

/** Higher than any number that a process reaches: a session with it takes no more writes of whoever used it before. */
const CLOSED = Long.MAX_VALUE;
/** "No statement": the server checks the session's number, and keeps no record of what the statement did. */
const NO_STATEMENT = -1;

/**
 * A fixed set of sessions for the document writes of one client; each write has one for itself until it is answered.
 *
 * Why the plain way fails: a write whose answer was lost is tried again. If only its answer was lost, that is harmless.
 * If the first write is still on its way, it may arrive after the retry, after later writes of the same document, or
 * after the handover, and bring an old state back. Waiting does not help: nobody knows how long a proxy keeps a
 * message.
 *
 * The idea: every insert, update and delete carries `lsid` and a `txnNumber` higher than any sent in that session
 * before. A server that has seen a session's number refuses each lower one (TransactionTooOld, 225). So when the answer
 * to number 7 is lost, the server is first brought to 8, and 7 can never take effect any more; then the write is tried
 * again with 9, or in another session. Closing a session for good is the same step with the highest number there is.
 *
 * A retryable write (the documented use of the number) makes the server record every statement in
 * `config.transactions`, which costs half of an update and most of a delete. That record is for telling what a lost
 * write did; we never ask, since all our writes may be repeated. With statement number -1 the server checks the number
 * and records nothing, as it does for its own internal writes (op_observer_impl.cpp, kUninitializedStmtId; tried on
 * 6.0.5 and 6.0.27). The number is then only in that server's memory, so what is raised after a loss is raised by one
 * real retryable write, on a majority: it survives a failover, and a step back to the same server.
 *
 * Through a mongos it is each shard that has seen a number, so a number is raised on each (write-sessions.ts). What the
 * mongos answers where a shard did not answer it counts as lost, too. And it sends a numbered write to a shard again by
 * itself, without a word, when it has lost that connection (its requests are "idempotent" then, batch_write_exec.cpp): the
 * first one may arrive behind later writes of the same document. Only the shard's record of the statement keeps it from
 * being carried out twice. So what the record costs is paid there.
 *
 * Invariant: a write is sent only while no session holds a lost one that the server could still take.
 * Limit: a server forgets a session 30 minutes after its last use (localLogicalSessionTimeoutMinutes).
 * Source: driver specifications, retryable writes; docs/02-lifecycle.md, "Writes that arrive late".
 */
export class NumberedSessions {
  readonly #free: NumberedSession[];
  readonly #all: readonly NumberedSession[];
  readonly #lost = new Set<NumberedSession>();
  readonly #waiting: Deferred<NumberedSession>[] = [];
  readonly #store: StoreNumber;
  readonly #isRouted: boolean;
  /** Whether the server keeps a record of each statement: behind a mongos, and where -1 is not taken. */
  #keepsStatements: boolean;

  constructor(client: DriverClient, { size, store, isRouted }: NumberedSessionsOptions) {
    this.#all = Array.from({ length: size }, () => numberedSession(client));
    this.#free = [...this.#all];
    this.#store = store;
    this.#isRouted = isRouted;
    this.#keepsStatements = isRouted;
  }

  /** The sessions' ids, for whoever must close them after this process. */
  get ids(): readonly Binary[] {
    return this.#all.map(({ id }) => id);
  }

  /** Whether a write whose answer was lost may still be carried out. */
  get holdsLost(): boolean {
    return this.#lost.size > 0;
  }

  /**
   * Sends a write of so many statements with a number of its own. `signal` ends the waiting before it, not the write.
   * Errors: LeaseLost when another process has closed the session; else those of `send`, and of bringing the server
   * beyond writes that were lost before.
   */
  async send(statements: number, signal: AbortSignal, send: (numbered: Numbered) => Promise<Doc>): Promise<Doc> {
    const own = await this.#acquire();
    try {
      await unlessAborted(this.resolveLost(), signal);
      return await this.#sendIn(own, statements, send);
    } finally {
      this.#release(own);
    }
  }

  /** Resolves once no write that was lost can take effect any more. */
  async resolveLost(): Promise<void> {
    if (this.#lost.size === 0) return;
    await awaitAll([...this.#lost].map((each) => this.#raise(each)));
  }

  async #sendIn(own: NumberedSession, statements: number, send: (numbered: Numbered) => Promise<Doc>): Promise<Doc> {
    const { session } = own;
    own.number++;
    const txnNumber = Long.fromNumber(own.number);
    const fields = this.#keepsStatements
      ? { txnNumber }
      : { txnNumber, stmtIds: new Array<number>(statements).fill(NO_STATEMENT) };
    let reply: Doc;
    try {
      reply = await send({ session, fields });
    } catch (error) {
      if (codeOf(error) === Code.TransactionTooOld) throw takenOver(error);
      if (!this.#keepsStatements && refusesStatementNumber(error)) {
        this.#keepsStatements = true;
        return this.#sendIn(own, statements, send);
      }
      if (this.#isUnanswered(error)) tagMaybeSent(error);
      if (isMaybeSent(error)) this.#lost.add(own);
      throw error;
    }
    if (!this.#isRouted) return reply;
    // A mongos tells of a shard's refusal of a whole command as if it were the statements'.
    const refusals = statementErrorsOf(reply);
    const late = refusals.find(({ code }) => code === Code.TransactionTooOld);
    if (late !== undefined) throw takenOver(late);
    if (refusals.some((each) => this.#isUnanswered(each))) this.#lost.add(own);
    return reply;
  }

  /**
   * Whether a mongos has answered for a shard that may not have answered it. Any error that may pass is taken for such a
   * one: what the connection between the two had to do with it is not told.
   */
  #isUnanswered(error: unknown): boolean {
    return this.#isRouted && codeOf(error) !== undefined && isTransient(error);
  }

  /** One at a time per session, whoever asks: the second one waits for the first one's answer. */
  #raise(lost: NumberedSession): Promise<void> {
    lost.raising ??= this.#raiseOnce(lost).finally(() => {
      lost.raising = undefined;
    });
    return lost.raising;
  }

  async #raiseOnce(lost: NumberedSession): Promise<void> {
    lost.number++;
    try {
      await this.#store(lost.session, lost.id, Long.fromNumber(lost.number));
    } catch (error) {
      throw codeOf(error) === Code.TransactionTooOld ? takenOver(error) : error;
    }
    this.#lost.delete(lost);
  }

  async #acquire(): Promise<NumberedSession> {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    const waiting = deferred<NumberedSession>();
    this.#waiting.push(waiting);
    return waiting.promise;
  }

  #release(own: NumberedSession): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free.push(own);
    else next.resolve(own);
  }
}

/**
 * Closes sessions of an earlier process, so that the server refuses all that it has sent in them and that has not been
 * carried out. The same user's only: the server adds the user to a session's id.
 */
export async function closeSessions(client: DriverClient, ids: readonly Binary[], store: StoreNumber): Promise<void> {
  const closing = ids.map(async (id) => {
    try {
      await store(client.startSession(id), id, CLOSED);
    } catch (error) {
      // Closed already, by a taker that did not live to say so.
      if (codeOf(error) !== Code.TransactionTooOld) throw error;
    }
  });
  await awaitAll(closing);
}

/** Nobody else raises a session's number. */
function takenOver(cause: unknown): AppError {
  return new AppError('LeaseLost', 'another process has taken over this migration', { cause });
}

function numberedSession(client: DriverClient): NumberedSession {
  const session = client.startSession();
  return { session, id: session.id, number: 0, raising: undefined };
}

/** Servers that check the field more strictly than those it was tried on. Source: error_codes.yml. */
function refusesStatementNumber(error: unknown): boolean {
  const code = codeOf(error);
  return code === Code.BadValue || code === Code.FailedToParse || code === Code.TypeMismatch;
}
