import { clusterError, safeText } from '../cluster/errors.js';
import { Scope } from '../cluster/scope.js';
import { setBlock } from '../cluster/write-block.js';
import { DETECT_ABOVE_BYTES } from '../copy/natural-order.js';
import { isPastHandover } from '../cutover/commit.js';
import { AppError, ExitCode } from '../errors.js';
import type { Logger } from '../lib/logger.js';
import { linkAbort } from '../lib/signals.js';
import { deferred } from '../lib/tasks.js';
import { CollectionMap } from '../metadata/collections.js';
import type { FailureRecord } from './control.js';
import { loadOf } from './load-level.js';
import type { StateMachine } from './machine.js';
import { type MigrationOptions, storedOptions } from './options.js';
import { keepLease, type Place } from './place.js';
import type { Reporter } from './reporter.js';
import { isGivenUp, moveMigration, prepareDestination, type ReversalContext } from './reversal.js';
import { MigrationRun } from './run.js';
import type { RunContext } from './run-context.js';

/** What a session needs of the process it belongs to. */
export interface SessionContext {
  readonly machine: StateMachine;
  readonly reporter: Reporter;
  readonly logger: Logger;
  /** 1 to 4. */
  readonly loadLevel: number;
  /** Whether the operator left it open. */
  readonly loadLevelIsDefault: boolean;
  readonly disableVerification: boolean;
  /** What tests put in the way. */
  readonly hooks: Partial<Pick<RunContext, 'wrapApplier' | 'detectAboveBytes'>>;
  /** How long a commit tries to block the source, in milliseconds. */
  readonly blockLimitMs: number;
  /** The process's. */
  readonly signal: AbortSignal;
  /** The migration has failed for good; called before that is stored. */
  readonly onFailure: (failure: FailureRecord) => void;
  /** The process cannot go on. */
  readonly onFatal: (error: unknown) => void;
  /** The migration goes on at another place, in a session of its own. */
  readonly enter: (place: Place) => Session;
}

const NOT_VERIFIED =
  'The data is not verified, as was asked for. Compare the clusters by other means before relying on the destination.';
