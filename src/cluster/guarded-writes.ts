/** Writes to one cluster: only while it may be written to, past a write block, and never too late. */
import type { MongoClient } from 'mongodb';
import { InvariantError } from '../errors.js';
import type { Binary, Doc } from './bson.js';
import { type Clients, MAJORITY_WRITE, RECORD_POOL } from './clients.js';
import { type CommandOptions, type Commands, nameOf } from './commands.js';
import { Code, codeOf, isTransient, writesBlocked } from './errors.js';
import { closeSessions, NumberedSessions, type StoreNumber } from './numbered-sessions.js';
import { OtherWriters } from './other-writers.js';
import { StructuralCommands } from './structural-commands.js';

/** The right to write to a cluster, as the lease of a migration gives it. */
export interface WriteGuard {
  /** Throws when the right to write is not certain now. */
  assertHeld(): void;
  /** Runs `work`, which sends a structural command, once whoever takes over is sure to learn of it. */
  changing<T>(work: () => Promise<T>): Promise<T>;
}

/** Writes of documents, which the server refuses by their number when they come late, and where their statements are. */
const FIELDS = new Map([
  ['insert', 'documents'],
  ['update', 'updates'],
  ['delete', 'deletes'],
]);
/** For short writes, which wait for a majority that may be far behind. */
export const WRITE_LIMIT_MS = 600_000;
/** The collection of a metadata database in which the numbers of lost writes are stored. */
const NUMBERS = 'numbers';

/** What writes are sent with. */
export interface WriteParts {
  readonly clients: Clients;
  readonly commands: Commands;
  /** "cluster1: host:port". */
  readonly label: string;
  /** Whether the server knows write blocks, and is numbered: 6.0 and later. */
  readonly supportsNumbers: boolean;
}

/**
 * Sends writes with majority write concern and, where it is needed and allowed, the bypass of a write block. A write whose
 * answer is lost takes effect before the next one or never: see NumberedSessions and StructuralCommands.
 */
