import type { Cluster } from '../cluster/cluster.js';
import { clusterError, safeText } from '../cluster/errors.js';
import { AppError } from '../errors.js';
import type { Logger } from '../lib/logger.js';
import { linkAbort } from '../lib/signals.js';
import { Turns } from '../lib/turns.js';
import type { Finding } from '../preflight/finding.js';
import type { FailureRecord, Mismatch, RepairOutcome } from './control.js';
import type { StateMachine } from './machine.js';
import { readMismatches } from './mismatch-list.js';
import { completeOptions, type MigrationOptions, resolveStartOptions, type StartOptions } from './options.js';
import { keepLease, type Place, placeOf, rolesOf } from './place.js';
import type { Reporter } from './reporter.js';
import { checkReverse } from './reversal.js';
import type { Session } from './session.js';
import { commitObstacle } from './snapshot.js';
import { findingsOf } from './start-findings.js';
import { newRecord, preflightError, recheck, refuseOtherOptions, storeStart } from './starting.js';

/** What the calls act on. */
export interface CallContext {
  readonly machine: StateMachine;
  readonly reporter: Reporter;
  readonly logger: Logger;
  /** The metadata database. */
  readonly db: string;
  readonly disableVerification: boolean;
  /** Those connected so far. */
  readonly clusters: readonly Cluster[];
  /** Why a cluster is not, if it is known. */
  readonly whyNotConnected: (name: string) => string | undefined;
  readonly session: Session | undefined;
  readonly failure: FailureRecord | undefined;
  readonly signal: AbortSignal;
  /** Makes a place, whose lease is held, the migration's. */
  readonly enter: (place: Place) => Session;
}

/** How long a call goes on trying while a cluster does not answer. */
const PATIENCE_MS = 8000;

const ATTENTION =
  'ATTENTION! Data migration to a non-empty cluster is allowed with the preExistingDestinationData set to true in the request to start migration. This feature is currently in preview. Please see https://www.mongodb.com/docs/cluster-to-cluster-sync/current/reference/api/start/ for important requirements and limitations.';
/** Warnings of the preflight that matter until the end. */
const LASTING = new Set(['UsersBypassWriteBlock', 'SourceWritesBlocked']);

/** Carries out the operator's calls, one after the other but for `check`. Each is stored before it is answered. */
export class Calls {
  readonly #context: CallContext;
  readonly #turns = new Turns();

  constructor(context: CallContext) {
    this.#context = context;
  }

