import type { ClientSession, MongoClient } from 'mongodb';
import { DEFAULT_MAX_ELAPSED_MS, type RetryNotice, retry } from '../lib/backoff.js';
import type { Logger } from '../lib/logger.js';
import { commandKind, metrics } from '../metrics.js';
import type { Binary, Doc, Timestamp } from './bson.js';
import {
  type Clients,
  type ConnectOptions,
  closeClients,
  MAJORITY_WRITE,
  makeClients,
  openClients,
  RECORD_POOL,
} from './clients.js';
import { connectError } from './connect-errors.js';
import { type CommandLimits, Deadlines } from './deadlines.js';
import { Code, codeOf, describeError, isTransient, noteExhausted, noteOrigin, writesBlocked } from './errors.js';
import { type ClusterFacts, readFacts } from './facts.js';
import { closeSessions, NumberedSessions, type StoreNumber } from './numbered-sessions.js';
import { StructuralCommands } from './structural-commands.js';
import { Waiting } from './waiting.js';

/** Driver options of one command, beyond the command itself. */
export interface CommandOptions extends CommandLimits {
  readonly session?: ClientSession;
  /** Reply arrays to keep as raw BSON, e.g. `{firstBatch: true}`. */
  readonly raw?: Record<string, boolean>;
  /** Uses the small pool kept for control. */
  readonly control?: boolean;
  /** Uses the one kept for the lease and the migration's record, which nothing else may hold up. */
  readonly record?: boolean;
  /** How many statements a write has, where its payload is none of the driver's arrays. */
  readonly statements?: number;
}

/** From how long on failed tries are told of: a shorter interruption is not worth a line. */
const OUTAGE_MS = 2000;

interface Connected {
  readonly clients: Clients;
  readonly deadlines: Deadlines;
  readonly facts: ClusterFacts;
}

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
/** For short reads. */
const READ_LIMIT_MS = 20_000;
/** For short writes, which wait for a majority that may be far behind. */
export const WRITE_LIMIT_MS = 600_000;
/** Commands that answer at once on a server that is well, whatever the amount of data. */
const SHORT_READS = new Set(['ping', 'hello', 'connectionStatus', 'serverStatus', 'listIndexes', 'listCollections']);
/** The collection of a metadata database in which the numbers of lost writes are stored. */
const NUMBERS = 'numbers';

/**
 * One deployment: commands, the facts about it, and the retry policy for transient errors. The only holder of driver
 * clients. Errors of `command` are the driver's (read them with cluster/errors.ts); `attempt` rejects with AppError.
 */
export class Cluster {
  readonly name: string;
  readonly facts: ClusterFacts;
  /** What the server knows these connections by, besides the name that all of mongoferry's have. */
  readonly clientTag: string;
  readonly #clients: Clients;
  readonly #uri: string;
  readonly #logger: Logger;
  #retries = 0;
  readonly #waiting: Waiting;
  readonly #retryLimitMs: number;
  #bypass = false;
  #now: Timestamp | undefined;
  #guard: WriteGuard | undefined;
  readonly #deadlines: Deadlines;
  readonly #structural: StructuralCommands;
  #numbered: { readonly db: string; readonly data: NumberedSessions; readonly record: NumberedSessions } | undefined;

  private constructor({ name, uri, logger, retryLimitMs }: ConnectOptions, { clients, deadlines, facts }: Connected) {
    this.name = name;
    this.clientTag = clients.tag;
    this.#uri = uri;
    this.#clients = clients;
    this.facts = facts;
    this.#logger = logger;
    this.#deadlines = deadlines;
    this.#structural = new StructuralCommands(clients.structure, clients.tag);
    this.#waiting = new Waiting(name);
    this.#retryLimitMs = retryLimitMs ?? DEFAULT_MAX_ELAPSED_MS;
  }

