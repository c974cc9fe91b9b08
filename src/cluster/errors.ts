import { MongoError, MongoNetworkError, MongoServerError, MongoServerSelectionError } from 'mongodb';
import { AppError, type ErrorName } from '../errors.js';
import { redactDocuments } from '../lib/redact.js';

/** Server error codes the engine reads, by the names of the server's error_codes.yml. */
export const Code = {
  BadValue: 2,
  FailedToParse: 9,
  Unauthorized: 13,
  TypeMismatch: 14,
  AuthenticationFailed: 18,
  LockTimeout: 24,
  NamespaceNotFound: 26,
  IndexNotFound: 27,
  NamespaceExists: 48,
  MaxTimeMSExpired: 50,
  CappedPositionLost: 136,
  CommandNotSupportedOnView: 166,
  QueryPlanKilled: 175,
  TransactionTooOld: 225,
  SnapshotTooOld: 239,
  SnapshotUnavailable: 246,
  IndexBuildAborted: 276,
  ChangeStreamFatalError: 280,
  ChangeStreamHistoryLost: 286,
  CannotConvertIndexToUnique: 359,
  CollectionUUIDMismatch: 361,
  UserWritesBlocked: 371,
  DuplicateKey: 11000,
  BackgroundOperationInProgress: 12587,
  BSONObjectTooLarge: 10334,
  DatabaseDifferCase: 13297,
  UnknownPipelineStage: 40324,
  UnknownField: 40415,
  MayNotBypassWriteBlocking: 6317500,
} as const;

/**
 * Codes after which the same command may succeed: elections, shutdowns, lost connections, write concern time-outs.
 * Source: the driver specifications' retryable and resumable lists; the server's error_codes.yml.
 */
const TRANSIENT_CODES = new Set<number>([
  6, 7, 24, 43, 50, 63, 64, 89, 91, 107, 112, 133, 134, 150, 189, 202, 234, 237, 244, 262, 317, 358, 384, 9001, 10058,
  10107, 11600, 11601, 11602, 13388, 13435, 13436,
]);

/** Of a server that went away, or left its set's configuration; the driver has no common class for these. */
const GONE = new Set([
  'MongoPoolClearedError',
  'MongoPoolClosedError',
  'MongoServerClosedError',
  'MongoTopologyClosedError',
  'MongoNotConnectedError',
]);

const TRANSIENT_LABELS = ['RetryableWriteError', 'ResumableChangeStreamError', 'TransientTransactionError'];

/** The server's code of an error, if it has one. */
export function codeOf(error: unknown): number | undefined {
  return error instanceof MongoServerError && typeof error.code === 'number' ? error.code : undefined;
}

/** Whether what a server refused with this code it may take when it is tried again. */
export function isTransientCode(code: number): boolean {
  return TRANSIENT_CODES.has(code);
}

/** The error of a write that a write block holds back, one that somebody else has set or that we may not pass. */
export function writesBlocked(label: string): AppError {
  return new AppError(
    'WritesBlocked',
    `user writes on ${label} are blocked, and this user may not pass. Lift the block there with db.adminCommand({setUserWriteBlockMode: 1, global: false}), unless the migration has set it; or grant bypassWriteBlockingMode on {cluster: true}`,
  );
}

/** Whether the same command may succeed when it is tried again. */
export function isTransient(error: unknown): boolean {
  if (error instanceof AppError) return error.code === 'ClusterUnreachable' || error.code === 'WritesBlocked';
  if (error instanceof MongoNetworkError || error instanceof MongoServerSelectionError) return true;
  if (!(error instanceof MongoError)) return false;
  const code = codeOf(error);
  if (code !== undefined && TRANSIENT_CODES.has(code)) return true;
  if (TRANSIENT_LABELS.some((label) => error.hasErrorLabel(label))) return true;
  return GONE.has(error.name);
}

/** Errors of a command that never left: no server was found for it, or no connection. */
const NEVER_SENT = new Set([
  'MongoServerSelectionError',
  'MongoPoolClearedError',
  'MongoPoolClosedError',
  'MongoServerClosedError',
  'MongoTopologyClosedError',
  'MongoNotConnectedError',
  'MongoWaitQueueTimeoutError',
]);

/** Whether a command that failed so may still be carried out: it was sent, and no server has answered it. */
export function mayHaveBeenSent(error: unknown): boolean {
  if (error instanceof MongoServerError) return false;
  return !(error instanceof MongoError) || !NEVER_SENT.has(error.name);
}

/** Whether the change stream's position has fallen out of the oplog: never go on from "now" after this. */
export function isHistoryLost(error: unknown): boolean {
  const code = codeOf(error);
  return (
    code === Code.ChangeStreamHistoryLost || code === Code.CappedPositionLost || code === Code.ChangeStreamFatalError
  );
}

/** Whether a guarded read found its collection renamed or dropped. Source: server codes 361, 26, 175. */
export function isMoved(error: unknown): boolean {
  const code = codeOf(error);
  return code === Code.CollectionUUIDMismatch || code === Code.NamespaceNotFound || code === Code.QueryPlanKilled;
}

/**
 * Text of an error without anything a document may hold: the server quotes key values after some words, and whole
 * documents and arrays. Takes the error, or a text of a server's. The connection's errors name hosts in brackets.
 */
export function safeText(error: unknown): string {
  if (error instanceof Error && !(error instanceof MongoServerError)) return error.message;
  const text = error instanceof Error ? error.message : String(error);
  const cut = text.replace(/(dup key:|with value|violat\w+ document|found value|to execute command).*/is, '$1 …');
  return redactDocuments(cut);
}

const origins = new WeakMap<Error, string>();

/** Remembers which command an error came from, for the text of the error that is made of it. */
export function noteOrigin(error: unknown, origin: string): void {
  if (error instanceof Error && !origins.has(error)) origins.set(error, origin);
}

/**
 * An error of the driver as one of ours; `what` says what was being done, e.g. "reading shop.orders", `otherwise` is the
 * name of what a server refuses. What neither a server nor the connection to it has brought about is a bug of ours.
 */
export function clusterError(
  error: unknown,
  cluster: string,
  what: string,
  otherwise: ErrorName = 'MigrationFailed',
): AppError {
  if (error instanceof AppError) return error;
  const origin = error instanceof Error ? origins.get(error) : undefined;
  const text = `${what}: ${origin ?? cluster}: ${safeText(error)}`;
  if (isTransient(error)) return new AppError('ClusterUnreachable', text, { cause: error });
  const code = codeOf(error);
  const isOurs = !(error instanceof MongoServerError);
  const name: ErrorName = isOurs ? 'Internal' : code === Code.Unauthorized ? 'MissingPrivilege' : otherwise;
  return new AppError(name, code === undefined ? text : `${text} (code ${code})`, { cause: error });
}
