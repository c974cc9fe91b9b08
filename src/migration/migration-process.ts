/** Holds what this process has for its one migration: clusters, session, state, and what ends it. */
import type { ConnectOptions } from '../cluster/clients.js';
import type { Cluster } from '../cluster/cluster.js';
import type { CrewHooks } from '../instances/crew.js';
import type { Logger } from '../lib/logger.js';
import { type Deferred, deferred } from '../lib/tasks.js';
import { metadataDatabase } from '../metadata/databases.js';
import type { FailureRecord } from '../metadata/records.js';
import type { State } from '../metadata/state.js';
import type { RunHooks, RunSettings } from '../phases/run-context.js';
import type { InstanceSnapshot } from '../progress/control.js';
import { monitor } from '../progress/monitor.js';
import { namespaceSnapshots } from '../progress/namespaces.js';
import type { ObservedWork } from '../progress/observed.js';
import { type Reported, Reporter } from '../progress/reporter.js';
import type { HeldMigration } from '../start/held-migration.js';
import type { HelpedMigration } from './helped.js';
import { gatheringTexts, instancesOf, statusOf, type ToldStatus } from './instance-view.js';
import { StateMachine } from './machine.js';
import { Session, type SessionHost } from './session.js';

/** What a migration needs to know of its process. */
export interface MigrationConfig {
  /** Connection strings; hold passwords. */
  readonly cluster0: string;
  readonly cluster1: string;
  readonly instanceId: string;
  /**
   * Whether an operator has named this instance: then it helps another one with the same clusters, and looks for one while
   * it is IDLE. False: it helps one of another name that it finds. Undefined: it only waits for another one.
   */
  readonly instanceIsNamed?: boolean;
  /** Whether a call to this instance counts for all of them. */
  readonly coordinated?: boolean;
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
  /** Warnings of the process in which the migration runs, as of now. */
  readonly processWarning?: () => string | undefined;
}

/** What tests may put in the way of a migration's work, or in the place of the driver. */
export type ProcessHooks = Partial<RunHooks> & Pick<ConnectOptions, 'makeClient'>;

const BLOCK_LIMIT_MS = 60_000;
const READING = 'the metadata of an earlier process is being read';

/**
 * The one place where it stands which clusters are connected, which session is under way and whether the migration has
 * failed. Calls, sessions and the reporter read it; `hold` and `fail` change it.
 */
export class MigrationProcess implements SessionHost, Reported {
  readonly config: MigrationConfig;
  readonly logger: Logger;
  /** The metadata database. */
  readonly db: string;
  readonly machine: StateMachine;
  readonly reporter: Reporter;
  readonly settings: RunSettings;
  readonly hooks: ProcessHooks;
  /** Aborts when the process ends. */
  readonly signal: AbortSignal;
  /** Those connected so far. */
  readonly clusters: Cluster[] = [];
  readonly crewHooks: CrewHooks;
  /** Told after each look at the other instances. */
  onLook: () => void = () => undefined;
  readonly #end = new AbortController();
  readonly #fatal: Deferred<never> = deferred();
  /** What is waited for before the migration can be worked on, by name, and why. */
  readonly #waitedFor = new Map<string, string>();
  #session: Session | undefined;
  #helping: HelpedMigration | undefined;
  #stoodDown: Deferred<void> = deferred();
  #isMonitored = false;
  #failure: FailureRecord | undefined;

