/** Runs a migration in one direction while this process holds its lease; a reversal begins the next session. */
import { clusterError, describeError } from '../cluster/errors.js';
import { unblockSource } from '../cutover/block-source.js';
import { AppError } from '../errors.js';
import { Crew, type CrewHooks } from '../instances/crew.js';
import type { Logger } from '../lib/logger.js';
import { linkAbort } from '../lib/signals.js';
import { MigrationRun } from '../phases/run.js';
import { loadLevelOf, type RunContext, type RunSettings, runContext } from '../phases/run-context.js';
import type { ObservedWork } from '../progress/observed.js';
import { arriveReversed, isGivenUp, leaveForReversal } from '../reversal/reversal.js';
import { type HeldMigration, keepLease } from '../start/held-migration.js';
import { type FailureListener, fail } from './failure.js';
import { Interruption, type Reached } from './interruption.js';
import type { StateMachine } from './machine.js';

/** What a session is told what it reports to. */
export interface SessionReporter {
  /** What the record keeps. */
  readonly warnings: readonly string[];
  /** Warnings that were given before, e.g. by an earlier process. */
  remember(warnings: readonly string[]): void;
  /** What holds up, or has ended, the last commit or reversal. */
  heldUp(warning: string | undefined): void;
  changed(): void;
}

/** What a session needs of the process it belongs to. */
export interface SessionHost extends FailureListener {
  readonly logger: Logger;
  readonly machine: StateMachine;
  readonly reporter: SessionReporter;
  readonly settings: RunSettings;
  readonly crewHooks: CrewHooks;
  /** The process's. */
  readonly signal: AbortSignal;
  /** The migration goes on in another direction, in a session of its own. */
  hold(held: HeldMigration): Session;
}

const NOT_VERIFIED =
  'The data is not verified, because verification is switched off. Compare the clusters by other means before relying on the destination.';

/**
 * The migration that this process has the lease of, and at most one piece of work at a time, from `open` to
 * its end or to `stop`. The end of the work, good or bad, is handled here.
 */
export class Session {
  readonly held: HeldMigration;
  /** The instances that help. */
  readonly crew: Crew;
  readonly #host: SessionHost;
  readonly #loses: () => void;
  #run: RunContext;
  #lastRun: MigrationRun | undefined;
  #work: { readonly stop: () => Promise<void> } | undefined;
  readonly #interruption: Interruption;
  /** Resolves once the other instances are no longer looked at. */
  readonly #looked: Promise<void>;

