import type { ClientSession } from 'mongodb';
import { DEFAULT_MAX_ELAPSED_MS, type RetryNotice, retry } from '../lib/backoff.js';
import type { Logger } from '../lib/logger.js';
import { metrics } from '../metrics.js';
import type { Binary, Doc, Timestamp } from './bson.js';
import { type Clients, type ConnectOptions, closeClients, makeClients, openClients } from './clients.js';
import { type CommandOptions, Commands, nameOf } from './commands.js';
import { connectError } from './connect-errors.js';
import { Deadlines } from './deadlines.js';
import { describeError, isTransient, noteExhausted } from './errors.js';
import { type ClusterFacts, readFacts } from './facts.js';
import { GuardedWrites, type WriteGuard } from './guarded-writes.js';
import type { OtherWriters } from './other-writers.js';
import { Waiting } from './waiting.js';

/** From how long on failed tries are told of: a shorter interruption is not worth a line. */
const OUTAGE_MS = 2000;

interface Connected {
  readonly clients: Clients;
  readonly deadlines: Deadlines;
  readonly facts: ClusterFacts;
}

/** For short reads. */
const READ_LIMIT_MS = 20_000;
/** Commands that answer at once on a server that is well, whatever the amount of data. */
const SHORT_READS = new Set(['ping', 'hello', 'connectionStatus', 'serverStatus', 'listIndexes', 'listCollections']);

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
  readonly #commands: Commands;
  readonly #writes: GuardedWrites;

  private constructor({ name, uri, logger, retryLimitMs }: ConnectOptions, { clients, deadlines, facts }: Connected) {
    this.name = name;
    this.clientTag = clients.tag;
    this.#uri = uri;
    this.#clients = clients;
    this.facts = facts;
    this.#logger = logger;
    this.#waiting = new Waiting(name);
    this.#commands = new Commands({ name, deadlines, waiting: this.#waiting, watched: clients.record });
    const supportsNumbers = this.isAtLeast(6);
    this.#writes = new GuardedWrites({ clients, commands: this.#commands, label: this.label, supportsNumbers });
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
      await cluster.#writes.probeBypass();
      return cluster;
    } catch (error) {
      await closeClients(clients);
      throw connectError(options.name, error);
    }
  }

  /** For a thread of this process that needs clients of its own. Holds the password: for nothing else. */
  get access(): { readonly name: string; readonly uri: string; readonly retryLimitMs: number } {
    return { name: this.name, uri: this.#uri, retryLimitMs: this.#retryLimitMs };
  }

  /** The threads of this process that write here, too. */
  get otherWriters(): OtherWriters {
    return this.#writes.others;
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
    return this.#commands.now;
  }

  /** A thread of this process, or the one that has started this thread, has seen this time in a reply of the cluster. */
  saw(time: Timestamp): void {
    this.#commands.saw(time);
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
    return this.#commands.run(client, db, command, { ...short, ...options });
  }

  /**
   * From now on every write asks `guard`: the lease of the migration that writes here. `numbersDb`: the metadata
   * database, where it is on this cluster; writes of documents are numbered then, so that the server refuses late ones.
   */
  guardWrites(guard: WriteGuard, numbersDb?: string): void {
    this.#writes.guard(guard, numbersDb);
  }

  /** Throws when this process may not write here now; `write` asks it by itself. */
  assertMayWrite(): void {
    this.#writes.assertMayWrite();
  }

  /**
   * As `command`, with majority write concern and, where it is needed and allowed, the bypass of a write block. If its
   * answer is lost, it takes effect before the next write or never. Errors: also LeaseLost and ClusterUnreachable.
   */
  write(db: string, command: Doc, options: CommandOptions = {}): Promise<Doc> {
    return this.#writes.write(db, command, options);
  }

  /** A write to the lease itself, which is what the guard asks; it states by itself what it may change. */
  writeUnguarded(db: string, command: Doc): Promise<Doc> {
    return this.#writes.writeUnguarded(db, command);
  }

  /** Sends what changes the catalog or the write block, as it is. `write` adds the write concern. */
  structure(db: string, command: Doc): Promise<Doc> {
    return this.#writes.structure(db, command);
  }

  /** Resolves once no write whose answer was lost can take effect any more. */
  async settleWrites(signal: AbortSignal): Promise<void> {
    await this.attempt('making sure of writes whose answer was lost', signal, () => this.#writes.settle());
  }

  /** The sessions that this process's numbered writes are sent in; empty where none are. */
  get sessionIds(): readonly Binary[] {
    return this.#writes.sessionIds;
  }

  /** Lets the server refuse whatever an earlier process has sent in these sessions, stored in `numbersDb`. */
  closeSessions(ids: readonly Binary[], numbersDb: string): Promise<void> {
    return this.#writes.closeSessions(ids, numbersDb);
  }

  /** Whether a structural command whose answer was lost may still be carried out. */
  get mayStillChange(): boolean {
    return this.#writes.mayStillChange;
  }

  /** Whether anything whose answer was lost may still be carried out. */
  get hasLost(): boolean {
    return this.#writes.hasLost;
  }

  /** `{mayBypassWriteBlocking: true}` where the server takes it (access control off, 6.0 and later), else `{}`. */
  bypassField(): Doc {
    return this.#writes.bypassField();
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
    return Promise.all(
      [data, control, structure].map((each) => this.#commands.run(each, 'admin', { hello: 1 }, limits)),
    );
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
}

/** The kind of a work: its first word. The others may name namespaces, of which there may be any number. */
function kindOf(what: string): string {
  return what.split(' ', 1)[0] ?? what;
}
