/** The migration of one server process: connects, goes on with what is stored, and takes calls. */
import type { Cluster } from '../cluster/cluster.js';
import { clusterError } from '../cluster/errors.js';
import { AppError, type FieldViolation } from '../errors.js';
import type { Logger } from '../lib/logger.js';
import { aborted, linkAbort, settlesWithin } from '../lib/signals.js';
import { type Deferred, deferred } from '../lib/tasks.js';
import { metadataDatabase } from '../metadata/databases.js';
import type { Finding } from '../preflight/finding.js';
import { Calls } from './calls.js';
import { connectClusters } from './connect.js';
import type {
  FailureRecord,
  MigrationControl,
  Mismatch,
  NamespaceSnapshot,
  RepairOutcome,
  Snapshot,
} from './control.js';
import { StateMachine } from './machine.js';
import { readLeftMismatches } from './mismatch-list.js';
import { monitor } from './monitor.js';
import type { StartOptions } from './options.js';
import type { Place } from './place.js';
import { findMigration } from './recover.js';
import { Reporter } from './reporter.js';
import type { MigrationRun } from './run.js';
import type { RunContext } from './run-context.js';
import { Session } from './session.js';
import { namespaceSnapshots } from './snapshot.js';
import { adopt } from './startup.js';

/** What a migration needs to know of its process. */
export interface MigrationConfig {
  /** Connection strings; hold passwords. */
  readonly cluster0: string;
  readonly cluster1: string;
  readonly instanceId: string;
  /** Undefined: the only migration into its destination. */
  readonly migrationName: string | undefined;
  /** 1 to 4. */
  readonly loadLevel: number;
  /** Whether the operator left it open. */
  readonly loadLevelIsDefault?: boolean;
  /** Threads that copy and apply. Default 0: the main thread does. */
  readonly workerThreads?: number;
  readonly disableVerification: boolean;
  /** How long a commit tries to block the source, in milliseconds. Default one minute. */
  readonly blockLimitMs?: number;
  /** For how long work that does not go on is tried again, in milliseconds. Default 30 minutes. */
  readonly retryLimitMs?: number;
  /** What the process that it runs in has to warn of at the moment. */
  readonly processWarning?: () => string | undefined;
}

/** A migration that can be run. In INITIALIZING from the moment it is made, so the front doors can open at once. */
export interface Migration extends MigrationControl {
  /**
   * Runs until `signal` aborts (then resolves, everything flushed and closed) or until it cannot go on (then rejects
   * with the AppError that ends the process). A failed migration rejects too; the caller decides whether to stay up.
   */
  run(signal: AbortSignal): Promise<void>;
}

/** What tests may put in the way of a migration's work. */
export type MigrationHooks = Partial<Pick<RunContext, 'wrapApplier' | 'detectAboveBytes' | 'partitionBytes'>>;

/** Makes a migration; nothing is connected before `run`. */
export function createMigration(config: MigrationConfig, logger: Logger, hooks: MigrationHooks = {}): Migration {
  return new LiveMigration(config, logger.component('migration'), hooks);
}

/** For the work and the calls to end. */
const STOP_MS = 6500;
/** The same while a cluster does not answer: the driver keeps a connection that it is just opening five seconds longer. */
const HUNG_MS = 3000;
const LOOK_MS = 250;
const CLOSE_MS = 1000;
const BLOCK_LIMIT_MS = 60_000;
const NAMESPACES_MS = 900;
const READING = 'what an earlier process has left on the clusters is being read';
const LEASE = 'another process holds the lease of this migration; it is waited for';

/**
 * The one migration of a process, from its connections to its end. Calls are carried out one at a time by `Calls`, the
 * state machine decides which are legal, and the session runs what the state asks for.
 */
class LiveMigration implements Migration {
  readonly #config: MigrationConfig;
  readonly #hooks: MigrationHooks;
  readonly #logger: Logger;
  readonly #reporter: Reporter;
  readonly #machine: StateMachine;
  readonly #calls: Calls;
  readonly #fatal: Deferred<never> = deferred();
  readonly #clusters: Cluster[] = [];
  /** Clusters that are not connected yet, by name, and why. */
  readonly #unconnected = new Map<string, string>();
  #session: Session | undefined;
  #failure: FailureRecord | undefined;
  #namespaces:
    | { readonly run: MigrationRun; readonly atMs: number; readonly rows: readonly NamespaceSnapshot[] }
    | undefined;
  #signal: AbortSignal = new AbortController().signal;

