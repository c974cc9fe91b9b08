import type { Cluster } from '../cluster/cluster.js';
import { clusterError, safeText } from '../cluster/errors.js';
import { AppError, ExitCode } from '../errors.js';
import type { Logger } from '../lib/logger.js';
import { aborted, linkAbort, settlesWithin } from '../lib/signals.js';
import { type Deferred, deferred } from '../lib/tasks.js';
import { CollectionMap } from '../metadata/collections.js';
import { Lease } from '../metadata/lease.js';
import type { MigrationRecord } from '../metadata/records.js';
import { MetadataStore, metadataDatabase } from '../metadata/store.js';
import type { Finding } from '../preflight/finding.js';
import { preflight } from '../preflight/preflight.js';
import { connectClusters } from './connect.js';
import type { FailureRecord, MigrationControl, NamespaceSnapshot, Snapshot } from './control.js';
import { loadOf } from './load-level.js';
import { StateMachine } from './machine.js';
import { type Health, monitor } from './monitor.js';
import {
  type BuildIndexes,
  completeOptions,
  type MigrationOptions,
  resolveStartOptions,
  type StartOptions,
} from './options.js';
import { StoredRecord } from './record.js';
import { type Found, findMigration } from './recover.js';
import { MigrationRun, type RunContext } from './run.js';
import { commitObstacle, namespaceSnapshots, type SnapshotSources, takeSnapshot } from './snapshot.js';
import {
  blocksDestination,
  checkMetadata,
  migrationExists,
  newRecord,
  preflightError,
  refuseOtherOptions,
  storeStart,
} from './starting.js';
import type { State } from './state.js';
import { Trends } from './trends.js';

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
  readonly disableVerification: boolean;
}

/** A migration that can be run. In INITIALIZING from the moment it is made, so the front doors can open at once. */
export interface Migration extends MigrationControl {
  /**
   * Runs until `signal` aborts (then resolves, everything flushed and closed) or until it cannot go on (then rejects
   * with the AppError that ends the process). A failed migration rejects too; the caller decides whether to stay up.
   */
  run(signal: AbortSignal): Promise<void>;
}

/** Makes a migration; nothing is connected before `run`. */
export function createMigration(config: MigrationConfig, logger: Logger): Migration {
  return new LiveMigration(config, logger);
}

const NOT_VERIFIED =
  'The data is not verified: this version of mongoferry has no verifier. Compare the clusters by other means before relying on the destination.';
/** Findings that a running migration causes itself. */
const OUR_DOING = new Set(['DestinationNotEmpty', 'DestinationWritesBlocked']);
const STOP_MS = 8000;
const CLOSE_MS = 1500;

interface Session {
  readonly run: MigrationRun;
  /** Settles when the run has ended, for whatever reason; never rejects. */
  readonly ended: Promise<void>;
  stop(): Promise<void>;
}

/**
 * The one migration of a process: calls are carried out one at a time, the state machine decides which are legal, and a
 * session runs the phases while the state is RUNNING or COMMITTING.
 */
class LiveMigration implements Migration {
  readonly #config: MigrationConfig;
  readonly #logger: Logger;
  readonly #listeners = new Set<() => void>();
  readonly #machine = new StateMachine(() => this.#changed());
  readonly #startedAt = new Date();
  readonly #health: Health = { sourcePingMs: undefined, destinationPingMs: undefined, oldestOplogSeconds: undefined };
  readonly #trends = new Trends();
  readonly #warnings = new Set<string>();
  readonly #fatal: Deferred<never> = deferred();
  readonly #clusters: Cluster[] = [];
  #lease: Lease | undefined;
  #context: RunContext | undefined;
  #session: Session | undefined;
  #lastRun: MigrationRun | undefined;
  #failure: FailureRecord | undefined;
  #calls: Promise<unknown> = Promise.resolve();
  #signal: AbortSignal = AbortSignal.abort();
  #flags = '';

  constructor(config: MigrationConfig, logger: Logger) {
    this.#config = config;
    this.#logger = logger.component('migration');
  }

