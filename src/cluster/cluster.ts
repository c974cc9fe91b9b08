import type { ClientSession } from 'mongodb';
import { DEFAULT_MAX_ELAPSED_MS, type RetryNotice, retry } from '../lib/backoff.js';
import type { Logger } from '../lib/logger.js';
import { metrics } from '../metrics.js';
import type { Doc, Timestamp } from './bson.js';
import {
  type Clients,
  type ConnectOptions,
  closeClients,
  MAJORITY_WRITE,
  makeClients,
  openClients,
} from './clients.js';
import { connectError } from './connect-errors.js';
import { Code, codeOf, describeError, isTransient, noteExhausted, noteOrigin, writesBlocked } from './errors.js';
import { type ClusterFacts, readFacts } from './facts.js';
import { Waiting } from './waiting.js';

/** Driver options of one command, beyond the command itself. */
export interface CommandOptions {
  readonly session?: ClientSession;
  /** Reply arrays to keep as raw BSON, e.g. `{firstBatch: true}`. */
  readonly raw?: Record<string, boolean>;
  /** Uses the small pool kept for control. */
  readonly control?: boolean;
  /** Uses the one kept for the lease and the migration's record, which nothing else may hold up. */
  readonly record?: boolean;
  /** Asked in the moment the command is sent: after so many milliseconds the server gives it up. May throw. */
  readonly maxTimeMs?: () => number;
}

/** From how long on failed tries are told of: a shorter interruption is not worth a line. */
const OUTAGE_MS = 2000;

/** Writes of documents, which may wait for a connection for long. */
const ASKED_AGAIN = new Set(['insert', 'update', 'delete']);
/** The longest that a server takes as `maxTimeMS`: 24 days. */
const NO_LIMIT_MS = 2 ** 31 - 1;

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
  #guard: () => number = () => Number.POSITIVE_INFINITY;

  private constructor({ name, uri, logger, retryLimitMs }: ConnectOptions, clients: Clients, facts: ClusterFacts) {
    this.name = name;
    this.clientTag = clients.tag;
    this.#uri = uri;
    this.#clients = clients;
    this.facts = facts;
    this.#logger = logger;
    this.#waiting = new Waiting(name);
    this.#retryLimitMs = retryLimitMs ?? DEFAULT_MAX_ELAPSED_MS;
  }

  /**
   * Connects, or rejects with ClusterUnreachable (may succeed later), MissingPrivilege (credentials refused) or
   * InvalidRequest (the driver does not take the connection string).
   */
  static async connect(options: ConnectOptions): Promise<Cluster> {
    const clients = makeClients(options);
    try {
      await openClients(clients);
      const facts = await readFacts(clients.control);
      const cluster = new Cluster(options, clients, facts);
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
  async command(db: string, command: Doc, options: CommandOptions = {}): Promise<Doc> {
    const { record, control, data } = this.#clients;
    const client = options.record === true ? record : options.control === true ? control : data;
    const started = performance.now();
    const answered = this.#waiting.sent(db, command);
    try {
      const sent = options.maxTimeMs === undefined ? command : withMaxTime(command, options.maxTimeMs);
      const reply: Doc = await client.db(db).command(sent, {
        promoteLongs: false,
        ...(options.session === undefined ? {} : { session: options.session }),
        ...(options.raw === undefined ? {} : { fieldsAsRaw: options.raw }),
      });
      this.#seeTime(reply['operationTime'] as Timestamp | undefined);
      return reply;
    } catch (error) {
      noteOrigin(error, `${Object.keys(command)[0]} of ${db}.${String(Object.values(command)[0])} on ${this.name}`);
      throw error;
    } finally {
      answered();
      const name = Object.keys(command)[0] ?? 'unknown';
      metrics.commandDuration.record(performance.now() - started, { cluster: this.name, command: name });
    }
  }

  /**
   * From now on `guard` is called before every write: the lease of the migration that writes here. It may throw, and
   * returns for how many milliseconds the right to write is certain.
   */
  guardWrites(guard: () => number): void {
    this.#guard = guard;
  }

  /** Throws when this process may not write here now; `write` asks it by itself. */
  assertMayWrite(): void {
    this.#guard();
  }

  /**
   * As `command`, with majority write concern and, where it is needed and allowed, the bypass of a write block. A write
   * of documents that waited for a connection asks once more whether it may be sent. It then takes as long as it needs:
   * a majority that is slow to confirm is no reason to give it up, and what arrives late the server refuses.
   */
  async write(db: string, command: Doc, options: CommandOptions = {}): Promise<Doc> {
    const isAskedAgain = Number.isFinite(this.#guard()) && ASKED_AGAIN.has(Object.keys(command)[0] ?? '');
    return this.writeUnguarded(db, command, isAskedAgain ? { ...options, maxTimeMs: () => this.#whenSent() } : options);
  }

  #whenSent(): number {
    this.#guard();
    return NO_LIMIT_MS;
  }

  /** `write` for the lease itself, which is what the guard asks. */
  async writeUnguarded(db: string, command: Doc, options: CommandOptions = {}): Promise<Doc> {
    const full = { ...command, writeConcern: MAJORITY_WRITE };
    try {
      const reply = await this.#writeOnce(db, full, options);
      if (!holdsBlocked(reply)) return reply;
    } catch (error) {
      if (codeOf(error) !== Code.UserWritesBlocked) throw error;
    }
    // Access control may have been switched off since the last probe.
    await this.#probeBypass();
    throw writesBlocked(this.label);
  }

  async #writeOnce(db: string, command: Doc, options: CommandOptions): Promise<Doc> {
    try {
      return await this.command(db, { ...command, ...this.bypassField() }, options);
    } catch (error) {
      if (codeOf(error) !== Code.MayNotBypassWriteBlocking || !this.#bypass) throw error;
      // Access control was switched on since the probe: the user's own privilege decides from here on.
      this.#bypass = false;
      return this.command(db, command, options);
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
    const options: CommandOptions = raw === undefined ? { control: true } : { control: true, raw };
    return this.attempt(what, signal, () => this.command(db, command, options));
  }

  startSession(): ClientSession {
    return this.#clients.data.startSession({ causalConsistency: false });
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

/** The driver copies a command once it has a connection for it, right before it is sent: only then is the time known. */
function withMaxTime(command: Doc, maxTimeMs: () => number): Doc {
  const get = (): number => Math.max(1, Math.floor(maxTimeMs()));
  return Object.defineProperty({ ...command }, 'maxTimeMS', { get, enumerable: true });
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
