/** Carries out what operators call: start, pause, resume, commit, reverse, check, repair. */

import { Scope } from '../catalog/scope.js';
import type { Cluster } from '../cluster/cluster.js';
import { AppError, type FieldViolation } from '../errors.js';
import { SerialQueue } from '../lib/serial-queue.js';
import type { MigrationOptions } from '../metadata/migration-options.js';
import type { MigrationEvent } from '../metadata/state.js';
import type { RecordChanges } from '../metadata/store.js';
import type { Finding } from '../preflight/finding.js';
import { commitObstacle } from '../progress/commit-obstacle.js';
import type { Mismatch, RepairOutcome } from '../progress/control.js';
import { readMismatches } from '../progress/mismatch-list.js';
import { checkReverse } from '../reversal/reversal.js';
import { completeOptions, resolveStartOptions, type StartOptions } from '../start/options.js';
import { findingsOf } from '../start/start-findings.js';
import { CallGate, type CallNeeds, failureError } from './call-gate.js';
import { Gathering, othersWork } from './gathering.js';
import type { MigrationProcess } from './migration-process.js';
import { type Move, Moves } from './moves.js';
import { Pausing } from './pausing.js';
import type { Session } from './session.js';
import { refuseToStartAgain } from './start-again.js';
import { Starter } from './starter.js';

/** What a call changes besides the state, and what follows from it. */
interface CallEffects extends Pick<Move, 'begin' | 'undo'> {
  readonly changes?: RecordChanges;
}

/**
 * Carries out the operator's calls, each of which is stored before it is answered. `caller` aborts when nobody waits for
 * the answer any more: see CallGate.
 */
export class Calls {
  readonly #process: MigrationProcess;
  readonly #turns = new SerialQueue();
  readonly #moves: Moves;
  readonly #pausing: Pausing;
  readonly #gate: CallGate;
  readonly #gathering: Gathering;
  #isLooking = false;

  constructor(process: MigrationProcess) {
    this.#process = process;
    this.#moves = new Moves(process, this.#turns);
    this.#pausing = new Pausing(this.#moves, process.logger);
    this.#gathering = new Gathering(process);
    this.#gate = new CallGate(process, this.#turns, this.#moves);
  }

