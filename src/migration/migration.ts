/** Runs the migration of one server process: connects, goes on with what is stored, and takes calls. */
import type { Cluster } from '../cluster/cluster.js';
import { clusterError } from '../cluster/errors.js';
import { AppError, type FieldViolation } from '../errors.js';
import type { Logger } from '../lib/logger.js';
import { aborted, linkAbort, rejectOnAbort, settlesWithin, sleep } from '../lib/signals.js';
import type { State } from '../metadata/state.js';
import type { Finding } from '../preflight/finding.js';
import type { MigrationControl, Mismatch, NamespaceSnapshot, RepairOutcome, Snapshot } from '../progress/control.js';
import { readLeftMismatches } from '../progress/mismatch-list.js';
import { namespaceSnapshots } from '../progress/namespaces.js';
import type { ObservedRun } from '../progress/observed.js';
import { connectClusters } from '../start/connect.js';
import type { StartOptions } from '../start/options.js';
import { findMigration } from '../start/recover.js';
import { Calls } from './calls.js';
import { ChangedPlaces, type HelpedMigration } from './helped.js';
import { type MigrationConfig, MigrationProcess, type ProcessHooks } from './migration-process.js';
import { Others } from './others.js';
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
/** Of the place of this instance among others: how long a call waits until it is known. */
const PLACED_MS = 5000;
const PLACED_LOOK_MS = 50;
const MAX_CHANGES = 5;

/**
 * The one migration of a process, from its connections to its end. Calls are carried out one at a time by `Calls`, the
 * state machine decides which are legal, and the session runs what the state asks for.
 */
class LiveMigration implements Migration {
  readonly #process: MigrationProcess;
  readonly #calls: Calls;
  readonly #others: Others;
  /** Settles once this instance has left its last place. */
  #following: Promise<void> = Promise.resolve();
  #namespaces:
    | { readonly run: ObservedRun; readonly atMs: number; readonly rows: readonly NamespaceSnapshot[] }
    | undefined;

  constructor(process: MigrationProcess) {
    this.#process = process;
    this.#calls = new Calls(process);
    this.#others = new Others(process);
    process.onLook = (): void => {
      void this.#calls.lookAround().catch((error: unknown) => {
        if (!process.signal.aborted)
          process.logger.warn('What other instances were called could not be done', { error });
      });
    };
  }

  get ready(): boolean {
    return this.#process.failure === undefined && this.unreadiness === undefined;
  }

  get unreadiness(): string | undefined {
    return this.#process.unreadiness;
  }

  snapshot(): Snapshot {
    return this.#process.helping?.snapshot() ?? this.#process.reporter.snapshot();
  }

  /** Made once a second at most, whoever asks: there may be 50,000, and any number of streams. */
  namespaces(): readonly NamespaceSnapshot[] {
    const { work, helping } = this.#process;
    if (helping !== undefined) return helping.namespaces();
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

  async start(options: StartOptions, caller?: AbortSignal): Promise<void> {
    const begin = async (calls: Calls): Promise<void> => {
      const starting = (): Promise<void> => calls.start(options, caller);
      if (await this.#others.start(starting)) return;
      await this.#placed('IDLE');
      // Another instance was first: this one helps it, if it was asked for the same.
      await this.#call(starting, (helping) => helping.start(options, caller));
    };
    await this.#call(begin, (helping) => helping.start(options, caller));
  }

  async pause(caller?: AbortSignal): Promise<void> {
    await this.#call(
      (calls) => calls.pause(caller),
      (helping) => helping.pause(caller),
    );
    await this.#placed();
  }

  resume(caller?: AbortSignal): Promise<void> {
    return this.#call(
      (calls) => calls.resume(caller),
      (helping) => helping.resume(caller),
    );
  }

  commit(caller?: AbortSignal): Promise<void> {
    return this.#call(
      (calls) => calls.commit(caller),
      (helping) => helping.commit(caller),
    );
  }

  reverse(caller?: AbortSignal): Promise<void> {
    return this.#call(
      (calls) => calls.reverse(caller),
      (helping) => helping.reverse(caller),
    );
  }

  check(options: StartOptions, caller?: AbortSignal): Promise<readonly Finding[]> {
    return this.#calls.check(options, caller);
  }

  mismatches(after: string, limit: number, caller?: AbortSignal): Promise<readonly Mismatch[]> {
    const { config, db, failure, logger } = this.#process;
    if (failure !== undefined) return readLeftMismatches(config, db, logger, { after, limit });
    return this.#call(
      (calls) => calls.mismatches(after, limit, caller),
      (helping) => helping.mismatches(after, limit, caller),
    );
  }

  repair(ids: readonly string[], caller?: AbortSignal): Promise<RepairOutcome> {
    return this.#call(
      (calls) => calls.repair(ids, caller),
      (helping) => helping.repair(ids, caller),
    );
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
      this.#following = this.#follow(clusters);
      await Promise.race([aborted(process.signal), process.died, this.#following]);
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
    // One that helps gives back what it has.
    await this.#settled(this.#following, began);
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

  /** Goes from one place to the next, as calls and other instances have it: IDLE, coordinating, helping. */
  async #follow(clusters: readonly [Cluster, Cluster]): Promise<void> {
    const process = this.#process;
    const { db, logger, machine, signal } = process;
    const warn = (error: AppError): void => logger.warn(error.message);
    for (let isPaused = false; ; ) {
      const { stoodDown } = process;
      const found = await findMigration(clusters, db, warn, signal);
      const outcome = found === undefined ? 'idle' : await goOn(found, process, isPaused);
      isPaused = false;
      if (outcome === 'resumes') await this.#resume();
      if (found === undefined) {
        machine.recover('IDLE');
        logger.info('No migration found on the clusters; waiting for start');
      }
      if (outcome === 'moved') await sleep(LOOK_MS, signal);
      else if (outcome === 'idle') {
        using link = linkAbort(signal);
        isPaused = await Promise.race([this.#others.begun(link.signal).then(() => false), stoodDown.then(() => true)]);
        link.abort();
        if (!isPaused) machine.leave();
      } else {
        await Promise.race([stoodDown, rejectOnAbort(signal)]);
        isPaused = true;
      }
    }
  }

  /** This instance was at work while the one that coordinated was paused: it goes on. */
  async #resume(): Promise<void> {
    try {
      await this.#calls.resume();
    } catch (error) {
      this.#process.logger.warn('The migration could not be resumed; call resume', { error });
    }
  }

  /** Resolves once it is known which place this instance has, not that of `left`, or is not waited for any longer. */
  async #placed(left?: State): Promise<void> {
    const process = this.#process;
    const began = performance.now();
    const isBetween = (): boolean => process.state === 'INITIALIZING' || process.state === left;
    while (isBetween() && !process.isHelping && performance.now() - began < PLACED_MS)
      await sleep(PLACED_LOOK_MS, process.signal);
  }

  /** A call, in the place that this instance has, or takes meanwhile. */
  async #call<T>(own: (calls: Calls) => Promise<T>, helped: (helping: HelpedMigration) => Promise<T>): Promise<T> {
    const process = this.#process;
    for (let change = 1; ; change++) {
      const { helping } = process;
      try {
        return await (helping === undefined ? own(this.#calls) : helped(helping));
      } catch (error) {
        if (!(error instanceof ChangedPlaces) || change === MAX_CHANGES) throw error;
        await this.#placed();
      }
    }
  }
}
