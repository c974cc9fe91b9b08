/**
 * Lists all errors in one table, from the engine to the gRPC status, the HTTP body and the exit code.
 * Source: docs/errors.md. A new name needs a row here; nothing else throws to a caller.
 */

/** gRPC status codes by name; numbers from the gRPC specification, so that this file needs no gRPC library. */
export const GrpcCode = {
  CANCELLED: 1,
  INVALID_ARGUMENT: 3,
  NOT_FOUND: 5,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  UNAUTHENTICATED: 16,
} as const;

/** Exit codes of the server process (docs/operations.md). */
export const ExitCode = { stopped: 0, retryable: 1, usage: 2, preflight: 3, failed: 4 } as const;

/** What callers and supervisors learn from an error, whatever its text. */
export interface ErrorRow {
  readonly grpc: number;
  readonly http: number;
  /** The process's exit code when this error ends it. */
  readonly exit: number;
  /** Whether the same call, or a restart, may succeed without a change by the operator. */
  readonly retryable: boolean;
}

const invalid: ErrorRow = { grpc: GrpcCode.INVALID_ARGUMENT, http: 400, exit: ExitCode.usage, retryable: false };
const preflight: ErrorRow = {
  grpc: GrpcCode.FAILED_PRECONDITION,
  http: 412,
  exit: ExitCode.preflight,
  retryable: false,
};
const failed: ErrorRow = { grpc: GrpcCode.ABORTED, http: 500, exit: ExitCode.failed, retryable: false };
const transport = (http: number, grpc: number): ErrorRow => ({ grpc, http, exit: ExitCode.usage, retryable: false });

/** Every error name, with what each front door makes of it. */
export const ERRORS = {
  // The request itself.
  InvalidRequest: invalid,
  InvalidStateTransition: { grpc: GrpcCode.FAILED_PRECONDITION, http: 409, exit: ExitCode.failed, retryable: false },
  Unauthenticated: { grpc: GrpcCode.UNAUTHENTICATED, http: 401, exit: ExitCode.usage, retryable: false },
  RequestTooLarge: transport(413, GrpcCode.INVALID_ARGUMENT),
  NotFound: transport(404, GrpcCode.NOT_FOUND),
  MethodNotAllowed: transport(405, GrpcCode.INVALID_ARGUMENT),
  ForbiddenOrigin: transport(403, GrpcCode.INVALID_ARGUMENT),
  Cancelled: { grpc: GrpcCode.CANCELLED, http: 499, exit: ExitCode.retryable, retryable: true },
  ServerBusy: { grpc: GrpcCode.RESOURCE_EXHAUSTED, http: 503, exit: ExitCode.retryable, retryable: true },

  // A commit or a reversal that is given up; the migration stays usable.
  SourceNotBlocked: { grpc: GrpcCode.FAILED_PRECONDITION, http: 409, exit: ExitCode.retryable, retryable: true },
  ReverseSourceModified: { grpc: GrpcCode.FAILED_PRECONDITION, http: 409, exit: ExitCode.failed, retryable: false },
  ReverseOplogRolledOver: { grpc: GrpcCode.FAILED_PRECONDITION, http: 409, exit: ExitCode.failed, retryable: false },

  // Preflight findings that refuse a start.
  DestinationNotEmpty: preflight,
  ForeignMetadata: preflight,
  MigrationExists: { grpc: GrpcCode.FAILED_PRECONDITION, http: 409, exit: ExitCode.preflight, retryable: false },
  OptionsDiffer: { grpc: GrpcCode.FAILED_PRECONDITION, http: 409, exit: ExitCode.preflight, retryable: false },
  ClustersChanged: preflight,
  SameCluster: preflight,
  UnsupportedVersion: preflight,
  UnsupportedVersionPair: preflight,
  StandaloneServer: preflight,
  UnsupportedTopology: preflight,
  MissingPrivilege: preflight,
  UnsupportedShardKey: preflight,
  DuplicateIds: preflight,
  ZonesOnDestination: preflight,
  InconsistentIndexes: preflight,
  TimeSeriesCollection: preflight,
  EncryptedCollection: preflight,
  UniqueAndNonUniqueIndex: preflight,
  NamesDifferOnlyInCase: preflight,
  NamespacesClash: preflight,
  NamespaceTooLong: preflight,
  DestinationNamespaceExists: preflight,
  InsufficientDestinationDiskSpace: preflight,
  OptionNotSupported: preflight,
  UnsupportedIndex: preflight,
  CollatedDocumentFilter: preflight,
  DestinationWritesBlocked: preflight,
  OtherMigrationExists: preflight,

  // A cluster, or another instance.
  ClusterUnreachable: { grpc: GrpcCode.UNAVAILABLE, http: 503, exit: ExitCode.retryable, retryable: true },
  OutcomeUnknown: { grpc: GrpcCode.UNAVAILABLE, http: 503, exit: ExitCode.retryable, retryable: true },
  WritesBlocked: { grpc: GrpcCode.UNAVAILABLE, http: 503, exit: ExitCode.retryable, retryable: true },
  CommandRefused: { grpc: GrpcCode.UNAVAILABLE, http: 503, exit: ExitCode.retryable, retryable: true },
  LeaseHeld: { grpc: GrpcCode.UNAVAILABLE, http: 503, exit: ExitCode.retryable, retryable: true },
  LeaseLost: { grpc: GrpcCode.UNAVAILABLE, http: 503, exit: ExitCode.retryable, retryable: true },
  AddressInUse: { grpc: GrpcCode.UNAVAILABLE, http: 503, exit: ExitCode.retryable, retryable: true },
  ShuttingDown: { grpc: GrpcCode.UNAVAILABLE, http: 503, exit: ExitCode.stopped, retryable: true },

  // The migration has failed for good. MigrationFailed is what callers see; the others are its causes.
  MigrationFailed: failed,
  OplogRolledOver: failed,
  DestinationModified: failed,
  SourceModifiedAfterCommit: failed,
  UniqueViolation: failed,
  VerificationFailed: failed,
  IndexBuildFailed: failed,
  UnsupportedChange: failed,
  EventTooLarge: failed,
  DocumentNotCarried: failed,
  CatalogDiffers: failed,
  MetadataUnreadable: failed,
  WriteRefused: failed,
  ShardKeyValueRefused: failed,
  ShardingChanged: failed,

  // A bug of ours.
  Internal: { grpc: GrpcCode.INTERNAL, http: 500, exit: ExitCode.retryable, retryable: false },
} as const satisfies Record<string, ErrorRow>;