  constructor(config: MigrationConfig, logger: Logger, hooks: ProcessHooks) {
    this.config = config;
    this.logger = logger;
    this.hooks = hooks;
    this.db = metadataDatabase(config.migrationName);
    this.signal = this.#end.signal;
    this.reporter = new Reporter(config.instanceId, logger, this);
    this.machine = new StateMachine(() => this.reporter.changed());
    this.crewHooks = { onLook: () => this.onLook(), status: () => this.#status };
    this.settings = {
      listener: this.reporter,
      logger,
      loadLevel: config.loadLevel,
      loadLevelIsDefault: config.loadLevelIsDefault === true,
      workerThreads: config.workerThreads ?? 0,
      disableVerification: config.disableVerification,
      hooks,
      blockLimitMs: config.blockLimitMs ?? BLOCK_LIMIT_MS,
    };
  }

  get state(): State {
    return this.machine.state;
  }

  get session(): Session | undefined {
    return this.#session;
  }

  /** Why the migration has failed for good. */
  get failure(): FailureRecord | undefined {
    return this.#failure;
  }

  /** Undefined: this instance helps no other one. */
  get helping(): HelpedMigration | undefined {
    return this.#helping;
  }

  get isHelping(): boolean {
    return this.#helping !== undefined;
  }

  /** All instances, where there is more than one. */
  get instances(): readonly InstanceSnapshot[] {
    const session = this.#session;
    if (session === undefined) return [];
    return instancesOf(session.crew, this.config.instanceId, this.state === 'PAUSED');
  }

  /** Warnings of calls that not every instance has been given yet. */
  get gathering(): readonly string[] {
    return this.#session === undefined ? [] : gatheringTexts(this.#session.crew);
  }

  /** Resolves once another instance is to coordinate. */
  get stoodDown(): Promise<void> {
    return this.#stoodDown.promise;
  }

  get work(): ObservedWork | undefined {
    return this.#session?.observed;
  }

  /** Warnings of the process in which the migration runs, as of now. */
  get processWarning(): string | undefined {
    return this.config.processWarning?.();
  }

  /** What each cluster is being waited for, and what cannot be connected to. */
  get waits(): readonly string[] {
    const known = [...this.#waitedFor.values(), ...this.clusters.flatMap((each) => each.waitsFor)];
    if (known.length > 0 || this.state !== 'INITIALIZING') return known;
    const missing = ['cluster0', 'cluster1'].filter((name) => this.clusters.every((each) => each.name !== name));
    return [missing.length === 0 ? READING : `${missing.join(' and ')} are being connected`];
  }

  /** Why a cluster is not connected, if it is known. */
  whyNotConnected(name: string): string | undefined {
    return this.#waitedFor.get(name);
  }

  /** Why the process is not ready for calls, where that is known and no failure. */
  get unreadiness(): string | undefined {
    const [waitedFor] = this.#waitedFor.values();
    if (waitedFor !== undefined) return waitedFor;
    if (this.state === 'INITIALIZING' && !this.isHelping) return 'the clusters are being connected';
    const outage = this.clusters.find((each) => each.outage !== undefined)?.outage;
    if (outage !== undefined) return outage;
    if (this.#session?.interruption !== undefined) return this.#session.interruption;
    return (this.#session?.held.lease.held ?? true)
      ? undefined
      : 'this process does not hold the lease of the migration';
  }

  /** Something is waited for, or (undefined) no longer. */
  waitFor(name: string, text: string | undefined): void {
    if (text === undefined) this.#waitedFor.delete(name);
    else this.#waitedFor.set(name, text);
    this.reporter.changed();
  }

  /** Makes a held migration the process's own. The first one has the clusters watched from then on. */
  hold(held: HeldMigration): Session {
    void this.#session?.leave();
    const session = new Session(held, this);
    this.#session = session;
    if (!this.#isMonitored) this.#monitor();
    this.#isMonitored = true;
    return session;
  }

  /** This instance helps another one from now on, or (undefined) no longer. */
  help(helping: HelpedMigration | undefined): void {
    this.#helping?.end();
    this.#helping = helping;
    this.reporter.changed();
  }

  /** Leaves the migration to another instance. Precondition: nothing is worked on. */
  async standDown(signal: AbortSignal): Promise<void> {
    const session = this.#session;
    if (session === undefined) return;
    await session.held.destination.resolveLostWrites(signal);
    await session.leave();
    await session.held.lease.release().catch((error: unknown) => {
      this.logger.warn('The lease could not be given back; the others wait until it has run out', { error });
    });
    this.logger.info('Another instance is to coordinate the migration');
    this.#session = undefined;
    const stoodDown = this.#stoodDown;
    this.#stoodDown = deferred();
    this.machine.leave();
    stoodDown.resolve();
  }

  get #status(): ToldStatus {
    const { work } = this;
    const rows = work?.run === undefined ? [] : namespaceSnapshots(work.run, work.migration);
    return statusOf(this.reporter.snapshot(), rows);
  }

  /** The migration has failed for good. */
  fail(failure: FailureRecord): void {
    this.#failure = failure;
    this.reporter.changed();
  }

  /** The process cannot go on. */
  die(error: unknown): void {
    if (!this.signal.aborted) this.#fatal.reject(error);
  }

  /** Rejects with the error that ends the process. */
  get died(): Promise<never> {
    return this.#fatal.promise;
  }

  /** Aborts all that is under way. */
  end(reason: Error): void {
    this.#end.abort(reason);
  }

  #monitor(): void {
    monitor(
      () => this.#session?.held,
      this.reporter.health,
      { onTick: () => this.reporter.tick(), onProgressLog: () => this.reporter.logProgress() },
      this.logger,
      this.signal,
    ).catch((error: unknown) => this.die(error));
  }
}
