/** Decides what a failure ends: the process only, or the migration for good, and stores the latter. */
import { safeText } from '../cluster/errors.js';
import { isPastHandover } from '../cutover/commit.js';
import { AppError, ExitCode } from '../errors.js';
import type { Logger } from '../lib/logger.js';
import type { FailureRecord } from './control.js';
import type { Place } from './place.js';
import { unblockSource } from './source-block.js';

/** Who is told of a failure. */
export interface FailureContext {
  readonly logger: Logger;
  /** The migration has failed for good; called before that is stored. */
  readonly onFailure: (failure: FailureRecord) => void;
  /** The process cannot go on. */
  readonly onFatal: (error: unknown) => void;
}

const STORE_MS = 10_000;
const UNBLOCK_MS = 20_000;
const UNBLOCK = 'db.adminCommand({setUserWriteBlockMode: 1, global: false})';

/** A failure for good is stored, so that a restart does not run into it again; others end the process only. */
export async function fail(place: Place, error: AppError, context: FailureContext): Promise<void> {
  // What a preflight would have found and has come up since is there at the next try, too; a privilege can be given.
  const isUnfit = error.row.exit === ExitCode.preflight && error.code !== 'MissingPrivilege';
  const isForGood = isUnfit || error.row.exit === ExitCode.failed;
  if (isForGood && (await isHandedOver(place, context.logger))) {
    // The destination is in use: what is left to do is done by a restart.
    const text = `the commit could not be completed: ${error.code}: ${error.message}`;
    context.onFatal(new AppError('Internal', text, { cause: error }));
    return;
  }
  if (isForGood) await storeFailure(place, error, context);
  const text = `${error.code}: ${error.message}`;
  context.onFatal(isUnfit ? new AppError('MigrationFailed', text, { cause: error }) : error);
}

/** By the stored record: the steps of a commit are stored past the copy in memory. */
async function isHandedOver({ record }: Place, logger: Logger): Promise<boolean> {
  if (record.value.commit === undefined || record.value.state === 'REVERSING') return false;
  try {
    await record.refresh(AbortSignal.timeout(STORE_MS));
  } catch (cause) {
    logger.warn(`The record could not be read: ${safeText(cause)}`);
  }
  return record.value.state === 'COMMITTING' && isPastHandover(record.value);
}

async function storeFailure(place: Place, error: AppError, { logger, onFailure }: FailureContext): Promise<void> {
  const left = await leaveSource(place, logger);
  const failure = { error: error.code, description: `${error.message}.${left}${advice(place)}`, at: new Date() };
  onFailure(failure);
  try {
    await place.record.update({ failure }, AbortSignal.timeout(STORE_MS));
  } catch (cause) {
    logger.error(`The failure could not be stored: ${safeText(cause)}`);
  }
}

/** A commit that fails before the point of no return leaves the source to its users. Resolves with what is left to do. */
async function leaveSource(place: Place, logger: Logger): Promise<string> {
  const { source, record } = place;
  if (record.value.blockedSource !== true) return '';
  try {
    // The steps of a commit are stored past the copy in memory.
    await record.refresh(AbortSignal.timeout(STORE_MS));
    if (isPastHandover(record.value)) return '';
    await unblockSource(place, AbortSignal.timeout(UNBLOCK_MS));
    return '';
  } catch (cause) {
    logger.error(`The block of ${source.label} could not be lifted: ${safeText(cause)}`);
    return ` Writes to the source are still blocked; to lift that, run on ${source.label}: ${UNBLOCK}.`;
  }
}

function advice({ record, destination }: Place): string {
  // Not yet turned around: what was the destination has become the applications' own.
  if (record.value.state === 'REVERSING' && record.value.canWrite)
    return ` ${destination.label} keeps its data and goes on accepting writes.`;
  const blocked = record.value.blockedDestination
    ? ` Writes to the destination are still blocked; to lift that, run there: ${UNBLOCK}.`
    : '';
  const which = (record.value.generation ?? 0) > 0 ? `, which is ${destination.label}` : '';
  return `${blocked} To begin anew, drop what was migrated and the database ${record.store.db} on the destination${which}.`;
}
