/** Decides what a failure ends: the process only, or the migration for good, and stores the latter. */
import { safeText } from '../cluster/errors.js';
import { unblockSource } from '../cutover/block-source.js';
import { isPastHandover } from '../cutover/commit.js';
import { AppError, ExitCode } from '../errors.js';
import { releaseBalancers } from '../layout/balancers.js';
import type { Logger } from '../lib/logger.js';
import type { FailureRecord } from '../metadata/records.js';
import type { HeldMigration } from '../start/held-migration.js';

/** Who is told of a failure. */
export interface FailureListener {
  readonly logger: Logger;
  /** The migration has failed for good; called before that is stored. */
  fail(failure: FailureRecord): void;
  /** The process cannot go on. */
  die(error: unknown): void;
}

const STORE_MS = 10_000;
const UNBLOCK_MS = 20_000;
const UNBLOCK = 'db.adminCommand({setUserWriteBlockMode: 1, global: false})';

/** A failure for good is stored, so that a restart does not run into it again; others end the process only. */
export async function fail(held: HeldMigration, error: AppError, listener: FailureListener): Promise<void> {
  // What a preflight would have found and has come up since is there at the next try, too; a privilege can be given.
  const isUnfit = error.row.exit === ExitCode.preflight && error.code !== 'MissingPrivilege';
  const isForGood = isUnfit || error.row.exit === ExitCode.failed;
  if (isForGood && (await isHandedOver(held, listener.logger))) {
    // The destination is in use: what is left to do is done by a restart.
    const text = `the commit could not be completed: ${error.code}: ${error.message}`;
    listener.die(new AppError('Internal', text, { cause: error }));
    return;
  }
  if (isForGood) await storeFailure(held, error, listener);
  const text = `${error.code}: ${error.message}`;
  listener.die(isUnfit ? new AppError('MigrationFailed', text, { cause: error }) : error);
}

/** By the stored record, since the answer to a step of the commit may have been lost. */
async function isHandedOver({ record }: HeldMigration, logger: Logger): Promise<boolean> {
  if (record.value.commit === undefined || record.value.state === 'REVERSING') return false;
  try {
    await record.refresh(AbortSignal.timeout(STORE_MS));
  } catch (cause) {
    logger.warn(`The record could not be read: ${safeText(cause)}`);
  }
  return record.value.state === 'COMMITTING' && isPastHandover(record.value);
}

async function storeFailure(held: HeldMigration, error: AppError, listener: FailureListener): Promise<void> {
  const { logger } = listener;
  const left = `${await leaveSource(held, logger)}${await leaveBalancers(held, logger)}`;
  const failure = { error: error.code, description: `${error.message}.${left}${advice(held)}`, at: new Date() };
  listener.fail(failure);
  try {
    await held.record.update({ failure }, AbortSignal.timeout(STORE_MS));
  } catch (cause) {
    logger.error(`The failure could not be stored: ${safeText(cause)}`);
  }
}

/** Balancers that were stopped for the migration go on. Resolves with what is left to do. */
async function leaveBalancers({ source, destination, record }: HeldMigration, logger: Logger): Promise<string> {
  const { stoppedBalancers = [] } = record.value;
  if (stoppedBalancers.length === 0) return '';
  try {
    await releaseBalancers({ clusters: [source, destination], record }, AbortSignal.timeout(UNBLOCK_MS));
    return '';
  } catch (cause) {
    logger.error(`The balancers of ${stoppedBalancers.join(' and ')} could not be started: ${safeText(cause)}`);
    return ` The balancers of ${stoppedBalancers.join(' and ')} are still stopped; start them with sh.startBalancer().`;
  }
}

/** A commit that fails before the point of no return leaves the source to its users. Resolves with what is left to do. */
async function leaveSource(held: HeldMigration, logger: Logger): Promise<string> {
  const { source, record } = held;
  if (record.value.blockedSource !== true) return '';
  try {
    if (!record.isCertain) await record.refresh(AbortSignal.timeout(STORE_MS));
    if (isPastHandover(record.value)) return '';
    await unblockSource(held, AbortSignal.timeout(UNBLOCK_MS));
    return '';
  } catch (cause) {
    logger.error(`The block of ${source.label} could not be lifted: ${safeText(cause)}`);
    return ` Writes to the source are still blocked; to lift the block, run on ${source.label}: ${UNBLOCK}.`;
  }
}

function advice({ record, destination, store }: HeldMigration): string {
  // Not yet turned around: what was the destination has become the applications' own.
  if (record.value.state === 'REVERSING' && record.value.canWrite)
    return ` ${destination.label} keeps its data and goes on accepting writes.`;
  const blocked = record.value.blockedDestination
    ? ` Writes to the destination are still blocked; to lift the block, run there: ${UNBLOCK}.`
    : '';
  const which = (record.value.generation ?? 0) > 0 ? `, which is ${destination.label}` : '';
  return `${blocked} To start again, drop what was migrated and the database ${store.db} on the destination${which}.`;
}
