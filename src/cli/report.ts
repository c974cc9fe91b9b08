/** Prints the error of a client command, and chooses its exit code. */
import { status } from '@grpc/grpc-js';
import { BadRequest, ErrorInfo } from '../../gen/google/rpc/error_details.js';
import { Status } from '../../gen/google/rpc/status.js';
import { AppError, type FieldViolation } from '../errors.js';
import { redactText } from '../lib/redact.js';
import { CallError, type ClientOptions } from './client.js';
import { accessAdvice, connectionAdvice } from './connection-advice.js';
import { CliExit } from './exit-codes.js';
import { type Io, OutputClosed } from './io.js';

interface ErrorReport {
  /** A name of the error table, or gRPC's status when the server gave none. */
  readonly error: string;
  readonly description: string;
  readonly violations: readonly FieldViolation[];
  readonly exitCode: number;
}

/**
 * Prints an error and returns the exit code it stands for: as text on standard error, as JSON on standard output, since
 * there it is the answer. An error that is neither ours nor gRPC's is a bug, and is thrown again.
 */
export function reportError(error: unknown, io: Io, output: ClientOptions['output']): number {
  if (error instanceof OutputClosed) return CliExit.ok;
  const report = describeError(error);
  if (output === 'json') io.out(errorJson(report));
  else io.err(errorText(report));
  return report.exitCode;
}

function describeError(error: unknown): ErrorReport {
  if (error instanceof CallError) return describeCall(error);
  if (!(error instanceof AppError)) throw error;
  const { code, message, violations } = error;
  const exitCode = violations.length > 0 ? CliExit.usage : CliExit.failed;
  return { error: code, description: redactText(message), violations, exitCode };
}

function describeCall({ failure, destination: { target, credentials } }: CallError): ErrorReport {
  const { info, violations } = detailsOf(failure.metadata.get('grpc-status-details-bin')[0]);
  if (info !== undefined) {
    const isRefused = failure.code === status.UNAUTHENTICATED;
    const description = isRefused
      ? `${failure.details}; ${accessAdvice(failure.details, credentials)}`
      : failure.details;
    return { error: info.reason, description, violations, exitCode: CliExit.failed };
  }
  if (failure.code === status.UNAVAILABLE || failure.code === status.DEADLINE_EXCEEDED) {
    const said = failure.details.replace(/\s*Resolution note:\s*$/, '').replace(/\s+/g, ' ');
    const advice = connectionAdvice(said, credentials);
    const description = `no answer from a server at ${target}: ${said}${advice === undefined ? '' : `; ${advice}`}`;
    return { error: 'Unreachable', description, violations, exitCode: CliExit.unreachable };
  }
  return {
    error: status[failure.code] ?? 'UNKNOWN',
    description: failure.details,
    violations,
    exitCode: CliExit.failed,
  };
}

interface Details {
  readonly info: ErrorInfo | undefined;
  readonly violations: readonly FieldViolation[];
}

/** google.rpc's rich error details; nothing for a server that sends none. */
function detailsOf(bytes: unknown): Details {
  if (!Buffer.isBuffer(bytes)) return { info: undefined, violations: [] };
  const { details } = Status.decode(bytes);
  const info = details.find(({ typeUrl }) => typeUrl.endsWith('/google.rpc.ErrorInfo'));
  const violations = details
    .filter(({ typeUrl }) => typeUrl.endsWith('/google.rpc.BadRequest'))
    .flatMap(({ value }) => BadRequest.decode(value).fieldViolations)
    .map(({ field, description }) => ({ field, description }));
  return { info: info === undefined ? undefined : ErrorInfo.decode(info.value), violations };
}

function errorJson({ error, description, violations }: ErrorReport): string {
  const body = { success: false, error, errorDescription: description };
  return `${JSON.stringify(violations.length === 0 ? body : { ...body, violations })}\n`;
}

/** The violations stand in lines of their own, so the summary that repeats them is left out. */
function errorText({ error, description, violations }: ErrorReport): string {
  if (violations.length === 0) return `mongoferry: ${error}: ${description}\n`;
  const lines = violations.map(({ field, description: text }) => `  ${field === '' ? text : `${field}: ${text}`}\n`);
  return `mongoferry: ${error}\n${lines.join('')}`;
}
