/** Classifies errors of the driver and of servers: the only reader of their labels and codes. */
import { MongoError, MongoNetworkError, MongoServerError, MongoServerSelectionError } from 'mongodb';
import type { Doc } from '../bson/bson.js';
import { AppError, type ErrorName } from '../errors.js';
import { redactDocuments } from '../lib/redact.js';
import type { Waiting } from './waiting.js';

/**
 * Something stands in the way that may be gone at the next try: `Cluster.attempt` waits and tries again. It never
 * reaches users as it is: `clusterError` makes ClusterUnreachable of it once the trying is over.
 */
export class TransientError extends Error {
  override readonly name = 'TransientError';
}

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
  ShardKeyNotFound: 61,
  CommandNotSupportedOnView: 166,
  QueryPlanKilled: 175,
  KeyNotFound: 211,
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
 * Codes that tell of the server's own condition and nothing of the command: the same command may succeed later.
 * Elections, shutdowns, lost connections, write concern, a password that is being changed, a disk that is full, a server
 * that is overloaded. Source: the driver specifications' retryable and resumable lists; the server's error_codes.yml.
 */
const TRANSIENT_CODES = new Set<number>([
  1, 6, 7, 8, 18, 24, 37, 38, 39, 42, 43, 46, 50, 63, 64, 77, 79, 83, 89, 90, 91, 93, 94, 95, 96, 100, 107, 109, 112,
  117, 128, 129, 133, 134, 141, 143, 145, 146, 149, 150, 164, 189, 190, 192, 199, 202, 203, 204, 205, 206, 208, 209,
  210, 211, 215, 216, 217, 222, 228, 234, 237, 244, 245, 251, 261, 262, 264, 267, 279, 281, 282, 290, 303, 308, 310,
  314, 317, 333, 355, 358, 363, 365, 372, 384, 385, 391, 402, 406, 407, 412, 433, 449, 450, 462, 9001, 10058, 10107,
  11600, 11601, 11602, 13388, 13435, 13436, 14031,
]);

/**
 * Named codes that find fault with what a statement writes, or with the index that is to take it. Nothing but another
 * document, or an index less, changes that. Source: the server's error_codes.yml.
 */
const DOCUMENT_CODES = new Set<number>([
  2, 9, 10, 14, 15, 16, 22, 28, 29, 30, 34, 40, 47, 52, 53, 54, 55, 56, 57, 66, 111, 116, 121, 139, 159, 161, 171, 201,
  241, 349, 357, 378, 386, 10003, 10334, 11000, 17280,
]);

/** As the above, of a whole index: it can be built neither now nor later. */
const INDEX_CODES = new Set<number>([67, 85, 86, 197, 359]);

