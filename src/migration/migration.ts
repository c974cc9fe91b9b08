/** Runs the migration of one server process: connects, goes on with what is stored, and takes calls. */
import type { Cluster } from '../cluster/cluster.js';
import { clusterError } from '../cluster/errors.js';
import { AppError, type FieldViolation } from '../errors.js';
import type { Logger } from '../lib/logger.js';
import { aborted, settlesWithin } from '../lib/signals.js';
import type { Finding } from '../preflight/finding.js';
import type { MigrationControl, Mismatch, NamespaceSnapshot, RepairOutcome, Snapshot } from '../progress/control.js';
import { readLeftMismatches } from '../progress/mismatch-list.js';
import { namespaceSnapshots } from '../progress/namespaces.js';
import type { ObservedRun } from '../progress/observed.js';
import { connectClusters } from '../start/connect.js';
import type { StartOptions } from '../start/options.js';
import { findMigration } from '../start/recover.js';
import { Calls } from './calls.js';
import { type MigrationConfig, MigrationProcess, type ProcessHooks } from './migration-process.js';
import { goOn } from './startup.js';

/** A migration that can be run. In INITIALIZING from the moment it is made, so the front doors can open at once. */
export interface Migration extends MigrationControl {
  /**
   * Runs until `signal` aborts (then resolves, everything flushed and closed) or until it cannot go on (then rejects
   * with the AppError that ends the process). A failed migration rejects too; the caller decides whether to stay up.
   */
  run(signal: AbortSignal): Promise<void>;
}

/** What tests may put in the way of a migration's work. */
export type MigrationHooks = ProcessHooks;

/** Makes a migration; nothing is connected before `run`. */
export function createMigration(config: MigrationConfig, logger: Logger, hooks: MigrationHooks = {}): Migration {
  return new LiveMigration(new MigrationProcess(config, logger.component('migration'), hooks));
}

/** For the work and the calls to end. */
const STOP_MS = 6500;
/** The same while a cluster does not answer: the driver keeps a connection that it is just opening five seconds longer. */
const HUNG_MS = 3000;
const LOOK_MS = 250;
const CLOSE_MS = 1000;
const NAMESPACES_MS = 900;

/**
 * The one migration of a process, from its connections to its end. Calls are carried out one at a time by `Calls`, the
 * state machine decides which are legal, and the session runs what the state asks for.
 */
class LiveMigration implements Migration {
  readonly #process: MigrationProcess;
  readonly #calls: Calls;
  #namespaces:
    | { readonly run: ObservedRun; readonly atMs: number; readonly rows: readonly NamespaceSnapshot[] }
    | undefined;

  constructor(process: MigrationProcess) {
    this.#process = process;
    this.#calls = new Calls(process);
  }

  get ready(): boolean {
    return this.#process.failure === undefined && this.unreadiness === undefined;
  }

  get unreadiness(): string | undefined {
    return this.#process.unreadiness;
  }

  snapshot(): Snapshot {
    return this.#process.reporter.snapshot();
  }

  /** Made once a second at most, whoever asks: there may be 50,000, and any number of streams. */
  namespaces(): readonly NamespaceSnapshot[] {
    const { work } = this.#process;
    if (work?.run === undefined) return [];
    const now = performance.now();
    if (this.#namespaces?.run !== work.run || now - this.#namespaces.atMs > NAMESPACES_MS)
      this.#namespaces = { run: work.run, atMs: now, rows: namespaceSnapshots(work.run, work.migration) };
    return this.#namespaces.rows;
  }

  onChange(listener: () => void): () => void {
    return this.#process.reporter.onChange(listener);
  }

  regexViolations(options: StartOptions, caller?: AbortSignal): Promise<readonly FieldViolation[]> {
    return this.#calls.regexViolations(options, caller);
  }

  start(options: StartOptions, caller?: AbortSignal): Promise<void> {
    return this.#calls.start(options, caller);
  }

  pause(caller?: AbortSignal): Promise<void> {
    return this.#calls.pause(caller);
  }

  resume(caller?: AbortSignal): Promise<void> {
    return this.#calls.resume(caller);
  }

  commit(caller?: AbortSignal): Promise<void> {
    return this.#calls.commit(caller);
  }

  reverse(caller?: AbortSignal): Promise<void> {
    return this.#calls.reverse(caller);
  }

  check(options: StartOptions, caller?: AbortSignal): Promise<readonly Finding[]> {
    return this.#calls.check(options, caller);
  }

  mismatches(after: string, limit: number, caller?: AbortSignal): Promise<readonly Mismatch[]> {
    const { config, db, failure, logger } = this.#process;
    return failure === undefined
      ? this.#calls.mismatches(after, limit, caller)
      : readLeftMismatches(config, db, logger, { after, limit });
  }

  repair(ids: readonly string[], caller?: AbortSignal): Promise<RepairOutcome> {
    return this.#calls.repair(ids, caller);
  }

  async run(signal: AbortSignal): Promise<void> {
    const process = this.#process;
    const stop = (): void => process.end(signal.reason as Error);
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
    try {
      const clusters = await connectClusters(
        { ...process.config, makeClient: process.hooks.makeClient },
        process.logger,
        {
          onConnected: (cluster) => process.clusters.push(cluster),
          onWaiting: (name, text) => process.waitFor(name, text),
        },
        process.signal,
      );
      await this.#recover(clusters);
      await Promise.race([aborted(process.signal), process.died]);
    } catch (error) {
      if (!signal.aborted) throw clusterError(error, 'running the migration');
    } finally {
      signal.removeEventListener('abort', stop);
      await this.#end();
    }
  }

  /** Takes less than a supervisor waits, whatever hangs; what is in order first stores how far it has come. */
  async #end(): Promise<void> {
    const { clusters, session } = this.#process;
    const began = performance.now();
    await this.#settled(session?.stop() ?? Promise.resolve(), began);
    this.#process.end(new AppError('ShuttingDown', 'the process is stopping'));
    // A start that is broken off undoes what it has done.
    await this.#settled(this.#calls.ended(), began);
    const releasing = this.#process.session?.held.lease.release() ?? Promise.resolve();
    await settlesWithin(releasing, this.#hangs ? LOOK_MS : CLOSE_MS);
    await settlesWithin(Promise.all(clusters.map((each) => each.close())), CLOSE_MS);
  }

  /** Resolves once `work` has ended, or is not waited for any longer. */
  async #settled(work: Promise<unknown>, began: number): Promise<void> {
    while (!(await settlesWithin(work, LOOK_MS))) {
      const limitMs = this.#hangs ? HUNG_MS : STOP_MS;
      if (performance.now() - began > limitMs) return;
    }
  }

  get #hangs(): boolean {
    return this.#process.clusters.some(({ waitsFor }) => waitsFor.length > 0);
  }

  async #recover(clusters: readonly [Cluster, Cluster]): Promise<void> {
    const { db, logger, machine, signal } = this.#process;
    const warn = (error: AppError): void => logger.warn(error.message);
    const found = await findMigration(clusters, db, warn, signal);
    if (found !== undefined) return await goOn(found, this.#process);
    machine.recover('IDLE');
    logger.info('No migration found on the clusters; waiting for start');
  }
}
