/** Reads the body of an HTTP request as JSON, within the limits of size and time. */
import type { IncomingMessage } from 'node:http';
import type { JsonValue } from '@bufbuild/protobuf';
import { AppError, invalidRequest } from '../../errors.js';
import { JsonSyntaxError, parseJsonText } from '../json/json-text.js';
import { costlyWork, LARGE_REQUEST_BYTES, MAX_REQUEST_BYTES } from '../limits.js';
import type { Holder, ReservedBytes } from '../reserved-bytes.js';
import type { Violations } from '../violations.js';

/** How much of a refused body is still taken in, so that its sender gets to read the answer. */
const MAX_DISCARDED_BYTES = 4 * MAX_REQUEST_BYTES;

/** Where the paths of what is wrong begin, and where it is noted. */
export interface JsonBodyContext {
  readonly path: string;
  readonly violations: Violations;
  /** What the body counts against while it arrives and is read. */
  readonly held: ReservedBytes;
}

/**
 * The request's body as JSON, whatever its content type says: `curl --data` calls everything a form. An empty body, and
 * `null`, are `{}`. Errors: RequestTooLarge, InvalidRequest.
 */
export async function readJsonBody(
  request: IncomingMessage,
  { path, violations, held }: JsonBodyContext,
): Promise<JsonValue> {
  using holder = held.open();
  const bytes = await readBody(request, holder);
  if (bytes.byteLength > LARGE_REQUEST_BYTES) await costlyWork.next();
  const text = decodeText(bytes);
  if (!/\S/.test(text)) return {};
  try {
    return parseJsonText(text, violations, path).value ?? {};
  } catch (error) {
    if (error instanceof JsonSyntaxError) throw invalidRequest([{ field: '', description: error.message }]);
    throw error;
  }
}

function decodeText(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw invalidRequest([{ field: '', description: 'the body is not valid UTF-8' }]);
  }
}

async function readBody(request: IncomingMessage, holder: Holder): Promise<Uint8Array> {
  if (Number(request.headers['content-length'] ?? 0) > MAX_REQUEST_BYTES) throw tooLarge(request);
  const chunks: Buffer[] = [];
  let bytes = 0;
  return await new Promise((resolve, reject) => {
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.byteLength;
      holder.add(chunk.byteLength);
      if (bytes <= MAX_REQUEST_BYTES) chunks.push(chunk);
      else {
        request.removeAllListeners('data');
        reject(tooLarge(request));
      }
      if (holder.hasRoom) return;
      request.pause();
      void holder.room().then(() => request.resume());
    });
    request.on('end', () => resolve(Buffer.concat(chunks)));
    request.on('error', reject);
    // The caller's doing, and nobody is left to be told.
    const left = { field: '', description: 'the connection was closed before the body was complete' };
    request.on('close', () => reject(invalidRequest([left])));
  });
}

function tooLarge(request: IncomingMessage): AppError {
  let discarded = 0;
  request.on('data', (chunk: Buffer) => {
    discarded += chunk.byteLength;
    if (discarded > MAX_DISCARDED_BYTES) request.destroy();
  });
  return new AppError('RequestTooLarge', `the body is larger than ${MAX_REQUEST_BYTES / 1024 / 1024} MiB`);
}
