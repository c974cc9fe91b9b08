import { type ServiceError, status } from '@grpc/grpc-js';
import { BadRequest, ErrorInfo } from './gen/google/rpc/error_details.js';
import { Status } from './gen/google/rpc/status.js';

/** One thing wrong with a request. */
export interface FieldViolation {
  /** The field's path, as in `includeNamespaces[0].database`; "" is the request itself. */
  readonly field: string;
  readonly description: string;
}

/** What mongoferry says of a call that failed. */
export interface CallFailure {
  /** The error's name, as in `DestinationNotEmpty`; undefined when the failure is not mongoferry's (no connection). */
  readonly name: string | undefined;
  /** The gRPC status code's name, as in `FAILED_PRECONDITION`. */
  readonly code: string;
  readonly description: string;
  /** Facts for programs; which ones there are depends on the error. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Everything wrong with the request; empty unless it is `InvalidRequest`. */
  readonly violations: readonly FieldViolation[];
}

/** Reads the google.rpc.ErrorInfo and google.rpc.BadRequest that a failed call carries. */
export function readCallFailure(error: ServiceError): CallFailure {
  const bytes = error.metadata?.get('grpc-status-details-bin')[0];
  const details = bytes instanceof Buffer ? Status.decode(bytes).details : [];
  const find = (type: string): Uint8Array | undefined =>
    details.find(({ typeUrl }) => typeUrl.endsWith(`/${type}`))?.value;
  const info = find('google.rpc.ErrorInfo');
  const badRequest = find('google.rpc.BadRequest');
  const errorInfo = info === undefined ? undefined : ErrorInfo.decode(info);
  return {
    name: errorInfo?.reason,
    code: status[error.code] ?? String(error.code),
    description: error.details,
    metadata: errorInfo?.metadata ?? {},
    violations: badRequest === undefined ? [] : BadRequest.decode(badRequest).fieldViolations,
  };
}
