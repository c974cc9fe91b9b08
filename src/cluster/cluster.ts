import { type ClientSession, MongoClient, type MongoClientOptions } from 'mongodb';
import { AppError } from '../errors.js';
import { retry } from '../lib/backoff.js';
import type { Logger } from '../lib/logger.js';
import { metrics } from '../metrics.js';
import { type Doc, ObjectId, type Timestamp } from './bson.js';
import { Code, clusterError, codeOf, isTransient, noteOrigin, safeText, writesBlocked } from './errors.js';

/** Every write of the engine: a write that a majority has not stored could be lost with its checkpoint kept. */
export const MAJORITY_WRITE = { w: 'majority', j: true } as const;

/** What is known of a deployment; found once at connect and passed on. */
export interface ClusterFacts {
  readonly version: readonly [number, number, number];
  readonly versionText: string;
  readonly topology: 'replicaSet' | 'sharded' | 'standalone';
  /** Identity that survives new hosts and passwords: `replSetGetConfig.settings.replicaSetId`; '' when not readable. */
  readonly setId: string;
  /** "host:port" of the primary or the first seed, never with credentials. */
  readonly address: string;
}

/** How to connect. */
export interface ConnectOptions {
  /** "cluster0" or "cluster1", for messages. */
  readonly name: string;
  readonly uri: string;
  readonly logger: Logger;
  /** Connections for data; catalog reads and checkpoints have a few of their own, so that data cannot starve them. */
  readonly maxPoolSize: number;
}

/** Driver options of one command, beyond the command itself. */
export interface CommandOptions {
  readonly session?: ClientSession;
  /** Reply arrays to keep as raw BSON, e.g. `{firstBatch: true}`. */
  readonly raw?: Record<string, boolean>;
  /** Uses the small pool kept for control. */
  readonly control?: boolean;
}

/**
 * One deployment: commands, the facts about it, and the retry policy for transient errors. The only holder of driver
 * clients. Errors of `command` are the driver's (read them with cluster/errors.ts); `attempt` rejects with AppError.
 */
export class Cluster {
  readonly name: string;
  readonly facts: ClusterFacts;
  readonly #data: MongoClient;
  readonly #control: MongoClient;
  readonly #uri: string;
  readonly #logger: Logger;
  #retries = 0;
  #outage: string | undefined;
  #bypass = false;
  #now: Timestamp | undefined;
  #guard: () => void = () => undefined;

  private constructor(
    { name, uri, logger }: ConnectOptions,
    clients: { data: MongoClient; control: MongoClient },
    facts: ClusterFacts,
  ) {
    this.name = name;
    this.#uri = uri;
    this.#data = clients.data;
    this.#control = clients.control;
    this.facts = facts;
    this.#logger = logger;
  }