  get ready(): boolean {
    return (
      this.#machine.state !== 'INITIALIZING' &&
      this.#failure === undefined &&
      this.#clusters.every((each) => each.outage === undefined) &&
      (this.#lease?.held ?? true)
    );
  }

  snapshot(): Snapshot {
    return takeSnapshot(this.#sources());
  }

  namespaces(): readonly NamespaceSnapshot[] {
    return this.#lastRun === undefined || this.#context === undefined
      ? []
      : namespaceSnapshots(this.#lastRun, this.#context);
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async run(signal: AbortSignal): Promise<void> {
    const link = linkAbort(signal);
    this.#signal = link.signal;
    try {
      const clusters = await connectClusters(
        this.#config,
        this.#logger,
        (cluster) => this.#clusters.push(cluster),
        link.signal,
      );
      await this.#recover(clusters, link.signal);
      await Promise.race([aborted(link.signal), this.#fatal.promise]);
    } catch (error) {
      if (!signal.aborted) throw this.#asFailure(error);
    } finally {
      await settlesWithin(this.#session?.stop() ?? Promise.resolve(), STOP_MS);
      link.abort(new AppError('ShuttingDown', 'the process is stopping'));
      link.dispose();
      await settlesWithin(this.#lease?.release() ?? Promise.resolve(), CLOSE_MS);
      await settlesWithin(Promise.all(this.#clusters.map((each) => each.close())), CLOSE_MS);
    }
  }

  start(options: StartOptions): Promise<void> {
    return this.#exclusive(async (signal) => {
      const wanted = this.#resolve(options);
      if (this.#machine.state !== 'IDLE') return this.#startAgain(wanted);
      this.#machine.check('start');
      await this.#start(wanted, options.skipDiskSpaceCheck === true, signal);
    });
  }

  pause(): Promise<void> {
    return this.#exclusive(async (signal) => {
      this.#machine.check('pause');
      const record = this.#running().record;
      await this.#session?.stop();
      if (this.#failure !== undefined) throw this.#failed();
      try {
        await this.#machine.move('pause', (state) =>
          record.update({ state, eventsApplied: this.#lastRun?.eventsApplied ?? 0 }, signal),
        );
      } catch (error) {
        this.#open();
        throw error;
      }
    });
  }

  resume(): Promise<void> {
    return this.#exclusive(async (signal) => {
      this.#machine.check('resume');
      const { record } = this.#running();
      await this.#machine.move('resume', (state) => record.update({ state }, signal));
      this.#open();
    });
  }

  commit(): Promise<void> {
    return this.#exclusive(async (signal) => {
      this.#machine.check('commit');
      const obstacle = commitObstacle(this.#sources());
      if (obstacle !== undefined)
        throw new AppError('InvalidStateTransition', `commit is not permitted while canCommit is false: ${obstacle}`, {
          metadata: { state: this.#machine.state },
        });
      const { record, commitCalled } = this.#running();
      await this.#machine.move('commit', (state) => record.update({ state, commit: { step: 'drain' } }, signal));
      commitCalled.resolve();
    });
  }

  reverse(): Promise<void> {
    return this.#exclusive(async () => {
      this.#machine.check('reverse');
      throw new AppError(
        'InvalidStateTransition',
        'reverse is not permitted: the migration was not started with reversible',
        { metadata: { state: this.#machine.state } },
      );
    });
  }

  check(options: StartOptions): Promise<readonly Finding[]> {
    return this.#exclusive((signal) =>
      this.#findings(this.#resolve(options), options.skipDiskSpaceCheck === true, signal),
    );
  }

  /** What stands against a start; of what a migration that is there already causes itself, only that it is there. */
  async #findings(wanted: MigrationOptions, skipDiskSpaceCheck: boolean, signal: AbortSignal): Promise<Finding[]> {
    const [source, destination] = this.#roles(wanted);
    const checks = {
      blocksDestination: blocksDestination(wanted),
      skipDiskSpaceCheck,
      buildIndexes: wanted.buildIndexes,
      copyInNaturalOrder: wanted.copyInNaturalOrder,
      documentFilter: wanted.documentFilter,
    };
    const findings = await preflight(source, destination, checks, signal);
    const { state } = this.#machine;
    const store = new MetadataStore(destination, metadataDatabase(this.#config.migrationName));
    const existing = state === 'IDLE' ? await checkMetadata(store, signal) : migrationExists(state, store.db);
    if (existing === undefined) return findings;
    return [existing, ...findings.filter((each) => existing.name !== 'MigrationExists' || !OUR_DOING.has(each.name))];
  }

  /** One call after the other; rejected while the process cannot serve it. Driver errors become ours. */
  #exclusive<T>(call: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const turn = this.#calls.then(async () => {
      if (this.#failure !== undefined) throw this.#failed();
      if (this.#signal.aborted) throw new AppError('ShuttingDown', 'the process is stopping');
      try {
        return await call(this.#signal);
      } catch (error) {
        throw clusterError(error, 'a cluster', 'carrying out the call', 'Internal');
      }
    });
    this.#calls = turn.catch(() => undefined);
    return turn;
  }

  async #recover(clusters: readonly [Cluster, Cluster], signal: AbortSignal): Promise<void> {
    const found = await findMigration(clusters, metadataDatabase(this.#config.migrationName), signal);
    if (found === undefined) {
      this.#machine.recover('IDLE');
      this.#logger.info('No migration found on the clusters; waiting for start');
      return;
    }
    await this.#adopt(found, signal);
  }

  async #adopt(found: Found, signal: AbortSignal): Promise<void> {
    const { source, destination } = found;
    this.#refuseFailed(found.record);
    const { lease, store } = this.#leased(destination);
    await lease.take(signal);
    // Another process may have gone on with it until it gave up the lease.
    const current = (await store.loadMigration(signal)) ?? found.record;
    this.#prepare(source, destination, store, lease, current);
    this.#refuseFailed(current);
    this.#logger.info('Going on with the migration found on the destination', {
      state: current.state,
      phase: current.phase,
    });
    if (current.state === 'COMMITTING') this.#context?.commitCalled.resolve();
    const isRunning = current.state === 'RUNNING' || current.state === 'COMMITTING';
    // Before the state is shown: a stream ends at COMMITTED, and its last message must tell canWrite.
    if (!isRunning) await this.#show(signal);
    this.#machine.recover(current.state as State);
    if (isRunning) this.#open();
  }

  /** What has failed for good is not tried again; progress shows the state in which it failed. */
  #refuseFailed(record: MigrationRecord): void {
    if (record.failure === undefined) return;
    this.#failure = record.failure;
    this.#machine.recover(record.state as State);
    throw new AppError('MigrationFailed', `this migration has failed before: ${record.failure.description}`);
  }

  /** In PAUSED and COMMITTED nothing runs, but progress still tells how far it came. */
  async #show(signal: AbortSignal): Promise<void> {
    const context = this.#running();
    await context.collections.load(signal);
    const run = new MigrationRun(context);
    run.copy.load(context.collections, await context.record.store.loadPartitions(signal));
    if (context.record.value.phase === 'apply' || context.record.value.phase === 'done') run.copy.finish();
    this.#lastRun = run;
  }

  async #start(wanted: MigrationOptions, skipDiskSpaceCheck: boolean, signal: AbortSignal): Promise<void> {
    const [source, destination] = this.#roles(wanted);
    const findings = await this.#findings(wanted, skipDiskSpaceCheck, signal);
    const blockers = findings.filter((each) => each.severity === 'blocker');
    if (blockers[0] !== undefined) throw preflightError(blockers);
    const { lease, store } = this.#leased(destination);
    if (!(await lease.tryTake(signal)))
      throw new AppError('LeaseHeld', 'another process is migrating into this destination');
    try {
      const record = newRecord(wanted, source, destination);
      await this.#machine.move('start', async () => {
        await storeStart(store, record, destination, signal);
        this.#prepare(source, destination, store, lease, record);
      });
    } catch (error) {
      await lease.release();
      throw error;
    }
    this.#logger.info('Started the migration', { source: source.label, destination: destination.label });
    this.#open();
  }

