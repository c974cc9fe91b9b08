/** Carries out a start: in the end there is either a whole migration or nothing of it. */
import type { Cluster } from '../cluster/cluster.js';
import { AppError } from '../errors.js';
import { layOutNumbers } from '../layout/lay-out-numbers.js';
import type { MigrationOptions } from '../metadata/migration-options.js';
import { MetadataReader } from '../metadata/reader.js';
import type { MigrationRecord } from '../metadata/records.js';
import type { RecordChanges } from '../metadata/store.js';
import type { Finding } from '../preflight/finding.js';
import { NOT_CARRIED } from '../preflight/left-out.js';
import { heldMigration, keepLease, type Roles, rolesOf } from '../start/held-migration.js';
import { isUnreadable } from '../start/recover.js';
import { blocksDestination, newRecord, preflightError, prepareStart, recheck, undoStart } from '../start/starting.js';
import type { MigrationProcess } from './migration-process.js';
import type { Moves } from './moves.js';
import type { Session } from './session.js';

/** The start that is asked for. */
export interface WantedStart {
  readonly source: Cluster;
  readonly destination: Cluster;
  readonly options: MigrationOptions;
}

const UNDO_MS = 8000;
const ATTENTION =
  'ATTENTION! Data migration to a non-empty cluster is allowed with the preExistingDestinationData set to true in the request to start migration. This feature is currently in preview. Please see https://www.mongodb.com/docs/cluster-to-cluster-sync/current/reference/api/start/ for important requirements and limitations.';
/** Warnings of the preflight that matter until the end. */
const LASTING = new Set(['UsersBypassWriteBlock', 'SourceWritesBlocked', ...NOT_CARRIED]);

/**
 * Takes the lease, stores the migration as one that is starting, looks again for what is in the way, and makes it one by
 * a single change of its record. Whatever fails before undoes the rest; what is left of a process that ended in between
 * is undone by the next one. Where another process has taken over meanwhile, which undoes it, this one ends: the other
 * waits until the connections of this one are gone.
 */
export class Starter {
  readonly #process: MigrationProcess;
  readonly #moves: Moves;
  readonly #wanted: WantedStart;

  constructor(process: MigrationProcess, moves: Moves, wanted: WantedStart) {
    this.#process = process;
    this.#moves = moves;
    this.#wanted = wanted;
  }

  /** `preflight` finds what stands against it. Errors: of the preflight; LeaseHeld; as `Moves.carryOut`. */
  async start(preflight: () => Promise<readonly Finding[]>, signal: AbortSignal): Promise<void> {
    const { db } = this.#process;
    const { source, destination, options } = this.#wanted;
    await this.#undoEarlier(signal);
    const findings = await preflight();
    const blockers = findings.filter((each) => each.severity === 'blocker');
    if (blockers[0] !== undefined) throw preflightError(blockers);
    const warnings = findings.filter(({ name }) => LASTING.has(name)).map(({ description }) => description);
    const roles = await this.#take(signal);
    const held = heldMigration(roles, newRecord(options, source, destination, warnings));
    // Until the session does: reading what stands against the start may take longer than a lease lasts.
    const stopKeeping = keepLease(roles.lease, (error) => this.#process.die(error), this.#process.signal);
    const undo = async (): Promise<void> => this.#undo(roles, stopKeeping);
    try {
      const isBlocking = blocksDestination(options);
      // Before the block, and before there is anything that could be taken over.
      const refused = await layOutNumbers(roles.destination, db, signal);
      if (refused !== undefined) this.#process.logger.warn(refused);
      await prepareStart(held, isBlocking, () => recheck(roles, options, db, signal), signal);
    } catch (error) {
      if (isLeaseLost(error)) this.#process.die(error);
      else await undo();
      throw error;
    }
    let session: Session | undefined;
    const stored = (): void => {
      stopKeeping();
      session = this.#process.hold(held);
    };
    const begin = (): void => this.#begin(session);
    const isStored = ({ starting }: MigrationRecord): boolean => starting !== true;
    const changes = (): RecordChanges => ({ starting: undefined });
    try {
      await this.#moves.carryOut({ event: 'start', held, changes, isStored, stored, begin, undo }, signal);
    } catch (error) {
      if (isLeaseLost(error)) this.#process.die(error);
      throw error;
    }
  }

  #begin(session: Session | undefined): void {
    const { logger } = this.#process;
    const { source, destination, options } = this.#wanted;
    if (options.preExistingDestinationData) logger.warn(ATTENTION);
    const loadLevel = session?.loadLevel;
    logger.info('Started the migration', { source: source.label, destination: destination.label, loadLevel });
    session?.open();
  }

  async #take(signal: AbortSignal): Promise<Roles> {
    const { db, logger, config } = this.#process;
    const { source, destination } = this.#wanted;
    const roles = rolesOf(source, destination, { db, logger, instance: config.instanceId });
    if (await roles.lease.takeFromDead(signal)) return roles;
    throw new AppError('LeaseHeld', 'another process is migrating into this destination');
  }

  /** What a start that could not be completed has left, also in this process. */
  async #undoEarlier(signal: AbortSignal): Promise<void> {
    const { db } = this.#process;
    const left = await new MetadataReader(this.#wanted.destination, db).loadMigration(signal).catch(ignoreUnreadable);
    if (left?.starting !== true) return;
    const roles = await this.#take(signal);
    const stopKeeping = keepLease(roles.lease, (error) => this.#process.die(error), this.#process.signal);
    try {
      await undone(roles, stopKeeping, signal);
    } catch (error) {
      this.#undoLater(roles, stopKeeping, error);
      throw error;
    }
  }

  /** Whatever has ended the start, the process being told to stop included: half a start would block every later one. */
  async #undo(roles: Roles, stopKeeping: () => void): Promise<void> {
    try {
      await undone(roles, stopKeeping, AbortSignal.timeout(UNDO_MS));
    } catch (error) {
      this.#undoLater(roles, stopKeeping, error);
    }
  }

  /** The lease is kept until then: its next holder would wait for the connections of this process, which lives on. */
  #undoLater(roles: Roles, stopKeeping: () => void, error: unknown): void {
    const text = `a failed start is still being undone, because ${roles.destination.label} does not answer; call again when it does`;
    this.#process.logger.warn(text, { error });
    this.#moves.later(text, (signal) => undone(roles, stopKeeping, signal).finally(stopKeeping));
  }
}

async function undone(roles: Roles, stopKeeping: () => void, signal: AbortSignal): Promise<void> {
  await undoStart(roles, signal);
  stopKeeping();
  await roles.lease.release();
}

function isLeaseLost(error: unknown): boolean {
  return error instanceof AppError && error.code === 'LeaseLost';
}

/** What another tool has left is the preflight's to tell. */
function ignoreUnreadable(error: unknown): undefined {
  if (!isUnreadable(error)) throw error;
}