  async regexViolations(options: StartOptions, caller?: AbortSignal): Promise<readonly FieldViolation[]> {
    const source = this.#process.clusters.find((each) => each.name === options.source);
    if (source === undefined) return [];
    const scope = new Scope(source, { ...options, preExistingDestinationData: false });
    try {
      await this.#gate.reading(
        () => true,
        { caller },
        (signal) => scope.validate(signal),
      );
      return [];
    } catch (error) {
      // What else is wrong is told all the same; a start that is right in form asks again.
      if (error instanceof AppError) return error.violations;
      throw error;
    }
  }

  /**
   * Errors: InvalidRequest; those of a preflight; InvalidStateTransition when the migration is committed; OptionsDiffer
   * when one with other options is under way; LeaseHeld; ClusterUnreachable.
   */
  async start(options: StartOptions, caller?: AbortSignal): Promise<void> {
    // What is wrong with the request itself is told at once.
    resolveStartOptions(options);
    await this.#gate.exclusive({ caller }, async (signal) => {
      const { machine } = this.#process;
      const wanted = this.#resolve(options);
      if (machine.state !== 'IDLE') return this.#startAgain(wanted);
      machine.check('start');
      const [source, destination] = this.#roles(wanted);
      const starter = new Starter(this.#process, this.#moves, { source, destination, options: wanted });
      await starter.start(() => this.#findings(wanted, options.skipDiskSpaceCheck === true, signal), signal);
    });
  }

  /** Errors: InvalidStateTransition; OutcomeUnknown when work under way has not ended in time. */
  async pause(caller?: AbortSignal): Promise<void> {
    if (this.#pausing.isUnfinished) return this.#pausing.waitAgain();
    await this.#gate.exclusive(this.#ofDestination(caller), async (signal) => {
      const { machine } = this.#process;
      machine.check('pause');
      const session = this.#session();
      const waits = (): readonly string[] => this.#process.waits;
      // With others at work this instance alone is paused, and one of them coordinates.
      const store = (inner: AbortSignal): Promise<void> =>
        othersWork(session) ? this.#process.standDown(inner) : this.#storePause(session, inner);
      await this.#pausing.pause({ stop: () => session.stop(), store, waits }, signal);
    });
  }

  /** Errors: InvalidStateTransition; OutcomeUnknown. */
  resume(caller?: AbortSignal): Promise<void> {
    return this.#gate.exclusive(this.#ofDestination(caller), (signal) =>
      this.#move('resume', { begin: () => this.#session().open() }, signal),
    );
  }

  /** Errors: InvalidStateTransition, also while `canCommit` is false: the text says why; OutcomeUnknown. */
  commit(caller?: AbortSignal): Promise<void> {
    return this.#gate.exclusive(this.#ofDestination(caller), async (signal) => {
      const { machine, reporter } = this.#process;
      machine.check('commit');
      const obstacle = commitObstacle(reporter.sources);
      if (obstacle !== undefined)
        throw new AppError('InvalidStateTransition', `commit is not permitted while canCommit is false: ${obstacle}`, {
          metadata: { state: machine.state },
        });
      await this.#gathering.give(this.#session(), 'commit', () => this.#commitNow(signal), signal);
    });
  }

  async #commitNow(signal: AbortSignal): Promise<void> {
    this.#process.logger.info('Commit handler called');
    const commit = { step: 'drain' } as const;
    const session = this.#session();
    const begin = (): void => {
      session.crew.nextRound();
      session.commit();
    };
    await this.#move('commit', { changes: { commit }, begin }, signal);
  }

  /** Does what other instances make possible: see Gathering. */
  async lookAround(): Promise<void> {
    if (this.#isLooking || this.#gathering.due === undefined) return;
    this.#isLooking = true;
    try {
      await this.#gate.exclusive({ caller: undefined }, async (signal) => {
        const { due } = this.#gathering;
        if (due === 'commit') await this.#commitNow(signal);
        else if (due === 'reverse') await this.#reverseNow(signal);
        else if (due === 'standDown') await this.#process.standDown(signal);
      });
    } finally {
      this.#isLooking = false;
    }
  }

  reverse(caller?: AbortSignal): Promise<void> {
    return this.#gate.exclusive({ caller }, async (signal) => {
      this.#process.machine.check('reverse');
      await checkReverse(this.#session().context, signal);
      await this.#gathering.give(this.#session(), 'reverse', () => this.#reverseNow(signal), signal);
    });
  }

  async #reverseNow(signal: AbortSignal): Promise<void> {
    const session = this.#session();
    await checkReverse(session.context, signal);
    const begin = (): void => {
      session.crew.nextRound();
      session.reverse();
    };
    await this.#move('reverse', { begin }, signal);
  }

  /** Nothing runs any more. */
  async #storePause(session: Session, signal: AbortSignal): Promise<void> {
    if (this.#process.failure !== undefined) throw failureError(this.#process.failure);
    const eventsApplied = session.lastRun?.eventsApplied ?? 0;
    const reopen = async (): Promise<void> => session.open();
    try {
      // What was lost on its way must not arrive while nobody looks.
      await session.held.destination.resolveLostWrites(signal);
      await session.crew.settle(signal);
    } catch (error) {
      await reopen();
      throw error;
    }
    await this.#move('pause', { changes: { eventsApplied }, begin: () => undefined, undo: reopen }, signal);
  }

  /** Of a call that only stores something in the record. */
  #ofDestination(caller: AbortSignal | undefined): CallNeeds {
    const clusters = (): Cluster[] => {
      const { session } = this.#process;
      return session === undefined ? [] : [session.held.destination];
    };
    return { caller, clusters };
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

  mismatches(after: string, limit: number, caller?: AbortSignal): Promise<readonly Mismatch[]> {
    return this.#gate.reading(
      () => this.#gate.isInitialised,
      { caller },
      async (signal) => {
        const { session } = this.#process;
        return session === undefined ? [] : readMismatches(session.held.store, after, limit, signal);
      },
    );
  }

  /** `ids`: of mismatches; none means all. Errors: InvalidStateTransition outside of RUNNING. */
  repair(ids: readonly string[], caller?: AbortSignal): Promise<RepairOutcome> {
    return this.#gate.exclusive({ caller }, async (signal) => {
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
  async check(options: StartOptions, caller?: AbortSignal): Promise<readonly Finding[]> {
    resolveStartOptions(options);
    return this.#gate.reading(
      () => this.#process.clusters.length === 2,
      { caller },
      (signal) => this.#findings(this.#resolve(options), options.skipDiskSpaceCheck === true, signal),
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

  #startAgain(wanted: MigrationOptions): void {
    const { machine, db } = this.#process;
    refuseToStartAgain(wanted, this.#session().held.record.value, machine.state, db);
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

  #session(): Session {
    const { session, machine } = this.#process;
    if (session === undefined) throw new AppError('Internal', `no migration is at hand in state ${machine.state}`);
    return session;
  }
}
