/** Connects to one deployment: reads from it, knows its facts, and tries again after errors that pass. */

import type { Doc, Timestamp } from '../bson/bson.js';
import { DEFAULT_MAX_ELAPSED_MS, type RetryNotice, retry } from '../lib/backoff.js';
import type { Logger } from '../lib/logger.js';
import { metrics } from '../metrics.js';
import {
  type Clients,
  type ConnectOptions,
  closeClients,
  MAJORITY_WRITE,
  makeClients,
  openClients,
} from './clients.js';
import { Commands, nameOf, type ReadOptions } from './commands.js';
import { connectError } from './connect-errors.js';
import { Deadlines } from './deadlines.js';
import type { DriverSession } from './driver.js';
import { describeError, isTransient, originOf, tagExhausted, tagOrigin } from './errors.js';
import { type ClusterFacts, readFacts } from './facts.js';
import type { WriteSessions } from './numbered-sessions.js';
import { StructuralCommands } from './structural-commands.js';
import { UnblockedWrites } from './unblocked-writes.js';
import { Waiting } from './waiting.js';

/** For short writes, which wait for a majority that may be far behind; in milliseconds. */
export const WRITE_LIMIT_MS = 600_000;
/** From how long on failed tries are told of: a shorter interruption is not worth a line. */
const OUTAGE_MS = 2000;

/** One connected deployment: what all views of it share. Only for this folder. */
export interface ClusterCore {
  /** "cluster0" or "cluster1". */
  readonly name: string;
  readonly uri: string;
  readonly logger: Logger;
  readonly facts: ClusterFacts;
  readonly clients: Clients;
  readonly commands: Commands;
  readonly waiting: Waiting;
  readonly retryLimitMs: number;
  readonly unblocked: UnblockedWrites;
  /** Whether the server knows write blocks, and writes are numbered: 6.0 and later. */
  readonly knowsBlocks: boolean;
  readonly structural: StructuralCommands;
  /** By metadata database: those that this process writes documents in. */
  readonly sessions: Map<string, WriteSessions>;
  /** Warnings that were logged, of those that are logged once. */
  readonly told: Set<string>;
  /** Commands tried again so far. */
  retries: number;
}

