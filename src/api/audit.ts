/** Logs calls and their answers, with mongosync's messages and fields, and without the contents of documents. */
import { type DescMethod, fromBinary, type JsonObject, type JsonValue, toJson } from '@bufbuild/protobuf';
import type { AppError } from '../errors.js';
import type { Logger } from '../lib/logger.js';
import type { MigrationControl } from '../progress/control.js';
import { httpRule } from './descriptors.js';
import { errorBody, successBody } from './http/answer.js';
import { decodeToJson } from './json/json-out.js';

/** Larger requests are not decoded for the log; longer texts are cut. */
const MAX_DECODED_BYTES = 64 * 1024;
const MAX_NAME_CHARACTERS = 4000;
/** Progress is asked for all the time: so often is an answer logged. */
const PROGRESS_EVERY_MS = 10_000;

/** One call, for the log. */
export interface AuditedCall {
  readonly door: 'grpc' | 'http';
  readonly method: DescMethod;
  readonly logger: Logger;
  readonly control: MigrationControl;
  readonly bytes: Uint8Array;
}

/** Notes how a call ended. */
export interface Audit {
  answered(bytes: Uint8Array): void;
  refused(error: AppError): void;
}

const lastProgress = new WeakMap<MigrationControl, number>();

/**
 * Logs a call and its answer, by the same messages and fields as mongosync (`uri`, `body` as a text): every one that may
 * change something, whether it comes by gRPC or HTTP, and progress now and then. Never a document's content; bodies are
 * bounded.
 */
export function auditCall({ door, method, logger, control, bytes }: AuditedCall): Audit {
  const { method: verb, path: uri } = httpRule(method);
  const facts = { uri, method: verb, door };
  if (verb === 'GET') {
    return {
      answered: (answer) => {
        if (method.name === 'GetProgress') logProgress(control, logger, facts, decodeToJson(method.output, answer));
      },
      refused: () => undefined,
    };
  }
  logger.info('Received request', { ...facts, body: requestText(method, bytes, logger) });
  const sent = (status: number, body: JsonObject): void =>
    logger.info('sent response', { ...facts, status, body: bounded(body) });
  return {
    answered: (answer) => sent(200, successBody(decodeToJson(method.output, answer))),
    refused: (error) => sent(error.row.http, errorBody(error)),
  };
}

/** Only while something is copied or has been: readers of mongosync's logs expect numbers there. */
function logProgress(control: MigrationControl, logger: Logger, facts: JsonObject, body: JsonObject): void {
  const now = performance.now();
  if (now - (lastProgress.get(control) ?? Number.NEGATIVE_INFINITY) < PROGRESS_EVERY_MS) return;
  const { details, ...progress } = body['progress'] as JsonObject;
  const copy = progress['collectionCopy'] as JsonObject | null | undefined;
  if (typeof copy?.['estimatedTotalBytes'] !== 'number') return;
  lastProgress.set(control, now);
  logger.debug('sent response', { ...facts, status: 200, body: bounded(successBody({ progress })) });
}

function requestText(method: DescMethod, bytes: Uint8Array, logger: Logger): string {
  if (bytes.byteLength > MAX_DECODED_BYTES) return JSON.stringify({ tooLarge: `${bytes.byteLength} bytes` });
  try {
    return bounded(withoutContents(toJson(method.input, fromBinary(method.input, bytes))));
  } catch (error) {
    logger.debug('a request could not be decoded for the log', { error });
    return JSON.stringify({ undecodable: `${bytes.byteLength} bytes` });
  }
}

/** The values of a document filter are those of documents. */
function withoutContents(value: JsonValue): JsonValue {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(withoutContents);
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => [
      name,
      name === 'matchValues' && Array.isArray(member) ? `${member.length} values` : withoutContents(member),
    ]),
  );
}

/** Always JSON, as readers expect. */
function bounded(value: JsonValue): string {
  const text = JSON.stringify(value);
  if (text.length <= MAX_NAME_CHARACTERS) return text;
  return JSON.stringify({ tooLong: `${text.length} characters`, beginning: text.slice(0, MAX_NAME_CHARACTERS / 4) });
}