/** The name of an error: HTTP's `error`, gRPC's ErrorInfo reason. */
export type ErrorName = keyof typeof ERRORS;

/** One thing wrong with a request: the field's path, as in `includeNamespaces[0].database`, and what is wrong. */
export interface FieldViolation {
  readonly field: string;
  readonly description: string;
}

/** What an AppError may carry besides its name and text. */
export interface AppErrorOptions {
  readonly cause?: unknown;
  readonly violations?: readonly FieldViolation[];
  /** How many there are besides. */
  readonly moreViolations?: number;
  /** Facts for programs, shown in gRPC's ErrorInfo metadata; never a password, a token or a document's content. */
  readonly metadata?: Readonly<Record<string, string>>;
}

/** An error with a name from the table. Everything that leaves the engine or reaches a caller is one of these. */
export class AppError extends Error {
  override readonly name = 'AppError';
  readonly code: ErrorName;
  readonly violations: readonly FieldViolation[];
  readonly moreViolations: number;
  readonly metadata: Readonly<Record<string, string>>;

  constructor(code: ErrorName, message: string, options: AppErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.violations = options.violations ?? [];
    this.moreViolations = options.moreViolations ?? 0;
    this.metadata = options.metadata ?? {};
  }

  /** The row of the table. */
  get row(): ErrorRow {
    return ERRORS[this.code];
  }

  /** Any value as an AppError: itself, or `Internal` with the value as its cause. */
  static from(reason: unknown): AppError {
    if (reason instanceof AppError) return reason;
    const text = reason instanceof Error ? reason.message : String(reason);
    return new AppError('Internal', text, { cause: reason });
  }
}

/** How many violations a caller is told of one request; the others are counted. */
export const MAX_TOLD = 20;
/** Characters of a violation's text, which may quote the caller's. */
const MAX_DESCRIPTION = 1000;

/**
 * A request with the violations it has, in one error: the first of them, and how many there are more (`uncounted` are
 * known but not given here). Precondition: at least one violation.
 */
export function invalidRequest(given: readonly FieldViolation[], uncounted = 0): AppError {
  const violations = given.slice(0, MAX_TOLD).map(shortened);
  const more = given.length - violations.length + uncounted;
  const texts = violations.map((v) => (v.field === '' ? v.description : `${v.field}: ${v.description}`));
  if (more > 0) texts.push(`and ${more.toLocaleString('en-US')} more`);
  return new AppError('InvalidRequest', texts.join('; '), { violations, moreViolations: more });
}

function shortened(violation: FieldViolation): FieldViolation {
  if (violation.description.length <= MAX_DESCRIPTION && violation.field.length <= MAX_DESCRIPTION) return violation;
  const cut = (text: string): string =>
    text.length <= MAX_DESCRIPTION ? text : `${text.slice(0, MAX_DESCRIPTION)}… (${text.length} characters)`;
  return { field: cut(violation.field), description: cut(violation.description) };
}

/** Thrown when a condition this code itself guarantees does not hold: a bug of ours, never the operator's fault. */
export class InvariantError extends AppError {
  constructor(message: string) {
    super('Internal', `internal invariant broken: ${message}`);
  }
}