function coreOf(
  { name, uri, logger, retryLimitMs = DEFAULT_MAX_ELAPSED_MS }: ConnectOptions,
  {
    clients,
    deadlines,
    facts,
  }: { readonly clients: Clients; readonly deadlines: Deadlines; readonly facts: ClusterFacts },
): ClusterCore {
  const waiting = new Waiting(name);
  const commands = new Commands({ name, deadlines, waiting, watched: clients.record });
  const knowsBlocks = facts.version[0] >= 6;
  const label = `${name}: ${facts.address}`;
  return {
    name,
    uri,
    logger,
    facts,
    clients,
    commands,
    waiting,
    retryLimitMs,
    unblocked: new UnblockedWrites({ control: clients.control, commands, label, knowsBlocks }),
    knowsBlocks,
    structural: new StructuralCommands(clients.structure, {
      tag: clients.tag,
      isSharded: facts.topology === 'sharded',
    }),
    sessions: new Map(),
    told: new Set(),
    retries: 0,
  };
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
  /** Only for this folder. */
  readonly core: ClusterCore;

  constructor(core: ClusterCore) {
    this.core = core;
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
      const core = coreOf(options, { clients, deadlines, facts });
      await core.unblocked.probe();
      return new Cluster(core);
    } catch (error) {
      await closeClients(clients);
      throw connectError(options.name, error);
    }
  }

  /** "cluster0" or "cluster1". */
  get name(): string {
    return this.core.name;
  }

  get facts(): ClusterFacts {
    return this.core.facts;
  }

  /** What the server knows these connections by, besides the name that all of mongoferry's have. */
  get clientTag(): string {
    return this.core.clients.tag;
  }

  /** For a thread of this process that needs clients of its own. Holds the password: for nothing else. */
  get access(): { readonly name: string; readonly uri: string; readonly retryLimitMs: number } {
    return { name: this.name, uri: this.core.uri, retryLimitMs: this.core.retryLimitMs };
  }

  /** "cluster0: host:port", for progress and logs. */
  get label(): string {
    return `${this.name}: ${this.facts.address}`;
  }

  /** Commands tried again so far. */
  get retries(): number {
    return this.core.retries;
  }

  /** For how long work that does not go on is tried again, in milliseconds. */
  get retryLimitMs(): number {
    return this.core.retryLimitMs;
  }

  /** What is being retried for longer than a few seconds, for readiness and calls; undefined when all is well. */
  get outage(): string | undefined {
    return this.core.waiting.outage;
  }

  /** One line for each piece of work that is held up here, for `warnings`: outages, and commands without an answer. */
  get waitsFor(): readonly string[] {
    return this.core.waiting.lines;
  }

  /** For what retries by itself: what is being waited for, or that it goes on. `task` stands for the work. */
  tellOutage(task: object, text: string | undefined): void {
    this.core.waiting.tell(task, text);
  }

  /** The newest cluster time seen in any reply. */
  get now(): Timestamp | undefined {
    return this.core.commands.now;
  }

  /** A thread of this process, or the one that has started this thread, has seen this time in a reply of the cluster. */
  saw(time: Timestamp): void {
    this.core.commands.saw(time);
  }

  /** Whether commands reach it through a mongos. */
  get isSharded(): boolean {
    return this.facts.topology === 'sharded';
  }

  isAtLeast(major: number, minor = 0, patch = 0): boolean {
    const [a, b, c] = this.facts.version;
    return a !== major ? a > major : b !== minor ? b > minor : c >= patch;
  }

  /** Runs one command that changes nothing of the data, on the primary, once. */
  command(db: string, command: Doc, options: ReadOptions): Promise<Doc> {
    const { record, control, data } = this.core.clients;
    const client = options.record === true ? record : options.control === true ? control : data;
    const short = SHORT_READS.has(nameOf(command)) ? { limitMs: READ_LIMIT_MS } : {};
    return this.core.commands.run(client, db, command, { ...short, ...options });
  }

  /** A write to the lease itself, which is what gives the right to others; it states by itself what it may change. */
  writeUnguarded(db: string, command: Doc): Promise<Doc> {
    const { unblocked, commands, clients } = this.core;
    return unblocked.send({ ...command, writeConcern: MAJORITY_WRITE }, (ready) =>
      commands.run(clients.record, db, ready, { limitMs: WRITE_LIMIT_MS }),
    );
  }

  /** Whether a structural command whose answer was lost may still be carried out. */
  get mayStillChange(): boolean {
    return this.core.structural.holdsLost;
  }

  /** `{mayBypassWriteBlocking: true}` where the server takes it (access control off, 6.0 and later), else `{}`. */
  bypassField(): Doc {
    return this.core.unblocked.field;
  }

  /**
   * Runs `work` until it succeeds, waiting after errors that tell of the cluster's condition (network, elections, write
   * concern, passwords being changed) for up to 30 minutes in a row; other errors come at once. `what` names the work in
   * logs and in the error. Long work that goes on where it stopped tells of each step with `progressed`: hours without
   * an error count for nothing, and what was an outage is over. Where the work reaches for the other cluster, too, an
   * outage of that one is told as its own.
   */
  async attempt<T>(what: string, signal: AbortSignal, work: (progressed: () => void) => Promise<T>): Promise<T> {
    const outage = new Outage(this.core.waiting);
    const tryOnce = (_: number, progressed: () => void): Promise<T> =>
      work(() => {
        progressed();
        outage.over();
      });
    try {
      return await retry(tryOnce, {
        isRetryable: isTransient,
        signal,
        maxElapsedMs: this.core.retryLimitMs,
        onExhausted: tagExhausted,
        onRetry: (notice) => this.#tellRetry(outage, what, notice),
      });
    } catch (error) {
      signal.throwIfAborted();
      tagOrigin(error, { text: `${what} on ${this.name}`, waiting: this.core.waiting });
      throw error;
    } finally {
      outage.over();
    }
  }

  #tellRetry(outage: Outage, what: string, { error, attempt, delayMs, elapsedMs, level }: RetryNotice): void {
    this.core.retries++;
    metrics.retries.add(1, { operation: kindOf(what) });
    const waiting = originOf(error)?.waiting ?? this.core.waiting;
    const text = `${what}${waiting === this.core.waiting ? ` on ${this.name}` : ''}: ${describeError(error)}`;
    // By the end of the wait it is one; nothing could tell so then.
    if (elapsedMs + delayMs > OUTAGE_MS)
      outage.tell(waiting, `${text}; trying again for ${Math.round(elapsedMs / 1000)} s`);
    this.core.logger[level](`Trying again after a transient error: ${text}`, { attempt, delayMs: Math.round(delayMs) });
  }

  /** `attempt` around one `command` over the control connections. */
  read(what: string, db: string, command: Doc, signal: AbortSignal, raw?: Record<string, boolean>): Promise<Doc> {
    const options: ReadOptions = { control: true, signal, ...(raw === undefined ? {} : { raw }) };
    return this.attempt(what, signal, () => this.command(db, command, options));
  }

  startSession(): DriverSession {
    return this.core.clients.data.startSession();
  }

  /** The answers to `hello` of the primary that each of the clients reads the catalog from, or changes it on. */
  helloOfAll(signal: AbortSignal): Promise<Doc[]> {
    const { data, control, structure } = this.core.clients;
    const limits = { limitMs: READ_LIMIT_MS, signal };
    return Promise.all(
      [data, control, structure].map((each) => this.core.commands.run(each, 'admin', { hello: 1 }, limits)),
    );
  }

  /** Milliseconds of a ping over the control connections. */
  async ping(signal: AbortSignal): Promise<number> {
    const started = performance.now();
    await this.command('admin', { ping: 1 }, { control: true, signal });
    return performance.now() - started;
  }

  async close(): Promise<void> {
    await closeClients(this.core.clients);
  }
}

/** What one piece of work waits for: told of the cluster that it waits for now, and of no other. */
class Outage {
  #waiting: Waiting;

  constructor(waiting: Waiting) {
    this.#waiting = waiting;
  }

  tell(waiting: Waiting, text: string): void {
    if (waiting !== this.#waiting) this.over();
    this.#waiting = waiting;
    waiting.tell(this, text);
  }

  over(): void {
    this.#waiting.tell(this, undefined);
  }
}

/** The kind of a work: its first word. The others may name namespaces, of which there may be any number. */
function kindOf(what: string): string {
  return what.split(' ', 1)[0] ?? what;
}
