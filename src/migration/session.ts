/** A migration in one direction while this process holds its lease; a reversal begins the next. */
import { clusterError, describeError } from '../cluster/errors.js';
import { AppError } from '../errors.js';
import { linkAbort } from '../lib/signals.js';
import { type FailureContext, fail } from './failure.js';
import { Interruption, type Reached } from './interruption.js';
import type { StateMachine } from './machine.js';
import { storedOptions } from './options.js';
import { keepLease, type Place } from './place.js';
import { isGivenUp, moveMigration, prepareDestination, type ReversalContext } from './reversal.js';
import { MigrationRun } from './run.js';
import type { RunContext } from './run-context.js';
import { loadLevelOf, type RunSettings, runContext } from './run-settings.js';
import { unblockSource } from './source-block.js';

/** What a session needs of the process it belongs to. */
export interface SessionContext extends RunSettings, FailureContext {
  readonly machine: StateMachine;
  /** The process's. */
  readonly signal: AbortSignal;
  /** The migration goes on at another place, in a session of its own. */
  readonly enter: (place: Place) => Session;
}

const NOT_VERIFIED =
  'The data is not verified, as was asked for. Compare the clusters by other means before relying on the destination.';

/**
 * The migration that this process has the lease of: its place, and at most one piece of work at a time, from `open` to
 * its end or to `stop`. The end of the work, good or bad, is handled here.
 */
export class Session {
  readonly place: Place;
  readonly #context: SessionContext;
  readonly #loses: () => void;
  #run: RunContext;
  #lastRun: MigrationRun | undefined;
  #work: { readonly stop: () => Promise<void> } | undefined;
  readonly #interruption: Interruption;

  /** Precondition: the lease is held. */
  constructor(place: Place, context: SessionContext) {
    this.place = place;
    this.#context = context;
    this.#run = runContext(place, context);
    this.#interruption = new Interruption(place, context.logger, {
      reached: () => this.#reached(),
      onChange: () => context.reporter.changed(),
    });
    context.reporter.remember([...(this.#run.verifies ? [] : [NOT_VERIFIED]), ...place.record.value.warnings]);
    this.#loses = keepLease(place.lease, context.onFatal, context.signal);
  }

  /** 1 to 4. */
  get loadLevel(): number {
    return loadLevelOf(storedOptions(this.place.record.value), this.#context);
  }

  get context(): RunContext {
    return this.#run;
  }

  /** The run that is under way, or the last one. */
  get lastRun(): MigrationRun | undefined {
    return this.#lastRun;
  }

  /** What has ended the last run and is waited for before the next. */
  get interruption(): string | undefined {
    return this.#interruption.text;
  }

  /** Goes through the phases from where the record says, in RUNNING or COMMITTING. */
  open(): void {
    const begin = (): MigrationRun => {
      this.#run = runContext(this.place, this.#context);
      if (this.#context.machine.state === 'COMMITTING') this.#run.commitCalled.resolve();
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
    this.#context.reporter.heldUp(undefined);
    this.#run.commitCalled.resolve();
  }

  /** Turns the migration around, from wherever its record says, in REVERSING. */
  reverse(): void {
    this.#context.reporter.heldUp(undefined);
    if (this.#lastRun === undefined) this.#newRun();
    this.work(async (signal) => {
      // Of two records the one that has not been committed is the new place's.
      const isMoved = this.place.record.value.commit === undefined;
      try {
        await (isMoved ? this.#arrive(signal) : this.#move(signal));
      } catch (error) {
        signal.throwIfAborted();
        throw clusterError(error, 'a cluster', 'reversing the migration');
      }
    });
  }

  /** In PAUSED and COMMITTED nothing runs, but progress still tells how far it came. */
  async show(signal: AbortSignal): Promise<void> {
    const { collections, record } = this.#run;
    await collections.load(signal);
    const partitions = await record.store.loadPartitions(signal);
    this.#newRun().copy.load(collections, partitions);
  }

  #reached(): Reached {
    const { state, phase, commit, generation = 0 } = this.place.record.value;
    const stage = [state, phase, commit?.step, generation].join();
    const run = this.#lastRun;
    return { stage, events: run?.eventsApplied ?? 0, bytes: run?.copy.totals.copiedBytes ?? 0 };
  }

  #newRun(): MigrationRun {
    const { phase } = this.place.record.value;
    const run = new MigrationRun(this.#run);
    if (phase === 'apply' || phase === 'done') run.copy.finish();
    this.#lastRun = run;
    return run;
  }

  /**
   * Runs a piece of work, and again after what may pass. What it rejects with in the end ends the process, and the
   * migration if it is for good.
   */
  work(task: (signal: AbortSignal) => Promise<void>): void {
    const link = linkAbort(this.#context.signal);
    const ended = this.#interruption
      .outlast(task, link.signal)
      .catch((error: unknown) =>
        link.signal.aborted ? undefined : fail(this.place, AppError.from(error), this.#context),
      )
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

  /** The lease is no longer renewed: the migration has another place, or the process ends. */
  leave(): void {
    this.#loses();
  }

  async #move(signal: AbortSignal): Promise<void> {
    const { machine, reporter, logger, enter } = this.#context;
    let place: Place;
    try {
      place = await moveMigration(this.#reversal(), signal);
    } catch (error) {
      if (!isGivenUp(error)) throw error;
      await machine.move('reverseGivenUp', (state) => this.place.record.update({ state }, signal));
      reporter.heldUp(`The reversal was given up: ${error.message}`);
      return;
    }
    logger.info('The migration has moved to what was its source', { destination: place.destination.label });
    const next = enter(place);
    // What is left behind runs out by itself: its refusal must not begin the reversal anew, beside the session that goes on.
    await this.place.lease.release().catch((error: unknown) => {
      logger.warn(`The lease of what was left behind could not be given back: ${describeError(error)}`);
    });
    next.reverse();
  }

  async #arrive(signal: AbortSignal): Promise<void> {
    const { machine, logger } = this.#context;
    const ready = await prepareDestination(this.#reversal(), signal);
    await machine.move('reversed', (state) =>
      this.place.record.update({ ...ready, state, putBack: undefined }, signal),
    );
    logger.info('The migration is reversed', { source: this.place.source.label });
    this.open();
  }

  #reversal(): ReversalContext {
    const { loadLevel, logger, onFatal } = this.#context;
    return { run: this.#run, place: this.place, loadLevel, logger, onLeaseLost: onFatal };
  }

  async #complete(signal: AbortSignal): Promise<void> {
    const { machine, reporter, logger } = this.#context;
    const eventsApplied = this.#lastRun?.eventsApplied ?? 0;
    await machine.move('committed', (state) =>
      this.place.record.update({ state, phase: 'done', eventsApplied, warnings: reporter.warnings }, signal),
    );
    logger.info('The migration is committed');
  }

  /** The source could not be blocked, and no commit time was taken: nothing has happened that a later commit would miss. */
  async #giveUpCommit(reason: AppError, signal: AbortSignal): Promise<void> {
    const { machine, reporter } = this.#context;
    await unblockSource(this.place, signal);
    await machine.move('commitGivenUp', (state) => this.place.record.update({ state, commit: undefined }, signal));
    reporter.heldUp(`The commit was given up: ${reason.message}`);
    this.open();
  }
}