  /** Connects, or rejects with ClusterUnreachable (may succeed later) or MissingPrivilege (credentials refused). */
  static async connect(options: ConnectOptions): Promise<Cluster> {
    const common: MongoClientOptions = {
      appName: 'mongoferry',
      readPreference: 'primary',
      readConcern: { level: 'majority' },
      writeConcern: MAJORITY_WRITE,
      retryReads: true,
      serverSelectionTimeoutMS: 5000,
      connectTimeoutMS: 5000,
      maxConnecting: 8,
    };
    const data = new MongoClient(options.uri, { ...common, maxPoolSize: options.maxPoolSize });
    const control = new MongoClient(options.uri, { ...common, maxPoolSize: 8 });
    try {
      await Promise.all([data.connect(), control.connect()]);
      const facts = await readFacts(control);
      const cluster = new Cluster(options, { data, control }, facts);
      await cluster.#probeBypass();
      return cluster;
    } catch (error) {
      await Promise.allSettled([data.close(), control.close()]);
      if (codeOf(error) === 18) {
        throw new AppError('MissingPrivilege', `${options.name} refused the credentials of its connection string`, {
          cause: error,
        });
      }
      throw clusterError(error, options.name, 'connecting', 'ClusterUnreachable');
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

  /** What is being retried for longer than a few seconds, for `warnings`; undefined when all is well. */
  get outage(): string | undefined {
    return this.#outage;
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
    const client = options.control === true ? this.#control : this.#data;
    const started = performance.now();
    try {
      const reply: Doc = await client.db(db).command(command, {
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
      const name = Object.keys(command)[0] ?? 'unknown';
      metrics.commandDuration.record(performance.now() - started, { cluster: this.name, command: name });
    }
  }

  /** From now on `guard` is called before every write and may throw: the lease of the migration that writes here. */
  guardWrites(guard: () => void): void {
    this.#guard = guard;
  }

  /** Throws when this process may not write here now; `write` asks it by itself. */
  assertMayWrite(): void {
    this.#guard();
  }

  /** As `command`, with majority write concern and, where it is needed and allowed, the bypass of a write block. */
  async write(db: string, command: Doc, options: CommandOptions = {}): Promise<Doc> {
    this.#guard();
    return this.writeUnguarded(db, command, options);
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
   * Runs `work` until it succeeds, waiting after transient errors (network, elections, write concern) for up to 30
   * minutes in all; other errors come at once. `what` names the work in logs and in the error.
   */
  async attempt<T>(what: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    try {
      const result = await retry(work, {
        isRetryable: isTransient,
        signal,
        onRetry: (notice) => {
          this.#retries++;
          metrics.retries.add(1, { operation: what });
          const text = `${what} on ${this.name}: ${safeText(notice.error)}`;
          if (notice.elapsedMs > 3000)
            this.#outage = `${text}; trying again for ${Math.round(notice.elapsedMs / 1000)} s`;
          this.#logger[notice.level](`Trying again after a transient error: ${text}`, {
            attempt: notice.attempt,
            delayMs: Math.round(notice.delayMs),
          });
        },
      });
      this.#outage = undefined;
      return result;
    } catch (error) {
      signal.throwIfAborted();
      throw error;
    }
  }

  /** `attempt` around one `command` over the control connections. */
  read(what: string, db: string, command: Doc, signal: AbortSignal, raw?: Record<string, boolean>): Promise<Doc> {
    const options: CommandOptions = raw === undefined ? { control: true } : { control: true, raw };
    return this.attempt(what, signal, () => this.command(db, command, options));
  }

  startSession(): ClientSession {
    return this.#data.startSession({ causalConsistency: false });
  }

  /** Milliseconds of a ping over the control connections. */
  async ping(): Promise<number> {
    const started = performance.now();
    await this.command('admin', { ping: 1 }, { control: true });
    return performance.now() - started;
  }

  async close(): Promise<void> {
    await Promise.allSettled([this.#data.close(), this.#control.close()]);
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

/** Whether statements were refused since users' writes are blocked: such a reply says `ok: 1`. */
function holdsBlocked(reply: Doc): boolean {
  const errors = reply['writeErrors'] as { code?: unknown }[] | undefined;
  return errors?.some(({ code }) => Number(code) === Code.UserWritesBlocked) === true;
}

async function readFacts(client: MongoClient): Promise<ClusterFacts> {
  const admin = client.db('admin');
  const [hello, build] = await Promise.all([admin.command({ hello: 1 }), admin.command({ buildInfo: 1 })]);
  const topology =
    hello['msg'] === 'isdbgrid' ? 'sharded' : typeof hello['setName'] === 'string' ? 'replicaSet' : 'standalone';
  const [major = 0, minor = 0, patch = 0] = build['versionArray'] as number[];
  const seed = client.options.hosts[0];
  return {
    version: [major, minor, patch],
    versionText: String(build['version']),
    topology,
    setId: topology === 'replicaSet' ? await readSetId(client) : '',
    address: typeof hello['primary'] === 'string' ? hello['primary'] : (seed?.toString() ?? 'unknown'),
  };
}

async function readSetId(client: MongoClient): Promise<string> {
  try {
    const reply = await client.db('admin').command({ replSetGetConfig: 1 });
    const id: unknown = (reply['config'] as { settings?: { replicaSetId?: unknown } }).settings?.replicaSetId;
    return id instanceof ObjectId ? id.toHexString() : '';
  } catch (error) {
    // Needs clusterMonitor or better; the preflight names the privilege.
    if (codeOf(error) === Code.Unauthorized) return '';
    throw error;
  }
}
