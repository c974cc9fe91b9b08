/** Carries out what operators call: start, pause, resume, commit, reverse, check, repair. */
import type { Cluster } from '../cluster/cluster.js';
import { clusterError } from '../cluster/errors.js';
import { Scope } from '../cluster/scope.js';
import { AppError, type FieldViolation } from '../errors.js';
import { linkAbort } from '../lib/signals.js';
import { Turns } from '../lib/turns.js';
import type { MigrationOptions } from '../metadata/migration-options.js';
import type { FailureRecord } from '../metadata/records.js';
import type { MigrationEvent } from '../metadata/state.js';
import type { RecordChanges } from '../metadata/store.js';
import type { Finding } from '../preflight/finding.js';
import { commitObstacle } from '../progress/commit-obstacle.js';
import type { Mismatch, RepairOutcome } from '../progress/control.js';
import { readMismatches } from '../progress/mismatch-list.js';
import { checkReverse } from '../reversal/reversal.js';
import { completeOptions, resolveStartOptions, type StartOptions } from '../start/options.js';
import { findingsOf } from '../start/start-findings.js';
import { refuseOtherOptions } from '../start/starting.js';
import type { MigrationProcess } from './migration-process.js';
import { type Move, Moves } from './moves.js';
import type { Session } from './session.js';
import { Starter } from './starter.js';

/** What a call changes besides the state, and what follows from it. */
interface CallEffects extends Pick<Move, 'begin' | 'undo'> {
  readonly changes?: RecordChanges;
}

/** How long a call goes on trying while a cluster does not answer. */
const PATIENCE_MS = 8000;
/** How long a call that comes too early waits for the process to be ready for it, and how often it looks. */
const EARLY_MS = 30_000;
const LOOK_MS = 50;

/** Carries out the operator's calls, one after the other but for `check`. Each is stored before it is answered. */
export class Calls {
  readonly #process: MigrationProcess;
  readonly #turns = new Turns();
  readonly #moves: Moves;

  constructor(process: MigrationProcess) {
    this.#process = process;
    this.#moves = new Moves(process, this.#turns);
  }

  async regexViolations(options: StartOptions): Promise<readonly FieldViolation[]> {
    const source = this.#process.clusters.find((each) => each.name === options.source);
    if (source === undefined) return [];
    const scope = new Scope(source, { ...options, preExistingDestinationData: false });
    try {
      await this.#carryOut((signal) => scope.validate(signal));
      return [];
    } catch (error) {
      // What else is wrong is told all the same; a start that is right in form asks again.
      if (error instanceof AppError) return error.violations;
      throw error;
    }
  }

  async start(options: StartOptions): Promise<void> {
    // What is wrong with the request itself is told at once.
    resolveStartOptions(options);
    await this.#exclusive(async (signal) => {
      const { machine } = this.#process;
      const wanted = this.#resolve(options);
      if (machine.state !== 'IDLE') return this.#startAgain(wanted);
      machine.check('start');
      const [source, destination] = this.#roles(wanted);
      const starter = new Starter(this.#process, this.#moves, { source, destination, options: wanted });
      await starter.start(() => this.#findings(wanted, options.skipDiskSpaceCheck === true, signal), signal);
    });
  }

