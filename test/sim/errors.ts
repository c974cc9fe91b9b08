/** Errors as the driver and the server give them, made by doubles. */
import { MongoNetworkError, MongoServerError, MongoServerSelectionError, type TopologyDescription } from 'mongodb';

/** Codes that the simulated server answers with. Source: the server's error_codes.yml. */
export const Codes = {
  BadValue: 2,
  GraphContainsCycle: 5,
  NamespaceNotFound: 26,
  IndexNotFound: 27,
  CannotCreateIndex: 67,
  InvalidOptions: 72,
  NamespaceExists: 48,
  MaxTimeMSExpired: 50,
  WriteConcernFailed: 64,
  ImmutableField: 66,
  IndexOptionsConflict: 85,
  IndexKeySpecsConflict: 86,
  DocumentValidationFailure: 121,
  CappedPositionLost: 136,
  CommandNotSupportedOnView: 166,
  QueryPlanKilled: 175,
  PrimarySteppedDown: 189,
  KeyNotFound: 211,
  TransactionTooOld: 225,
  CursorKilled: 237,
  CursorNotFound: 43,
  SnapshotTooOld: 239,
  InvalidResumeToken: 260,
  IndexBuildAborted: 276,
  ChangeStreamHistoryLost: 286,
  CannotConvertIndexToUnique: 359,
  CollectionUUIDMismatch: 361,
  UserWritesBlocked: 371,
  NotWritablePrimary: 10107,
  DuplicateKey: 11000,
  Interrupted: 11601,
  InterruptedDueToReplStateChange: 11602,
  BackgroundOperationInProgress: 12587,
  DatabaseDifferCase: 13297,
  UnknownPipelineStage: 40324,
} as const;

/** A refusal of the server's. */
export function serverError(code: number, errmsg: string, more: Record<string, unknown> = {}): MongoServerError {
  return new MongoServerError({ ok: 0, code, errmsg, ...more });
}

/** A connection that was lost. */
export function networkError(text: string): MongoNetworkError {
  return new MongoNetworkError(text);
}

/** No primary was found in time. */
export function selectionError(text: string): MongoServerSelectionError {
  const reason = { servers: new Map(), setName: null } as unknown as TopologyDescription;
  return new MongoServerSelectionError(text, reason);
}