const STORE_MS = 10_000;
const UNBLOCK_MS = 20_000;

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

  /** Precondition: the lease is held. */
  constructor(place: Place, context: SessionContext) {
    this.place = place;
    this.#context = context;
    this.#run = runContext(place, context);
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

  /** Goes through the phases from where the record says, in RUNNING or COMMITTING. */
  open(): void {
    const { machine } = this.#context;
    this.#run = runContext(this.place, this.#context);
    if (machine.state === 'COMMITTING') this.#run.commitCalled.resolve();
    const run = this.#newRun();
    this.work(async (signal) => {
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
    // Of two records the one that has not been committed is the new place's.
    const isMoved = this.place.record.value.commit === undefined;
    this.work(async (signal) => {
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

  #newRun(): MigrationRun {
    const { phase } = this.place.record.value;
    const run = new MigrationRun(this.#run);
    if (phase === 'apply' || phase === 'done') run.copy.finish();
    this.#lastRun = run;
    return run;
  }

  /** Runs a piece of work; what it rejects with ends the process, and the migration if it is for good. */
  work(task: (signal: AbortSignal) => Promise<void>): void {
    const link = linkAbort(this.#context.signal);
    const ended = task(link.signal)
      .catch((error: unknown) => (link.signal.aborted ? undefined : this.#fail(AppError.from(error))))
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
    await this.place.lease.release();
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
    await this.#unblockSource(signal);
    await machine.move('commitGivenUp', (state) => this.place.record.update({ state, commit: undefined }, signal));
    reporter.heldUp(`The commit was given up: ${reason.message}`);
    this.open();
  }

  /** Lifts the source's block if it is ours. */
  async #unblockSource(signal: AbortSignal): Promise<void> {
    const { source, record } = this.place;
    if (record.value.blockedSource !== true) return;
    await setBlock(source, false, signal);
    await record.update({ blockedSource: undefined }, signal);
  }

  /** A failure for good is stored, so that a restart does not run into it again; others end the process only. */
  async #fail(error: AppError): Promise<void> {
    // What a preflight would have found and has come up since is there at the next try, too; a privilege can be given.
    const isUnfit = error.row.exit === ExitCode.preflight && error.code !== 'MissingPrivilege';
    const isForGood = isUnfit || error.row.exit === ExitCode.failed;
    if (isForGood && (await this.#isHandedOver())) {
      // The destination is in use: what is left to do is done by a restart.
      const text = `the commit could not be completed: ${error.code}: ${error.message}`;
      this.#context.onFatal(new AppError('Internal', text, { cause: error }));
      return;
    }
    if (isForGood) await this.#storeFailure(error);
    const text = `${error.code}: ${error.message}`;
    this.#context.onFatal(isUnfit ? new AppError('MigrationFailed', text, { cause: error }) : error);
  }

  /** By the stored record: the steps of a commit are stored past the copy in memory. */
  async #isHandedOver(): Promise<boolean> {
    const { record } = this.place;
    if (record.value.commit === undefined || record.value.state === 'REVERSING') return false;
    try {
      await record.refresh(AbortSignal.timeout(STORE_MS));
    } catch (cause) {
      this.#context.logger.warn(`The record could not be read: ${safeText(cause)}`);
    }
    return record.value.state === 'COMMITTING' && isPastHandover(record.value);
  }

  async #storeFailure(error: AppError): Promise<void> {
    const { record } = this.place;
    const left = await this.#leaveSource();
    const failure = { error: error.code, description: `${error.message}.${left}${this.#advice()}`, at: new Date() };
    this.#context.onFailure(failure);
    try {
      await record.update({ failure }, AbortSignal.timeout(STORE_MS));
    } catch (cause) {
      this.#context.logger.error(`The failure could not be stored: ${safeText(cause)}`);
    }
  }

  /** A commit that fails before the point of no return leaves the source to its users. Resolves with what is left to do. */
  async #leaveSource(): Promise<string> {
    const { source, record } = this.place;
    if (record.value.blockedSource !== true) return '';
    try {
      // The steps of a commit are stored past the copy in memory.
      await record.refresh(AbortSignal.timeout(STORE_MS));
      if (isPastHandover(record.value)) return '';
      await this.#unblockSource(AbortSignal.timeout(UNBLOCK_MS));
      return '';
    } catch (cause) {
      this.#context.logger.error(`The block of ${source.label} could not be lifted: ${safeText(cause)}`);
      return ` Writes to the source are still blocked; to lift that, run on ${source.label}: ${UNBLOCK}.`;
    }
  }

  #advice(): string {
    const { record, destination } = this.place;
    // Not yet turned around: what was the destination has become the applications' own.
    if (record.value.state === 'REVERSING' && record.value.canWrite)
      return ` ${destination.label} keeps its data and goes on accepting writes.`;
    const blocked = record.value.blockedDestination
      ? ` Writes to the destination are still blocked; to lift that, run there: ${UNBLOCK}.`
      : '';
    const which = (record.value.generation ?? 0) > 0 ? `, which is ${destination.label}` : '';
    return `${blocked} To begin anew, drop what was migrated and the database ${record.store.db} on the destination${which}.`;
  }
}

const UNBLOCK = 'db.adminCommand({setUserWriteBlockMode: 1, global: false})';

/** With data of others on the destination a migration goes easier on it, unless the operator has set a level. */
function loadLevelOf({ preExistingDestinationData }: MigrationOptions, context: SessionContext): number {
  return preExistingDestinationData && context.loadLevelIsDefault ? 2 : context.loadLevel;
}

function runContext(place: Place, context: SessionContext): RunContext {
  const { source, destination, record, lease } = place;
  const { reporter, logger } = context;
  const options = storedOptions(record.value);
  const { writeBlocking, buildIndexes, verification } = options;
  return {
    source,
    destination,
    scope: new Scope(source, options),
    record,
    collections: new CollectionMap(place.store),
    lease,
    load: loadOf(loadLevelOf(options, context)),
    logger,
    blocksDestination: writeBlocking !== 'none',
    blocksSource: writeBlocking === 'sourceAndDestination',
    blockLimitMs: context.blockLimitMs,
    buildIndexes,
    verifies: verification && !context.disableVerification,
    commitCalled: deferred(),
    onWarning: (warning) => reporter.warn(warning),
    onHeldUp: (text) => reporter.heldUp(text),
    onChange: () => reporter.changed(),
    wrapApplier: context.hooks.wrapApplier ?? ((applier) => applier),
    detectAboveBytes: context.hooks.detectAboveBytes ?? DETECT_ABOVE_BYTES,
  };
}