  pause(): Promise<void> {
    return this.#exclusive(async (signal) => {
      const { machine } = this.#process;
      machine.check('pause');
      const session = this.#session();
      await session.stop();
      if (this.#process.failure !== undefined) throw failed(this.#process.failure);
      const eventsApplied = session.lastRun?.eventsApplied ?? 0;
      const reopen = async (): Promise<void> => session.open();
      await this.#move('pause', { changes: { eventsApplied }, begin: () => undefined, undo: reopen }, signal);
    });
  }

  resume(): Promise<void> {
    return this.#exclusive((signal) => this.#move('resume', { begin: () => this.#session().open() }, signal));
  }

  commit(): Promise<void> {
    return this.#exclusive(async (signal) => {
      const { machine, reporter, logger } = this.#process;
      machine.check('commit');
      const obstacle = commitObstacle(reporter.sources);
      if (obstacle !== undefined)
        throw new AppError('InvalidStateTransition', `commit is not permitted while canCommit is false: ${obstacle}`, {
          metadata: { state: machine.state },
        });
      logger.info('Commit handler called');
      const commit = { step: 'drain' } as const;
      await this.#move('commit', { changes: { commit }, begin: () => this.#session().commit() }, signal);
    });
  }

  reverse(): Promise<void> {
    return this.#exclusive(async (signal) => {
      this.#process.machine.check('reverse');
      const session = this.#session();
      await checkReverse(session.context, signal);
      await this.#move('reverse', { begin: () => session.reverse() }, signal);
    });
  }

  /** Moves the migration that is at hand to the state that a call leads to. */
  async #move(event: MigrationEvent, { changes, begin, undo }: CallEffects, signal: AbortSignal): Promise<void> {
    const to = this.#process.machine.check(event);
    const { held } = this.#session();
    await this.#moves.carryOut(
      {
        event,
        held,
        changes: (state) => ({ ...changes, state }),
        isStored: ({ state }) => state === to,
        begin,
        ...(undo === undefined ? {} : { undo }),
      },
      signal,
    );
  }

  async mismatches(after: string, limit: number): Promise<readonly Mismatch[]> {
    await this.#until(() => this.#isInitialised);
    return await this.#carryOut(async (signal) => {
      const { session } = this.#process;
      return session === undefined ? [] : readMismatches(session.held.store, after, limit, signal);
    });
  }

  repair(ids: readonly string[]): Promise<RepairOutcome> {
    return this.#exclusive(async (signal) => {
      const { session, machine } = this.#process;
      const run = session?.lastRun;
      if (machine.state !== 'RUNNING' || run === undefined) {
        const { state } = machine;
        throw new AppError('InvalidStateTransition', `repair is not permitted in state ${state}; it needs RUNNING`, {
          metadata: { state },
        });
      }
      const repaired = await run.repair(ids, signal);
      return { repaired, remaining: run.verifier?.mismatches.total ?? 0 };
    });
  }

  /** Changes nothing, so it waits for no other call, and for the clusters alone. */
  async check(options: StartOptions): Promise<readonly Finding[]> {
    resolveStartOptions(options);
    await this.#until(() => this.#process.clusters.length === 2);
    return await this.#carryOut((signal) =>
      this.#findings(this.#resolve(options), options.skipDiskSpaceCheck === true, signal),
    );
  }

  /** Resolves once the calls so far have ended, well or not. */
  async ended(): Promise<void> {
    await this.#turns.ended();
  }

  #findings(wanted: MigrationOptions, skipDiskSpaceCheck: boolean, signal: AbortSignal): Promise<Finding[]> {
    const { machine, db, config } = this.#process;
    const [source, destination] = this.#roles(wanted);
    const verifies = wanted.verification && !config.disableVerification;
    return findingsOf({ wanted, source, destination, db, machine, verifies, skipDiskSpaceCheck }, signal);
  }

  /** Runbooks call start after a restart: the same options are welcome while the migration goes on. */
  #startAgain(wanted: MigrationOptions): void {
    const { machine, db } = this.#process;
    const { state } = machine;
    if (state !== 'RUNNING' && state !== 'PAUSED' && state !== 'COMMITTING') {
      if (state === 'COMMITTED') {
        throw new AppError(
          'InvalidStateTransition',
          `the migration is COMMITTED; to begin another one, drop the database ${db} on the destination and restart mongoferry`,
          { metadata: { state } },
        );
      }
      machine.check('start');
    }
    refuseOtherOptions(wanted, this.#session().held.record.value, state);
  }

  #resolve(options: StartOptions): MigrationOptions {
    const resolved = resolveStartOptions(options);
    const source = this.#process.clusters.find((each) => each.name === resolved.source);
    return completeOptions(resolved, source);
  }

  #roles(options: MigrationOptions): [Cluster, Cluster] {
    const find = (name: string): Cluster => {
      const cluster = this.#process.clusters.find((each) => each.name === name);
      if (cluster !== undefined) return cluster;
      const why = this.#process.whyNotConnected(name);
      throw new AppError('ClusterUnreachable', why ?? `${name} is not connected yet`);
    };
    return [find(options.source), find(options.destination)];
  }

  get #isInitialised(): boolean {
    return this.#process.machine.state !== 'INITIALIZING';
  }

  /** Scripts start the process and call at once: what is asked of it too early waits a while instead of being refused. */
  async #until(isReady: () => boolean, called = performance.now()): Promise<void> {
    const isOver = (): boolean =>
      isReady() ||
      this.#process.failure !== undefined ||
      this.#process.signal.aborted ||
      performance.now() - called > EARLY_MS;
    // A process that cannot run at all must not be kept up by who waits for it.
    while (!isOver()) await new Promise<void>((resolve) => setTimeout(resolve, LOOK_MS).unref());
  }

  /** One call after the other, also those that come too early. */
  async #exclusive<T>(call: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const called = performance.now();
    // Not in its turn: that may be long in coming.
    this.#moves.assertSettled();
    return this.#turns.take(async () => {
      await this.#until(() => this.#isInitialised, called);
      this.#refuseTooEarly();
      return this.#carryOut(call);
    });
  }

  #refuseTooEarly(): void {
    const { machine, failure, signal, initialWaits: waits } = this.#process;
    if (this.#isInitialised || failure !== undefined || signal.aborted) return;
    const why = waits.length === 0 ? '' : `: ${waits.join('; ')}`;
    const text = `the process is still INITIALIZING after ${EARLY_MS / 1000} s${why}. Call again when it is ready`;
    throw new AppError('InvalidStateTransition', text, { metadata: { state: machine.state } });
  }

  /**
   * Rejected while the process cannot serve it. Driver errors become ours. A call is not tried for as long as the
   * migration's own work: whoever waits for its answer is told after some seconds that a cluster is away.
   */
  async #carryOut<T>(call: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { failure, signal } = this.#process;
    if (failure !== undefined) throw failed(failure);
    if (signal.aborted) throw new AppError('ShuttingDown', 'the process is stopping');
    const link = linkAbort(signal);
    const started = performance.now();
    const timer = setInterval(() => {
      const outage = this.#process.clusters.find((each) => each.outage !== undefined)?.outage;
      if (outage !== undefined && performance.now() - started > PATIENCE_MS)
        link.abort(new AppError('ClusterUnreachable', outage));
    }, 500);
    try {
      return await call(link.signal);
    } catch (error) {
      throw clusterError(error, 'carrying out the call');
    } finally {
      clearInterval(timer);
      link.dispose();
    }
  }

  #session(): Session {
    const { session, machine } = this.#process;
    if (session === undefined) throw new AppError('Internal', `no migration is at hand in state ${machine.state}`);
    return session;
  }
}

function failed(failure: FailureRecord): AppError {
  return new AppError('MigrationFailed', `${failure.error}: ${failure.description}`);
}