  constructor(config: MigrationConfig, logger: Logger, hooks: MigrationHooks) {
    this.#config = config;
    this.#hooks = hooks;
    this.#logger = logger;
    this.#reporter = new Reporter(config.instanceId, logger, () => ({
      state: this.#machine.state,
      failure: this.#failure,
      session: this.#session,
      waits: [...this.#waits, ...[config.processWarning?.()].filter((text) => text !== undefined)],
    }));
    this.#machine = new StateMachine(() => this.#reporter.changed());
    const migration = this;
    this.#calls = new Calls({
      machine: this.#machine,
      reporter: this.#reporter,
      logger,
      db: this.#db,
      disableVerification: config.disableVerification,
      get clusters() {
        return migration.#clusters;
      },
      get session() {
        return migration.#session;
      },
      get failure() {
        return migration.#failure;
      },
      get signal() {
        return migration.#signal;
      },
      onFatal: (error) => this.#fatal.reject(error),
      whyNotConnected: (name) => migration.#unconnected.get(name),
      get waits() {
        return migration.#waits;
      },
      enter: (place) => this.#enter(place),
    });
  }

  get #waits(): readonly string[] {
    const known = [...this.#unconnected.values(), ...this.#clusters.flatMap((each) => each.waitsFor)];
    if (known.length > 0 || this.#machine.state !== 'INITIALIZING') return known;
    const missing = ['cluster0', 'cluster1'].filter((name) => this.#clusters.every((each) => each.name !== name));
    return [missing.length === 0 ? READING : `${missing.join(' and ')} are being connected`];
  }

  get ready(): boolean {
    return this.#failure === undefined && this.unreadiness === undefined;
  }

  get unreadiness(): string | undefined {
    const [unconnected] = this.#unconnected.values();
    if (unconnected !== undefined) return unconnected;
    if (this.#machine.state === 'INITIALIZING') return 'the clusters are being connected';
    const outage = this.#clusters.find((each) => each.outage !== undefined)?.outage;
    if (outage !== undefined) return outage;
    if (this.#session?.interruption !== undefined) return this.#session.interruption;
    return (this.#session?.place.lease.held ?? true) ? undefined : 'the lease of the migration is not held';
  }

  snapshot(): Snapshot {
    return this.#reporter.snapshot();
  }

  /** Made once a second at most, whoever asks: there may be 50,000, and any number of streams. */
  namespaces(): readonly NamespaceSnapshot[] {
    const run = this.#session?.lastRun;
    if (run === undefined || this.#session === undefined) return [];
    const now = performance.now();
    if (this.#namespaces?.run !== run || now - this.#namespaces.atMs > NAMESPACES_MS)
      this.#namespaces = { run, atMs: now, rows: namespaceSnapshots(run, this.#session.context) };
    return this.#namespaces.rows;
  }

  onChange(listener: () => void): () => void {
    return this.#reporter.onChange(listener);
  }

  regexViolations(options: StartOptions): Promise<readonly FieldViolation[]> {
    return this.#calls.regexViolations(options);
  }

  start(options: StartOptions): Promise<void> {
    return this.#calls.start(options);
  }

  pause(): Promise<void> {
    return this.#calls.pause();
  }

  resume(): Promise<void> {
    return this.#calls.resume();
  }

  commit(): Promise<void> {
    return this.#calls.commit();
  }

  reverse(): Promise<void> {
    return this.#calls.reverse();
  }

  check(options: StartOptions): Promise<readonly Finding[]> {
    return this.#calls.check(options);
  }

  mismatches(after: string, limit: number): Promise<readonly Mismatch[]> {
    return this.#failure === undefined
      ? this.#calls.mismatches(after, limit)
      : readLeftMismatches(this.#config, this.#db, this.#logger, { after, limit });
  }

  repair(ids: readonly string[]): Promise<RepairOutcome> {
    return this.#calls.repair(ids);
  }

  async run(signal: AbortSignal): Promise<void> {
    const link = linkAbort(signal);
    this.#signal = link.signal;
    try {
      const clusters = await connectClusters(
        this.#config,
        this.#logger,
        {
          onConnected: (cluster) => this.#clusters.push(cluster),
          onWaiting: (name, text) => this.#waitFor(name, text),
        },
        link.signal,
      );
      await this.#recover(clusters, link.signal);
      await Promise.race([aborted(link.signal), this.#fatal.promise]);
    } catch (error) {
      if (!signal.aborted) throw clusterError(error, 'a cluster', 'running the migration');
    } finally {
      await this.#end(() => link.abort(new AppError('ShuttingDown', 'the process is stopping')));
      link.dispose();
    }
  }

  /** Takes less than a supervisor waits, whatever hangs; what is in order first stores how far it has come. */
  async #end(abort: () => void): Promise<void> {
    const began = performance.now();
    await this.#settled(this.#session?.stop() ?? Promise.resolve(), began);
    abort();
    // A start that is broken off undoes what it has done.
    await this.#settled(this.#calls.ended(), began);
    const releasing = this.#session?.place.lease.release() ?? Promise.resolve();
    await settlesWithin(releasing, this.#hangs ? LOOK_MS : CLOSE_MS);
    await settlesWithin(Promise.all(this.#clusters.map((each) => each.close())), CLOSE_MS);
  }

  /** Resolves once `work` has ended, or is not waited for any longer. */
  async #settled(work: Promise<unknown>, began: number): Promise<void> {
    while (!(await settlesWithin(work, LOOK_MS))) {
      const limitMs = this.#hangs ? HUNG_MS : STOP_MS;
      if (performance.now() - began > limitMs) return;
    }
  }

  get #hangs(): boolean {
    return this.#clusters.some(({ waitsFor }) => waitsFor.length > 0);
  }

  #waitFor(name: string, text: string | undefined): void {
    if (text === undefined) this.#unconnected.delete(name);
    else this.#unconnected.set(name, text);
    this.#reporter.changed();
  }

  async #recover(clusters: readonly [Cluster, Cluster], signal: AbortSignal): Promise<void> {
    const warn = (error: AppError): void => this.#logger.warn(error.message);
    const found = await findMigration(clusters, this.#db, warn, signal);
    if (found === undefined) {
      this.#machine.recover('IDLE');
      this.#logger.info('No migration found on the clusters; waiting for start');
      return;
    }
    await adopt(found, {
      db: this.#db,
      machine: this.#machine,
      logger: this.#logger,
      onFailed: (failure) => {
        this.#failure = failure;
      },
      enter: (place) => this.#enter(place),
      onLeaseHeld: (isHeld) => this.#waitFor('lease', isHeld ? LEASE : undefined),
      signal,
    });
  }

  /** Makes a place the migration's own. The first one has the clusters watched from then on. */
  #enter(place: Place): Session {
    const isFirst = this.#session === undefined;
    this.#session?.leave();
    const session = new Session(place, {
      machine: this.#machine,
      reporter: this.#reporter,
      logger: this.#logger,
      loadLevel: this.#config.loadLevel,
      loadLevelIsDefault: this.#config.loadLevelIsDefault === true,
      workerThreads: this.#config.workerThreads ?? 0,
      disableVerification: this.#config.disableVerification,
      hooks: this.#hooks,
      blockLimitMs: this.#config.blockLimitMs ?? BLOCK_LIMIT_MS,
      signal: this.#signal,
      onFailure: (failure) => {
        this.#failure = failure;
        this.#reporter.changed();
      },
      onFatal: (error) => {
        if (!this.#signal.aborted) this.#fatal.reject(error);
      },
      enter: (next) => this.#enter(next),
    });
    this.#session = session;
    if (isFirst) this.#monitor();
    return session;
  }

  #monitor(): void {
    monitor(
      () => this.#session?.place,
      this.#reporter.health,
      { onTick: () => this.#reporter.tick(), onProgressLog: () => this.#reporter.logProgress() },
      this.#logger,
      this.#signal,
    ).catch((error: unknown) => {
      if (!this.#signal.aborted) this.#fatal.reject(error);
    });
  }

  get #db(): string {
    return metadataDatabase(this.#config.migrationName);
  }
}
