/** Goes on with what an earlier process has left. */
import { AppError } from '../errors.js';
import type { MigrationRecord } from '../metadata/records.js';
import { heldMigration, type Roles, rolesOf } from '../start/held-migration.js';
import type { Found } from '../start/recover.js';
import { undoStart } from '../start/starting.js';
import type { MigrationProcess } from './migration-process.js';

const LEASE = 'another process holds the lease of this migration; this process waits for it';

/**
 * Goes on with a migration that an earlier process began, in the state it was in; one whose start was not completed is
 * undone. Errors: MigrationFailed when it has failed before; LeaseLost when another process has reversed it meanwhile.
 */
export async function goOn(found: Found, process: MigrationProcess): Promise<void> {
  const { db, machine, logger, signal } = process;
  refuseFailed(found.record, process);
  const roles = rolesOf(found.source, found.destination, db, logger);
  await roles.lease.take(signal, () => process.waitFor('lease', LEASE));
  process.waitFor('lease', undefined);
  // Another process may have gone on with it until it gave up the lease.
  const current = await roles.store.loadMigration(signal);
  if (current === undefined || current.starting === true) return await goIdle(roles, process);
  if (current.moved === true)
    throw new AppError('LeaseLost', 'another process has reversed the migration meanwhile; restart to follow it');
  const session = process.hold(heldMigration(roles, current));
  refuseFailed(current, process);
  logger.info('Going on with the migration found on the destination', { state: current.state, phase: current.phase });
  const { state } = current;
  const isRunning = state === 'RUNNING' || state === 'COMMITTING';
  // Before the state is shown: a stream ends at COMMITTED, and its last message must tell canWrite.
  if (!isRunning) await session.show(signal);
  machine.recover(state);
  if (isRunning) session.open();
  else if (state === 'REVERSING') session.reverse();
}

/** Of a start that nobody was told has succeeded nothing is left. */
async function goIdle(roles: Roles, { machine, logger, signal }: MigrationProcess): Promise<void> {
  await undoStart(roles, signal);
  await roles.lease.release();
  logger.info('A start that was not completed is undone; waiting for start');
  machine.recover('IDLE');
}

/** What has failed for good is not tried again; progress shows the state in which it failed. */
function refuseFailed(record: MigrationRecord, process: MigrationProcess): void {
  if (record.failure === undefined) return;
  process.fail(record.failure);
  process.machine.recover(record.state);
  throw new AppError('MigrationFailed', `this migration has failed before: ${record.failure.description}`);
}