  start(options: StartOptions): Promise<void> {
    return this.#exclusive(async (signal) => {
      const { machine } = this.#context;
      const wanted = this.#resolve(options);
      if (machine.state !== 'IDLE') return this.#startAgain(wanted);
      machine.check('start');
      await this.#start(wanted, options.skipDiskSpaceCheck === true, signal);
    });
  }

  pause(): Promise<void> {
    return this.#exclusive(async (signal) => {
      const { machine } = this.#context;
      machine.check('pause');
      const session = this.#session();
      await session.stop();
      if (this.#context.failure !== undefined) throw failed(this.#context.failure);
      const eventsApplied = session.lastRun?.eventsApplied ?? 0;
      try {
        await machine.move('pause', (state) => session.place.record.update({ state, eventsApplied }, signal));
      } catch (error) {
        session.open();
        throw error;
      }
    });
  }

  resume(): Promise<void> {
    return this.#exclusive(async (signal) => {
      const { machine } = this.#context;
      machine.check('resume');
      const session = this.#session();
      await machine.move('resume', (state) => session.place.record.update({ state }, signal));
      session.open();
    });
  }

  commit(): Promise<void> {
    return this.#exclusive(async (signal) => {
      const { machine, reporter } = this.#context;
      machine.check('commit');
      const obstacle = commitObstacle(reporter.sources);
      if (obstacle !== undefined)
        throw new AppError('InvalidStateTransition', `commit is not permitted while canCommit is false: ${obstacle}`, {
          metadata: { state: machine.state },
        });
      const session = this.#session();
      const commit = { step: 'drain' } as const;
      await machine.move('commit', (state) => session.place.record.update({ state, commit }, signal));
      session.commit();
    });
  }

  reverse(): Promise<void> {
    return this.#exclusive(async (signal) => {
      const { machine } = this.#context;
      machine.check('reverse');
      const session = this.#session();
      await checkReverse(session.context, signal);
      await machine.move('reverse', (state) => session.place.record.update({ state }, signal));
      session.reverse();
    });
  }

  mismatches(after: string, limit: number): Promise<readonly Mismatch[]> {
    return this.#carryOut(async (signal) => {
      const { session } = this.#context;
      return session === undefined ? [] : readMismatches(session.place.store, after, limit, signal);
    });
  }

  repair(ids: readonly string[]): Promise<RepairOutcome> {
    return this.#exclusive(async (signal) => {
      const { session, machine } = this.#context;
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

  /** Changes nothing, so it waits for no other call. */
  check(options: StartOptions): Promise<readonly Finding[]> {
    return this.#carryOut((signal) =>
      this.#findings(this.#resolve(options), options.skipDiskSpaceCheck === true, signal),
    );
  }

  /** Resolves once the calls so far have ended, well or not. */
  async ended(): Promise<void> {
    await this.#turns.ended();
  }

  #findings(wanted: MigrationOptions, skipDiskSpaceCheck: boolean, signal: AbortSignal): Promise<Finding[]> {
    const { machine, db, disableVerification } = this.#context;
    const [source, destination] = this.#roles(wanted);
    const verifies = wanted.verification && !disableVerification;
    return findingsOf({ wanted, source, destination, db, machine, verifies, skipDiskSpaceCheck }, signal);
  }

  async #start(wanted: MigrationOptions, skipDiskSpaceCheck: boolean, signal: AbortSignal): Promise<void> {
    const { machine, logger, db } = this.#context;
    const [source, destination] = this.#roles(wanted);
    const findings = await this.#findings(wanted, skipDiskSpaceCheck, signal);
    const blockers = findings.filter((each) => each.severity === 'blocker');
    if (blockers[0] !== undefined) throw preflightError(blockers);
    const roles = rolesOf(source, destination, db, logger);
    if (!(await roles.lease.takeFromDead(signal)))
      throw new AppError('LeaseHeld', 'another process is migrating into this destination');
    // Until the session does: reading what stands against the start may take longer than a lease lasts.
    const stopKeeping = keepLease(roles.lease, () => undefined, signal);
    let session: Session | undefined;
    try {
      const warnings = findings.filter(({ name }) => LASTING.has(name)).map(({ description }) => description);
      const record = newRecord(wanted, source, destination, warnings);
      await machine.move('start', async () => {
        await storeStart(roles.store, record, destination, () => recheck(roles, wanted, db, signal), signal);
        session = this.#context.enter(placeOf(roles, record));
      });
    } catch (error) {
      await roles.lease.release().catch((reason: unknown) => {
        logger.warn(`The lease was not given back: ${safeText(reason)}`);
      });
      throw error;
    } finally {
      stopKeeping();
    }
    if (wanted.preExistingDestinationData) logger.warn(ATTENTION);
    const loadLevel = session?.loadLevel;
    logger.info('Started the migration', { source: source.label, destination: destination.label, loadLevel });
    session?.open();
  }

  /** Runbooks call start after a restart: the same options are welcome while the migration goes on. */
  #startAgain(wanted: MigrationOptions): void {
    const { machine, db } = this.#context;
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
    refuseOtherOptions(wanted, this.#session().place.record.value, state);
  }

  #resolve(options: StartOptions): MigrationOptions {
    const resolved = resolveStartOptions(options);
    const source = this.#context.clusters.find((each) => each.name === resolved.source);
    return completeOptions(resolved, source);
  }

  #roles(options: MigrationOptions): [Cluster, Cluster] {
    const find = (name: string): Cluster => {
      const cluster = this.#context.clusters.find((each) => each.name === name);
      if (cluster !== undefined) return cluster;
      const why = this.#context.whyNotConnected(name);
      throw new AppError('ClusterUnreachable', why ?? `${name} is not connected yet`);
    };
    return [find(options.source), find(options.destination)];
  }

  /** One call after the other. */
  #exclusive<T>(call: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return this.#turns.take(() => this.#carryOut(call));
  }

  /**
   * Rejected while the process cannot serve it. Driver errors become ours. A call is not tried for as long as the
   * migration's own work: whoever waits for its answer is told after some seconds that a cluster is away.
   */
  async #carryOut<T>(call: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { failure, signal } = this.#context;
    if (failure !== undefined) throw failed(failure);
    if (signal.aborted) throw new AppError('ShuttingDown', 'the process is stopping');
    const link = linkAbort(signal);
    const started = performance.now();
    const timer = setInterval(() => {
      const outage = this.#context.clusters.find((each) => each.outage !== undefined)?.outage;
      if (outage !== undefined && performance.now() - started > PATIENCE_MS)
        link.abort(new AppError('ClusterUnreachable', outage));
    }, 500);
    try {
      return await call(link.signal);
    } catch (error) {
      throw clusterError(error, 'a cluster', 'carrying out the call');
    } finally {
      clearInterval(timer);
      link.dispose();
    }
  }

  #session(): Session {
    const { session, machine } = this.#context;
    if (session === undefined) throw new AppError('Internal', `no migration is at hand in state ${machine.state}`);
    return session;
  }
}

function failed(failure: FailureRecord): AppError {
  return new AppError('MigrationFailed', `${failure.error}: ${failure.description}`);
}