  /** Runbooks call start after a restart: the same options are welcome while the migration goes on. */
  #startAgain(wanted: MigrationOptions): void {
    const { state } = this.#machine;
    if (state !== 'RUNNING' && state !== 'PAUSED' && state !== 'COMMITTING') {
      if (state === 'COMMITTED') {
        throw new AppError(
          'InvalidStateTransition',
          `the migration is COMMITTED; to begin another one, drop the database ${metadataDatabase(this.#config.migrationName)} on the destination and restart mongoferry`,
          { metadata: { state } },
        );
      }
      this.#machine.check('start');
    }
    refuseOtherOptions(wanted, this.#running().record.value, state);
  }

  #resolve(options: StartOptions): MigrationOptions {
    const resolved = resolveStartOptions(options);
    return completeOptions(
      resolved,
      this.#clusters.find((each) => each.name === resolved.source),
    );
  }

  #roles(options: MigrationOptions): [Cluster, Cluster] {
    const find = (name: string): Cluster => {
      const cluster = this.#clusters.find((each) => each.name === name);
      if (cluster === undefined) throw new AppError('ClusterUnreachable', `${name} is not connected yet`);
      return cluster;
    };
    return [find(options.source), find(options.destination)];
  }

  #leased(destination: Cluster): { lease: Lease; store: MetadataStore } {
    const lease = new Lease(this.#logger.component('lease'));
    const store = new MetadataStore(destination, metadataDatabase(this.#config.migrationName));
    destination.guardWrites(() => lease.assertHeld());
    lease.bind(store);
    return { lease, store };
  }

  #prepare(source: Cluster, destination: Cluster, store: MetadataStore, lease: Lease, record: MigrationRecord): void {
    this.#lease = lease;
    this.#warnings.add(NOT_VERIFIED);
    for (const warning of record.warnings) this.#warnings.add(warning);
    const stored = new StoredRecord(store, record);
    this.#context = {
      source,
      destination,
      record: stored,
      collections: new CollectionMap(store),
      lease,
      load: loadOf(this.#config.loadLevel),
      logger: this.#logger,
      blocksDestination: record.options['writeBlocking'] === 'destinationOnly',
      buildIndexes: record.options['buildIndexes'] as BuildIndexes,
      commitCalled: deferred(),
      onWarning: (warning) => this.#warn(warning),
      onChange: () => this.#changed(),
    };
    lease.keep(this.#signal).catch((error: unknown) => {
      if (!this.#signal.aborted) this.#fatal.reject(error);
    });
    monitor(
      { source, destination },
      this.#health,
      { onTick: () => this.#tick(), onProgressLog: () => this.#logProgress() },
      this.#logger,
      this.#signal,
    ).catch((error: unknown) => {
      if (!this.#signal.aborted) this.#fatal.reject(error);
    });
  }

  /** Opens a session; its end, good or bad, is handled here. */
  #open(): void {
    const context = this.#running();
    const link = linkAbort(this.#signal);
    const run = new MigrationRun(context);
    this.#lastRun = run;
    const ended = run
      .run(link.signal)
      .then(() => this.#complete(context, link.signal))
      .catch((error: unknown) => (link.signal.aborted ? undefined : this.#fail(AppError.from(error), context)))
      .finally(() => link.dispose());
    this.#session = {
      run,
      ended,
      stop: async () => {
        link.abort(new AppError('ShuttingDown', 'the migration is being stopped'));
        await ended;
      },
    };
  }

  async #complete(context: RunContext, signal: AbortSignal): Promise<void> {
    await this.#machine.move('committed', (state) =>
      context.record.update(
        { state, phase: 'done', eventsApplied: this.#lastRun?.eventsApplied ?? 0, warnings: [...this.#warnings] },
        signal,
      ),
    );
    this.#logger.info('The migration is committed');
  }

  /** A failure for good is stored, so that a restart does not run into it again; others end the process only. */
  async #fail(error: AppError, context: RunContext): Promise<void> {
    if (error.row.exit === ExitCode.failed) {
      const blocked = context.record.value.blockedDestination
        ? ` Writes to the destination are still blocked; to lift that, run there: db.adminCommand({setUserWriteBlockMode: 1, global: false}).`
        : '';
      const description = `${error.message}.${blocked} To begin anew, drop the migrated databases and ${context.record.store.db} on the destination.`;
      const failure = { error: error.code, description, at: new Date() };
      this.#failure = failure;
      this.#changed();
      try {
        await context.record.update({ failure }, AbortSignal.timeout(10_000));
      } catch (cause) {
        this.#logger.error(`The failure could not be stored: ${safeText(cause)}`);
      }
    }
    this.#fatal.reject(error);
  }

  #asFailure(error: unknown): AppError {
    return clusterError(error, 'a cluster', 'running the migration', 'Internal');
  }

  #failed(): AppError {
    return new AppError(
      'MigrationFailed',
      this.#failure === undefined ? 'the migration has failed' : `${this.#failure.error}: ${this.#failure.description}`,
    );
  }

  #running(): RunContext {
    if (this.#context === undefined)
      throw new AppError('Internal', `no migration is at hand in state ${this.#machine.state}`);
    return this.#context;
  }

  #warn(warning: string): void {
    if (this.#warnings.has(warning)) return;
    this.#warnings.add(warning);
    this.#logger.warn(warning);
    this.#changed();
  }

  #sources(): SnapshotSources {
    const outages = this.#clusters.flatMap((each) => (each.outage === undefined ? [] : [each.outage]));
    return {
      state: this.#machine.state,
      failure: this.#failure,
      run: this.#lastRun,
      context: this.#context,
      health: this.#health,
      rates: this.#trends.rates,
      earlierLag: this.#trends.earlierLag,
      warnings: [...this.#warnings, ...outages],
      instanceId: this.#config.instanceId,
      startedAt: this.#startedAt,
    };
  }

  #tick(): void {
    const snapshot = this.snapshot();
    this.#trends.sample(this.#lastRun, snapshot);
    const flags = `${snapshot.canCommit} ${snapshot.canWrite} ${snapshot.info} ${snapshot.ceaStage} ${snapshot.warnings.length}`;
    if (flags === this.#flags) return;
    this.#flags = flags;
    this.#changed();
  }

  #logProgress(): void {
    const { state, lag, oplogTimeRemaining, totalEventsApplied, rates } = this.snapshot();
    this.#logger.info('Replication progress', {
      state,
      lagTimeSeconds: lag?.overallSeconds,
      estimatedOplogTimeRemaining: oplogTimeRemaining,
      totalEventsApplied,
      eventApplicationRatePerSecond: Math.round(rates.eventsPerSecond),
    });
  }

  #changed(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}