export class GuardedWrites {
  /** Threads of this process that write here, too. */
  readonly others = new OtherWriters((ids) => this.#closeOwn(ids));
  readonly #parts: WriteParts;
  readonly #structural: StructuralCommands;
  #guard: WriteGuard | undefined;
  #numbered: { readonly db: string; readonly data: NumberedSessions; readonly record: NumberedSessions } | undefined;
  #bypass = false;

  constructor(parts: WriteParts) {
    this.#parts = parts;
    this.#structural = new StructuralCommands(parts.clients.structure, parts.clients.tag);
  }

  /**
   * From now on every write asks `guard`: the lease of the migration that writes here. `numbersDb`: the metadata
   * database, where it is on this cluster; writes of documents are numbered then, so that the server refuses late ones.
   */
  guard(guard: WriteGuard, numbersDb?: string): void {
    this.#guard = guard;
    if (numbersDb === undefined || this.#numbered?.db === numbersDb || !this.#parts.supportsNumbers) return;
    const { data, record } = this.#parts.clients;
    this.#numbered = {
      db: numbersDb,
      data: new NumberedSessions(data, data.options.maxPoolSize, this.#storeNumber(data, numbersDb)),
      record: new NumberedSessions(record, RECORD_POOL, this.#storeNumber(record, numbersDb)),
    };
  }

  /** Throws when this process may not write here now; `write` asks it by itself. */
  assertMayWrite(): void {
    this.#guard?.assertHeld();
  }

  /** As `assertMayWrite`, and nothing may come any more of threads that have ended. */
  async #assertMayWriteNow(): Promise<void> {
    this.assertMayWrite();
    await this.others.settleLeft();
    this.assertMayWrite();
  }

  /** The sessions that this process's numbered writes are sent in; empty where none are. */
  get sessionIds(): readonly Binary[] {
    return this.#numbered === undefined ? [] : [...this.#numbered.data.ids, ...this.#numbered.record.ids];
  }

  /** Lets the server refuse whatever an earlier process has sent in these sessions, stored in `numbersDb`. */
  async closeSessions(ids: readonly Binary[], numbersDb: string): Promise<void> {
    const { record } = this.#parts.clients;
    await closeSessions(record, ids, this.#storeNumber(record, numbersDb));
  }

  /** Resolves once no write whose answer was lost can take effect any more. Errors: ClusterUnreachable while one can. */
  async settle(): Promise<void> {
    await this.#structural.settle();
    await this.#numbered?.data.settle();
    await this.#numbered?.record.settle();
    await this.others.settle();
  }

  /** Closes sessions of this process's own threads. */
  async #closeOwn(ids: readonly Binary[]): Promise<void> {
    if (this.#numbered === undefined) throw new InvariantError('threads have written where no writes are numbered');
    await this.closeSessions(ids, this.#numbered.db);
  }

  /**
   * As `command`, with majority write concern and, where it is needed and allowed, the bypass of a write block. If its
   * answer is lost, it takes effect before the next write or never: documents by their number, which the server checks,
   * everything else by waiting for its connection to end. Errors: also LeaseLost and ClusterUnreachable.
   */
  async write(db: string, command: Doc, options: CommandOptions = {}): Promise<Doc> {
    await this.#assertMayWriteNow();
    const full = { ...command, writeConcern: MAJORITY_WRITE };
    const field = FIELDS.get(nameOf(command));
    if (field === undefined || isMulti(command)) return this.structure(db, full);
    const sessions = options.record === true ? this.#numbered?.record : this.#numbered?.data;
    const { data, record } = this.#parts.clients;
    const [client, limit] = options.record === true ? [record, { limitMs: WRITE_LIMIT_MS }] : [data, {}];
    if (sessions === undefined)
      return this.#writeUnblocked(full, (ready) =>
        this.#parts.commands.run(client, db, ready, { ...options, ...limit }),
      );
    const statements = options.statements ?? (command[field] as readonly unknown[]).length;
    return this.#writeUnblocked(full, (ready) =>
      sessions.send(statements, ({ session, fields }) => {
        // A free session may have been waited for.
        this.assertMayWrite();
        return this.#parts.commands.run(client, db, { ...ready, ...fields }, { ...options, ...limit, session });
      }),
    );
  }

  /** A write to the lease itself, which is what the guard asks; it states by itself what it may change. */
  async writeUnguarded(db: string, command: Doc): Promise<Doc> {
    const full = { ...command, writeConcern: MAJORITY_WRITE };
    return this.#writeUnblocked(full, (ready) =>
      this.#parts.commands.run(this.#parts.clients.record, db, ready, { limitMs: WRITE_LIMIT_MS }),
    );
  }

  /** Sends what changes the catalog or the write block, as it is. `write` adds the write concern. */
  async structure(db: string, command: Doc): Promise<Doc> {
    await this.#assertMayWriteNow();
    const send = (): Promise<Doc> =>
      this.#writeUnblocked(command, (ready) =>
        this.#structural.send(nameOf(command), (session) => {
          this.assertMayWrite();
          return this.#parts.commands.run(this.#parts.clients.structure, db, ready, { session });
        }),
      );
    return this.#guard === undefined ? send() : this.#guard.changing(send);
  }

  /** Whether a structural command whose answer was lost may still be carried out. */
  get mayStillChange(): boolean {
    return this.#structural.holdsLost;
  }

  /** Whether anything whose answer was lost may still be carried out. */
  get hasLost(): boolean {
    const { data, record } = this.#numbered ?? {};
    const own = this.mayStillChange || data?.holdsLost === true || record?.holdsLost === true;
    return own || this.others.hasLost;
  }

  /** One real retryable write: the server stores the number with it, and a majority has both. */
  #storeNumber(client: MongoClient, db: string): StoreNumber {
    return async (session, id, txnNumber) => {
      const update = { q: { _id: id }, u: { $set: { number: txnNumber } }, upsert: true };
      const command = { update: NUMBERS, updates: [update], writeConcern: MAJORITY_WRITE, txnNumber };
      await this.#writeUnblocked(command, (ready) =>
        this.#parts.commands.run(client, db, ready, { session, limitMs: WRITE_LIMIT_MS }),
      );
    };
  }

  /** Errors: WritesBlocked when a write block holds it back. */
  async #writeUnblocked(command: Doc, send: (command: Doc) => Promise<Doc>): Promise<Doc> {
    try {
      const reply = await this.#writeOnce(command, send);
      if (!holdsBlocked(reply)) return reply;
    } catch (error) {
      if (codeOf(error) !== Code.UserWritesBlocked) throw error;
    }
    // Access control may have been switched off since the last probe.
    await this.probeBypass();
    throw writesBlocked(this.#parts.label);
  }

  async #writeOnce(command: Doc, send: (command: Doc) => Promise<Doc>): Promise<Doc> {
    try {
      return await send({ ...command, ...this.bypassField() });
    } catch (error) {
      if (codeOf(error) !== Code.MayNotBypassWriteBlocking || !this.#bypass) throw error;
      // Access control was switched on since the probe: the user's own privilege decides from here on.
      this.#bypass = false;
      return send(command);
    }
  }

  /** `{mayBypassWriteBlocking: true}` where the server takes it (access control off, 6.0 and later), else `{}`. */
  bypassField(): Doc {
    return this.#bypass ? { mayBypassWriteBlocking: true } : {};
  }

  /** The field is refused (6317500) where access control is on; before 6.0 the server does not know it (40415). */
  async probeBypass(): Promise<void> {
    if (!this.#parts.supportsNumbers) return;
    try {
      await this.#parts.commands.run(
        this.#parts.clients.control,
        'admin',
        { ping: 1, mayBypassWriteBlocking: true },
        {},
      );
      this.#bypass = true;
    } catch (error) {
      if (isTransient(error) || codeOf(error) === undefined) throw error;
      this.#bypass = false;
    }
  }
}

/** Whether it removes any number of documents: such a one is no retryable write, and has no number. */
function isMulti({ deletes }: Doc): boolean {
  return Array.isArray(deletes) && (deletes as { limit?: unknown }[]).some(({ limit }) => limit === 0);
}

/** Whether statements were refused since users' writes are blocked: such a reply says `ok: 1`. */
function holdsBlocked(reply: Doc): boolean {
  const errors = reply['writeErrors'] as { code?: unknown }[] | undefined;
  return errors?.some(({ code }) => Number(code) === Code.UserWritesBlocked) === true;
}