  /**
   * Connects, or rejects with ClusterUnreachable (may succeed later), MissingPrivilege (credentials refused) or
   * InvalidRequest (the driver does not take the connection string).
   */
  static async connect(options: ConnectOptions): Promise<Cluster> {
    const clients = makeClients(options);
    // Before they connect: which server is primary is told once, and then when it changes.
    const deadlines = new Deadlines(clients.control);
    try {
      await openClients(clients);
      const facts = await readFacts(clients.control);
      const cluster = new Cluster(options, { clients, deadlines, facts });
      await cluster.#probeBypass();
      return cluster;
    } catch (error) {
      await closeClients(clients);
      throw connectError(options.name, error);
    }
  }

  /** For a thread of this process that needs clients of its own. Holds the password: for nothing else. */
  get access(): { readonly name: string; readonly uri: string } {
    return { name: this.name, uri: this.#uri };
  }

  /** "cluster0: host:port", for progress and logs. */
  get label(): string {
    return `${this.name}: ${this.facts.address}`;
  }

  /** Commands tried again so far. */
  get retries(): number {
    return this.#retries;
  }

  /** For how long work that does not go on is tried again, in milliseconds. */
  get retryLimitMs(): number {
    return this.#retryLimitMs;
  }

  /** What is being retried for longer than a few seconds, for readiness and calls; undefined when all is well. */
  get outage(): string | undefined {
    return this.#waiting.outage;
  }

  /** One line for each piece of work that is held up here, for `warnings`: outages, and commands without an answer. */
  get waitsFor(): readonly string[] {
    return this.#waiting.lines;
  }

  /** For what retries by itself: what is being waited for, or that it goes on. `task` stands for the work. */
  tellOutage(task: object, text: string | undefined): void {
    this.#waiting.tell(task, text);
  }

  /** The newest cluster time seen in any reply. */
  get now(): Timestamp | undefined {
    return this.#now;
  }

  isAtLeast(major: number, minor = 0, patch = 0): boolean {
    const [a, b, c] = this.facts.version;
    return a !== major ? a > major : b !== minor ? b > minor : c >= patch;
  }

  /** Runs one command on the primary, once. */
  command(db: string, command: Doc, options: CommandOptions = {}): Promise<Doc> {
    const { record, control, data } = this.#clients;
    const client = options.record === true ? record : options.control === true ? control : data;
    const short = SHORT_READS.has(nameOf(command)) ? { limitMs: READ_LIMIT_MS } : {};
    return this.#run(client, db, command, { ...short, ...options });
  }

  async #run(client: MongoClient, db: string, command: Doc, options: CommandOptions): Promise<Doc> {
    const started = performance.now();
    const name = nameOf(command);
    const answered = this.#waiting.sent(db, command);
    try {
      const reply: Doc = await this.#deadlines.within(name, options, (signal) =>
        client.db(db).command(command, {
          signal,
          promoteLongs: false,
          ...(options.session === undefined ? {} : { session: options.session }),
          ...(options.raw === undefined ? {} : { fieldsAsRaw: options.raw }),
        }),
      );
      this.#seeTime(reply['operationTime'] as Timestamp | undefined);
      return reply;
    } catch (error) {
      noteOrigin(error, `${name} of ${db}.${String(Object.values(command)[0])} on ${this.name}`);
      throw error;
    } finally {
      answered();
      metrics.commandDuration.record(performance.now() - started, {
        cluster: this.name,
        kind: commandKind(name),
      });
    }
  }

  /**
   * From now on every write asks `guard`: the lease of the migration that writes here. `numbersDb`: the metadata
   * database, where it is on this cluster; writes of documents are numbered then, so that the server refuses late ones.
   */
  guardWrites(guard: WriteGuard, numbersDb?: string): void {
    this.#guard = guard;
    if (numbersDb === undefined || this.#numbered?.db === numbersDb || !this.isAtLeast(6)) return;
    const { data, record } = this.#clients;
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

  /** The sessions that this process's numbered writes are sent in; empty where none are. */
  get sessionIds(): readonly Binary[] {
    return this.#numbered === undefined ? [] : [...this.#numbered.data.ids, ...this.#numbered.record.ids];
  }

  /** Lets the server refuse whatever an earlier process has sent in these sessions, stored in `numbersDb`. */
  async closeSessions(ids: readonly Binary[], numbersDb: string): Promise<void> {
    const { record } = this.#clients;
    await closeSessions(record, ids, this.#storeNumber(record, numbersDb));
  }

  /** Resolves once no write whose answer was lost can take effect any more. */
  async settleWrites(signal: AbortSignal): Promise<void> {
    await this.attempt('making sure of writes whose answer was lost', signal, async () => {
      await this.#structural.settle();
      await this.#numbered?.data.settle();
      await this.#numbered?.record.settle();
    });
  }

  /**
   * As `command`, with majority write concern and, where it is needed and allowed, the bypass of a write block. If its
   * answer is lost, it takes effect before the next write or never: documents by their number, which the server checks,
   * everything else by waiting for its connection to end. Errors: also LeaseLost and ClusterUnreachable.
   */
  async write(db: string, command: Doc, options: CommandOptions = {}): Promise<Doc> {
    this.assertMayWrite();
    const full = { ...command, writeConcern: MAJORITY_WRITE };
    const field = FIELDS.get(nameOf(command));
    if (field === undefined || isMulti(command)) return this.structure(db, full);
    const sessions = options.record === true ? this.#numbered?.record : this.#numbered?.data;
    if (sessions === undefined) return this.#writeUnblocked(full, (ready) => this.command(db, ready, options));
    const { data, record } = this.#clients;
    const [client, limit] = options.record === true ? [record, { limitMs: WRITE_LIMIT_MS }] : [data, {}];
    const statements = options.statements ?? (command[field] as readonly unknown[]).length;
    return this.#writeUnblocked(full, (ready) =>
      sessions.send(statements, ({ session, fields }) => {
        // A free session may have been waited for.
        this.assertMayWrite();
        return this.#run(client, db, { ...ready, ...fields }, { ...options, ...limit, session });
      }),
    );
  }

  /** A write to the lease itself, which is what the guard asks; it states by itself what it may change. */
  async writeUnguarded(db: string, command: Doc): Promise<Doc> {
    const full = { ...command, writeConcern: MAJORITY_WRITE };
    return this.#writeUnblocked(full, (ready) => this.command(db, ready, { record: true, limitMs: WRITE_LIMIT_MS }));
  }

  /** Sends what changes the catalog or the write block, as it is. `write` adds the write concern. */
  async structure(db: string, command: Doc): Promise<Doc> {
    this.assertMayWrite();
    const send = (): Promise<Doc> =>
      this.#writeUnblocked(command, (ready) =>
        this.#structural.send(nameOf(command), (session) => {
          this.assertMayWrite();
          return this.#run(this.#clients.structure, db, ready, { session });
        }),
      );
    return this.#guard === undefined ? send() : this.#guard.changing(send);
  }

  /** Whether a structural command whose answer was lost may still be carried out. */
  get mayStillChange(): boolean {
    return this.#structural.holdsLost;
  }

  /** One real retryable write: the server stores the number with it, and a majority has both. */
  #storeNumber(client: MongoClient, db: string): StoreNumber {
    return async (session, id, txnNumber) => {
      const update = { q: { _id: id }, u: { $set: { number: txnNumber } }, upsert: true };
      const command = { update: NUMBERS, updates: [update], writeConcern: MAJORITY_WRITE, txnNumber };
      await this.#writeUnblocked(command, (ready) =>
        this.#run(client, db, ready, { session, limitMs: WRITE_LIMIT_MS }),
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
    await this.#probeBypass();
    throw writesBlocked(this.label);
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

  /**
   * Runs `work` until it succeeds, waiting after errors that tell of the cluster's condition (network, elections, write
   * concern, passwords being changed) for up to 30 minutes in a row; other errors come at once. `what` names the work in
   * logs and in the error. Long work that goes on where it stopped tells of each step with `progressed`: hours without
   * an error count for nothing, and what was an outage is over.
   */
  async attempt<T>(what: string, signal: AbortSignal, work: (progressed: () => void) => Promise<T>): Promise<T> {
    const task = {};
    const tryOnce = (_: number, progressed: () => void): Promise<T> =>
      work(() => {
        progressed();
        this.#waiting.tell(task, undefined);
      });
    try {
      return await retry(tryOnce, {
        isRetryable: isTransient,
        signal,
        maxElapsedMs: this.#retryLimitMs,
        onExhausted: noteExhausted,
        onRetry: (notice) => this.#tellRetry(task, what, notice),
      });
    } catch (error) {
      signal.throwIfAborted();
      throw error;
    } finally {
      this.#waiting.tell(task, undefined);
    }
  }

  #tellRetry(task: object, what: string, { error, attempt, delayMs, elapsedMs, level }: RetryNotice): void {
    this.#retries++;
    metrics.retries.add(1, { operation: kindOf(what) });
    const text = `${what} on ${this.name}: ${describeError(error)}`;
    // By the end of the wait it is one; nothing could tell so then.
    if (elapsedMs + delayMs > OUTAGE_MS)
      this.#waiting.tell(task, `${text}; trying again for ${Math.round(elapsedMs / 1000)} s`);
    this.#logger[level](`Trying again after a transient error: ${text}`, { attempt, delayMs: Math.round(delayMs) });
  }

  /** `attempt` around one `command` over the control connections. */
  read(what: string, db: string, command: Doc, signal: AbortSignal, raw?: Record<string, boolean>): Promise<Doc> {
    const options: CommandOptions = { control: true, signal, ...(raw === undefined ? {} : { raw }) };
    return this.attempt(what, signal, () => this.command(db, command, options));
  }

  startSession(): ClientSession {
    return this.#clients.data.startSession({ causalConsistency: false });
  }

  /** The answers to `hello` of the primary that each of the clients reads the catalog from, or changes it on. */
  helloOfAll(): Promise<Doc[]> {
    const { data, control, structure } = this.#clients;
    const limits = { limitMs: READ_LIMIT_MS };
    return Promise.all([data, control, structure].map((each) => this.#run(each, 'admin', { hello: 1 }, limits)));
  }

  /** Milliseconds of a ping over the control connections. */
  async ping(): Promise<number> {
    const started = performance.now();
    await this.command('admin', { ping: 1 }, { control: true });
    return performance.now() - started;
  }

  async close(): Promise<void> {
    await closeClients(this.#clients);
  }

  #seeTime(time: Timestamp | undefined): void {
    if (time !== undefined && (this.#now === undefined || time.greaterThan(this.#now))) this.#now = time;
  }

  /** The field is refused (6317500) where access control is on; before 6.0 the server does not know it (40415). */
  async #probeBypass(): Promise<void> {
    if (!this.isAtLeast(6)) return;
    try {
      await this.command('admin', { ping: 1, mayBypassWriteBlocking: true }, { control: true });
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

function nameOf(command: Doc): string {
  return Object.keys(command)[0] ?? 'unknown';
}

/** The kind of a work: its first word. The others may name namespaces, of which there may be any number. */
function kindOf(what: string): string {
  return what.split(' ', 1)[0] ?? what;
}

/** Whether statements were refused since users' writes are blocked: such a reply says `ok: 1`. */
function holdsBlocked(reply: Doc): boolean {
  const errors = reply['writeErrors'] as { code?: unknown }[] | undefined;
  return errors?.some(({ code }) => Number(code) === Code.UserWritesBlocked) === true;
}
