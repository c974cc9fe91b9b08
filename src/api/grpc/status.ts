/** Turns an AppError into a gRPC status with google.rpc's error details. */
import { Metadata, type StatusObject } from '@grpc/grpc-js';
import { BadRequest, ErrorInfo } from '../../../gen/google/rpc/error_details.js';
import { Status } from '../../../gen/google/rpc/status.js';
import type { AppError, FieldViolation } from '../../errors.js';

/** ErrorInfo's domain of every error name of ours. */
const ERROR_DOMAIN = 'mongoferry';

/**
 * gRPC's C core, which Python's client is made of, may refuse trailers of more than 8 KiB with an error of its own, and
 * does so beyond 16 KiB. The text is in them twice (once percent-encoded), the details once, as base64.
 */
const MAX_MESSAGE_BYTES = 1000;
const MAX_VIOLATIONS_BYTES = 2500;

/**
 * The status of an error: its code and text, and in `grpc-status-details-bin` an ErrorInfo (reason = the error's name)
 * and a BadRequest with the violations. Long ones are cut, and say so. Source: google.rpc.Status, docs/errors.md.
 */
export function toGrpcStatus(error: AppError): StatusObject {
  const code = error.row.grpc;
  const message = cut(error.message, MAX_MESSAGE_BYTES);
  const metadata = new Metadata();
  const details = [packErrorInfo(error)];
  if (error.violations.length > 0) details.push(packBadRequest(error));
  metadata.set('grpc-status-details-bin', Buffer.from(Status.encode({ code, message, details }).finish()));
  return { code, details: message, metadata };
}

function packErrorInfo(error: AppError): { typeUrl: string; value: Buffer } {
  const entries = Object.entries(error.metadata).map(([name, value]) => [name, cut(value, MAX_MESSAGE_BYTES)] as const);
  const info = ErrorInfo.create({ reason: error.code, domain: ERROR_DOMAIN, metadata: Object.fromEntries(entries) });
  return { typeUrl: 'type.googleapis.com/google.rpc.ErrorInfo', value: Buffer.from(ErrorInfo.encode(info).finish()) };
}

function packBadRequest({ violations, moreViolations }: AppError): { typeUrl: string; value: Buffer } {
  const request = BadRequest.create({ fieldViolations: fitting(violations, moreViolations) });
  return {
    typeUrl: 'type.googleapis.com/google.rpc.BadRequest',
    value: Buffer.from(BadRequest.encode(request).finish()),
  };
}

function fitting(violations: readonly FieldViolation[], uncounted: number): FieldViolation[] {
  const kept: FieldViolation[] = [];
  let room = MAX_VIOLATIONS_BYTES;
  for (const violation of violations) {
    const field = cut(violation.field, 300);
    const description = cut(violation.description, 500);
    room -= Buffer.byteLength(field) + Buffer.byteLength(description) + 8;
    if (room < 0) break;
    kept.push({ field, description });
  }
  const more = violations.length - kept.length + uncounted;
  if (more > 0) kept.push({ field: '', description: `and ${more.toLocaleString('en-US')} more violations` });
  return kept;
}

/** The text, or its beginning, in at most `bytes` bytes. */
function cut(text: string, bytes: number): string {
  if (Buffer.byteLength(text) <= bytes) return text;
  return `${Buffer.from(text)
    .subarray(0, bytes - 3)
    .toString('utf8')
    .replace(/\uFFFD+$/, '')}…`;
}