/** From here on numbers are those of assertions, which check what a command brought, but for those that have a name. */
const FIRST_ASSERTION = 10_000;
const NAMED_ASSERTIONS = new Set<number>([
  10058, 10107, 11600, 11601, 11602, 12586, 12587, 13113, 13297, 13388, 13435, 13436, 14031, 16500, 46841, 50768, 50915,
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

/** Whether a server may accept later, when it is tried again, what it refused with this code. */
export function isTransientCode(code: number): boolean {
  return TRANSIENT_CODES.has(code);
}

/** Whether a refused statement was refused for what it writes, or for an index that does not take that. */
export function isDocumentFault(code: number): boolean {
  return DOCUMENT_CODES.has(code) || (code >= FIRST_ASSERTION && !NAMED_ASSERTIONS.has(code));
}

/** Whether an index cannot be built, for what it is or for the documents that it is to hold. */
export function isIndexFault(code: number): boolean {
  return INDEX_CODES.has(code) || isDocumentFault(code);
}

/** What a reply says about a refused statement. */
export interface StatementRefusal {
  readonly code: number;
  readonly text: string;
}

/**
 * The error of a refused statement. `what` says what was refused. WriteRefused, a dead end, only where the document is
 * at fault; a TransientError where the code tells of the server's condition; else CommandRefused, with which the run
 * begins again.
 */
export function statementError(what: string, { code, text }: StatementRefusal): AppError | TransientError {
  const message = `${what}: ${text} (code ${code})`;
  if (isTransientCode(code)) return new TransientError(message);
  return new AppError(isDocumentFault(code) ? 'WriteRefused' : 'CommandRefused', message);
}

/** The errors of the statements that a reply says were refused; such a reply says `ok: 1`. */
export function statementErrorsOf(reply: Doc): readonly MongoServerError[] {
  const errors = (reply['writeErrors'] as Doc[] | undefined) ?? [];
  return errors.map(({ code, errmsg }) => new MongoServerError({ message: String(errmsg), code: Number(code) }));
}

/**
 * Throws what refused a statement, as if it had refused the command. That a session's number is too old comes last: it says
 * nothing of the other statements.
 */
export function requireCarriedOut(reply: Doc): void {
  const errors = statementErrorsOf(reply);
  const error = errors.find(({ code }) => code !== Code.TransactionTooOld) ?? errors[0];
  if (error !== undefined) throw error;
}

/** The error of a write that a write block holds back, one that somebody else has set or that we may not pass. */
export function writesBlocked(label: string): AppError {
  return new AppError(
    'WritesBlocked',
    `user writes on ${label} are blocked, and the user lacks the privilege bypassWriteBlockingMode. If somebody else has set the block, lift it there with db.adminCommand({setUserWriteBlockMode: 1, global: false}). If the migration has set it, grant bypassWriteBlockingMode on {cluster: true}`,
  );
}

/**
 * Whether the same command may succeed when it is tried again. Of errors with a name only WritesBlocked, which somebody
 * can lift at any time: ClusterUnreachable says that the trying is over.
 */
export function isTransient(error: unknown): boolean {
  if (error instanceof TransientError) return true;
  if (error instanceof AppError) return error.code === 'WritesBlocked';
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

/** Whether a command that the driver was given may still be carried out: it was sent, and no server has answered it. */
export function mayHaveBeenSent(error: unknown): boolean {
  if (error instanceof MongoServerError) return false;
  return !(error instanceof MongoError) || !NEVER_SENT.has(error.name);
}

const maybeSent = new WeakSet<object>();

/** Remembers that a command which ended with this error may be carried out all the same. */
export function tagMaybeSent(error: unknown): void {
  if (error instanceof Error) maybeSent.add(error);
}

/** Whether a command that ended with this error may have been carried out, or may be later. */
export function isMaybeSent(error: unknown): boolean {
  return error instanceof Error && maybeSent.has(error);
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

/** `safeText` with the server's code, for warnings of what is tried again. */
export function describeError(error: unknown): string {
  const code = codeOf(error);
  const origin = originOf(error);
  const text = origin === undefined ? safeText(error) : `${origin.text}: ${safeText(error)}`;
  return code === undefined ? text : `${text} (code ${code})`;
}

/** Where an error came from. */
export interface Origin {
  /** E.g. "find of a.b on cluster0". */
  readonly text: string;
  /** What that cluster is being waited for. */
  readonly waiting: Waiting;
}

const origins = new WeakMap<Error, Origin>();
const exhausted = new WeakSet<Error>();

/** Remembers that an error has been waited for as long as anything is: whoever meets it does not begin once more. */
export function tagExhausted(error: unknown): void {
  if (error instanceof Error) exhausted.add(error);
}

/** What may pass, but has no name of its own: neither found to be a dead end nor a fault of this program's. */
const PASSING: ReadonlySet<ErrorName> = new Set([
  'CommandRefused',
  'MissingPrivilege',
  'ClusterUnreachable',
  'WritesBlocked',
]);

/**
 * Whether work that has ended with this error is begun again. Dead ends are a list: every name whose row in
 * src/errors.ts ends a process with 4, and what a preflight refuses. No server code is one by itself.
 */
export function isWorthAnotherRun(error: AppError): boolean {
  return PASSING.has(error.code) && !exhausted.has(error);
}

/** Remembers which command and cluster an error came from; the first one told counts. */
export function tagOrigin(error: unknown, origin: Origin): void {
  if (error instanceof Error && !origins.has(error)) origins.set(error, origin);
}

/** Where an error came from, if it was a cluster. */
export function originOf(error: unknown): Origin | undefined {
  return error instanceof Error ? origins.get(error) : undefined;
}

/**
 * An error of the driver as one of ours; `what` says what was being done, e.g. "reading shop.orders", `otherwise` is the
 * name of what a server refuses. The cluster is the one that the error came from (`tagOrigin`), never the caller's guess.
 * What neither a server nor the connection to it has brought about is a bug of ours.
 */
export function clusterError(error: unknown, what: string, otherwise: ErrorName = 'CommandRefused'): AppError {
  if (error instanceof AppError) return error;
  const text = `${what}: ${describeError(error)}`;
  const code = codeOf(error);
  const isOurs = !(error instanceof MongoServerError);
  const name: ErrorName = isTransient(error)
    ? 'ClusterUnreachable'
    : isOurs
      ? 'Internal'
      : code === Code.Unauthorized
        ? 'MissingPrivilege'
        : otherwise;
  const made = new AppError(name, text, { cause: error });
  if (error instanceof Error && exhausted.has(error)) exhausted.add(made);
  return made;
}
