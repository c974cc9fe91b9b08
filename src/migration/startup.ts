/** Goes on with what an earlier process has left. */
import { AppError } from '../errors.js';
import type { Logger } from '../lib/logger.js';
import type { MigrationRecord } from '../metadata/records.js';
import type { FailureRecord } from './control.js';
import type { StateMachine } from './machine.js';
import { type Place, placeOf, type Roles, rolesOf } from './place.js';
import type { Found } from './recover.js';
import type { Session } from './session.js';
import { undoStart } from './starting.js';
import type { State } from './state.js';

/** What the taking up of a migration works with. */
export interface AdoptContext {
  /** The metadata database. */
  readonly db: string;
  readonly machine: StateMachine;
  readonly logger: Logger;
  /** The migration had failed before. */
  readonly onFailed: (failure: FailureRecord) => void;
  readonly enter: (place: Place) => Session;
  /** Another process holds the lease, or does so no longer. */
  readonly onLeaseHeld: (isHeld: boolean) => void;
  readonly signal: AbortSignal;
}

/**
 * Goes on with a migration that an earlier process began, in the state it was in; one whose start was not completed is
 * undone. Errors: MigrationFailed.
 */
export async function adopt(found: Found, context: AdoptContext): Promise<void> {
  const { machine, logger, signal } = context;
  refuseFailed(found.record, context);
  const roles = rolesOf(found.source, found.destination, context.db, logger);
  await roles.lease.take(signal, () => context.onLeaseHeld(true));
  context.onLeaseHeld(false);
  // Another process may have gone on with it until it gave up the lease.
  const current = await roles.store.loadMigration(signal);
  if (current === undefined || current.starting === true) return await goIdle(roles, context);
  if (current.moved === true)
    throw new AppError('LeaseLost', 'another process has reversed the migration meanwhile; restart to follow it');
  const session = context.enter(placeOf(roles, current));
  refuseFailed(current, context);
  logger.info('Going on with the migration found on the destination', { state: current.state, phase: current.phase });
  const state = current.state as State;
  const isRunning = state === 'RUNNING' || state === 'COMMITTING';
  // Before the state is shown: a stream ends at COMMITTED, and its last message must tell canWrite.
  if (!isRunning) await session.show(signal);
  machine.recover(state);
  if (isRunning) session.open();
  else if (state === 'REVERSING') session.reverse();
}

/** Of a start that nobody was told has succeeded nothing is left. */
async function goIdle(roles: Roles, { machine, logger, signal }: AdoptContext): Promise<void> {
  await undoStart(roles, signal);
  await roles.lease.release();
  logger.info('A start that was not completed is undone; waiting for start');
  machine.recover('IDLE');
}

/** What has failed for good is not tried again; progress shows the state in which it failed. */
function refuseFailed(record: MigrationRecord, { machine, onFailed }: AdoptContext): void {
  if (record.failure === undefined) return;
  onFailed(record.failure);
  machine.recover(record.state as State);
  throw new AppError('MigrationFailed', `this migration has failed before: ${record.failure.description}`);
}