  /** Precondition: the lease is held. */
  constructor(held: HeldMigration, host: SessionHost) {
    this.held = held;
    this.#host = host;
    this.crew = new Crew(held, host.logger.component('instances'), host.crewHooks);
    this.#run = runContext(held, host.settings, this.crew);
    this.#interruption = new Interruption(held, host.logger, {
      reached: () => this.#reached(),
      onChange: () => host.reporter.changed(),
    });
    host.reporter.remember([...(this.#run.verifies ? [] : [NOT_VERIFIED]), ...held.record.value.warnings]);
    const stopKeeping = keepLease(held.lease, (error) => host.die(error), host.signal);
    const looking = linkAbort(host.signal);
    this.#looked = this.crew.run(looking.signal).catch((error: unknown) => {
      if (!looking.signal.aborted) host.die(error);
    });
    this.#loses = () => {
      stopKeeping();
      looking.abort(new Error('this instance coordinates no more'));
      looking.dispose();
    };
  }

  /** 1 to 4. */
  get loadLevel(): number {
    return loadLevelOf(this.#run.options, this.#host.settings);
  }

  get context(): RunContext {
    return this.#run;
  }

  /** The run that is under way, or the last one. */
  get lastRun(): MigrationRun | undefined {
    return this.#lastRun;
  }

  /** What progress is made of. */
  get observed(): ObservedWork {
    const { interruption, held } = this;
    return { run: this.#lastRun, migration: this.#run, interruption, majorityDelayMs: held.lease.majorityDelayMs };
  }

  /** What has ended the last run and is waited for before the next. */
  get interruption(): string | undefined {
    return this.#interruption.text;
  }

  /** Goes through the phases from where the record says, in RUNNING or COMMITTING. */
  open(): void {
    const begin = (): MigrationRun => {
      this.#run = runContext(this.held, this.#host.settings, this.crew);
      if (this.#host.machine.state === 'COMMITTING') this.#run.commitCalled.resolve();
      return this.#newRun();
    };
    let next: MigrationRun | undefined = begin();
    this.work(async (signal) => {
      const run = next ?? begin();
      next = undefined;
      try {
        await run.run(signal);
      } catch (error) {
        if (!(error instanceof AppError) || error.code !== 'SourceNotBlocked') throw error;
        return await this.#giveUpCommit(error, signal);
      }
      await this.#complete(signal);
    });
  }

  /** The operator has called commit. */
  commit(): void {
    this.#host.reporter.heldUp(undefined);
    this.#run.commitCalled.resolve();
  }

  /** Reverses the migration, in REVERSING, and goes on where its record says. */
  reverse(): void {
    this.#host.reporter.heldUp(undefined);
    if (this.#lastRun === undefined) this.#newRun();
    this.work(async (signal) => {
      // Of two records the one that has not been committed is the new destination's.
      const isMoved = this.held.record.value.commit === undefined;
      try {
        await (isMoved ? this.#arrive(signal) : this.#move(signal));
      } catch (error) {
        signal.throwIfAborted();
        throw clusterError(error, 'reversing the migration');
      }
    });
  }

  /** In PAUSED and COMMITTED nothing runs, but progress still tells how far it came. */
  async show(signal: AbortSignal): Promise<void> {
    await this.#newRun().load(signal);
  }

  #reached(): Reached {
    const { state, phase, commit, generation = 0 } = this.held.record.value;
    const stage = [state, phase, commit?.step, generation].join();
    const run = this.#lastRun;
    return { stage, events: run?.eventsApplied ?? 0, bytes: run?.copy.totals.copiedBytes ?? 0 };
  }

  #newRun(): MigrationRun {
    this.#lastRun = new MigrationRun(this.#run);
    return this.#lastRun;
  }

  /**
   * Runs a piece of work, and again after what may pass. What it rejects with in the end ends the process, and the
   * migration if it is for good.
   */
  work(task: (signal: AbortSignal) => Promise<void>): void {
    const link = linkAbort(this.#host.signal);
    const ended = this.#interruption
      .outlast(task, link.signal)
      .catch((error: unknown) => (link.signal.aborted ? undefined : fail(this.held, AppError.from(error), this.#host)))
      .finally(() => link.dispose());
    const stop = async (): Promise<void> => {
      link.abort(new AppError('ShuttingDown', 'the migration is being stopped'));
      await ended;
    };
    this.#work = { stop };
  }

  /** Resolves once nothing runs any more. */
  async stop(): Promise<void> {
    await this.#work?.stop();
  }

  /**
   * The lease is no longer renewed: the migration has been turned around, or the process ends, or another instance
   * coordinates. Resolves once the other instances are no longer looked at.
   */
  async leave(): Promise<void> {
    this.#loses();
    await this.#looked;
  }

  async #move(signal: AbortSignal): Promise<void> {
    const { machine, reporter, logger } = this.#host;
    let turned: HeldMigration;
    try {
      turned = await leaveForReversal(this.#run, (error) => this.#host.die(error), signal);
    } catch (error) {
      if (!isGivenUp(error)) throw error;
      await machine.move('reverseGivenUp', (state) => this.held.record.update({ state }, signal));
      reporter.heldUp(`The reversal was given up: ${error.message}`);
      return;
    }
    logger.info('The migration has moved to what was its source', { destination: turned.destination.label });
    const next = this.#host.hold(turned);
    // What is left behind runs out by itself: its refusal must not begin the reversal anew, beside the session that goes on.
    await this.held.lease.release().catch((error: unknown) => {
      logger.warn(`The lease of the old direction could not be given back: ${describeError(error)}`);
    });
    next.reverse();
  }

  async #arrive(signal: AbortSignal): Promise<void> {
    const { machine, logger } = this.#host;
    const ready = await arriveReversed(this.#run, signal);
    await machine.move('reversed', (state) => this.held.record.update({ ...ready, state, putBack: undefined }, signal));
    logger.info('The migration is reversed', { source: this.held.source.label });
    this.open();
  }

  async #complete(signal: AbortSignal): Promise<void> {
    const { machine, reporter, logger } = this.#host;
    const eventsApplied = this.#lastRun?.eventsApplied ?? 0;
    await machine.move('committed', (state) =>
      this.held.record.update({ state, phase: 'done', eventsApplied, warnings: reporter.warnings }, signal),
    );
    logger.info('The migration is committed');
  }

  /** The source could not be blocked, and no commit time was taken: nothing has happened that a later commit would miss. */
  async #giveUpCommit(reason: AppError, signal: AbortSignal): Promise<void> {
    const { machine, reporter } = this.#host;
    await unblockSource(this.held, signal);
    await machine.move('commitGivenUp', (state) => this.held.record.update({ state, commit: undefined }, signal));
    reporter.heldUp(`The commit was given up: ${reason.message}`);
    this.open();
  }
}
