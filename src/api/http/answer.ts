/** Writes the answers of the HTTP door: bodies, errors, and errors of requests that could not be read. */
import { type Server, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import type { JsonObject } from '@bufbuild/protobuf';
import { AppError, invalidRequest } from '../../errors.js';

const COMMON_HEADERS = { 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' };

const LINGER_MS = 2000;

/** The content type of JSON answers. */
export const JSON_TYPE = 'application/json; charset=utf-8';

/** Sends a whole answer; returns its size in bytes. */
export function sendText(response: ServerResponse, status: number, contentType: string, text: string): number {
  const body = Buffer.from(text);
  response.writeHead(status, { ...COMMON_HEADERS, 'content-type': contentType, 'content-length': body.byteLength });
  response.end(body);
  return body.byteLength;
}

/** Sends a JSON body as it is; returns its size in bytes. */
export function sendJson(response: ServerResponse, status: number, body: JsonObject): number {
  return sendText(response, status, JSON_TYPE, `${JSON.stringify(body)}\n`);
}

/** The body of a successful call: mongosync's `success` beside the response's fields. */
export function successBody(fields: JsonObject): JsonObject {
  return { success: true, ...fields };
}

/** The body of a failed call, in mongosync's shape. */
export function errorBody(error: AppError): JsonObject {
  return { success: false, error: error.code, errorDescription: error.message };
}

/** Sends an error by its row of the error table. */
export function sendError(response: ServerResponse, error: AppError): void {
  if (error.code === 'Unauthenticated') response.setHeader('www-authenticate', 'Bearer');
  sendJson(response, error.row.http, errorBody(error));
}

/** Answers what Node's parser does not take, and what Node would answer by itself, in the form of all other errors. */
export function answerUnreadable(server: Server): void {
  const latest = new WeakMap<Duplex, ServerResponse>();
  server.on('request', ({ socket }, response) => latest.set(socket, response));
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    const response = latest.get(socket);
    if (error.code === 'ECONNRESET' || !socket.writable) socket.destroy();
    else if (response?.headersSent !== true) endWith(socket, { ...unreadable(error.code), to: response?.req.method });
    // What follows a request that is answered is not looked at any more.
    else if (response.writableFinished) socket.end();
    else response.once('finish', () => socket.end());
  });
  server.on('connect', (_request, socket) => {
    endWith(socket, { status: 405, error: new AppError('MethodNotAllowed', 'this server is not a proxy') });
  });
  server.on('checkExpectation', (_request, response) => {
    sendJson(response, 417, errorBody(invalidRequest([{ field: 'expect', description: 'must be 100-continue' }])));
  });
}

interface LastAnswer {
  readonly status: number;
  readonly error: AppError;
  /** The method that is answered, if it is known. */
  readonly to?: string | undefined;
}

function unreadable(code: string | undefined): LastAnswer {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return { status: 431, error: new AppError('RequestTooLarge', 'the headers are larger than 16 KiB') };
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return {
        status: 408,
        error: invalidRequest([{ field: '', description: 'the request took too long to arrive' }]),
      };
    default:
      return { status: 400, error: invalidRequest([{ field: '', description: 'this is not a valid HTTP request' }]) };
  }
}

function endWith(socket: Duplex, { status, error, to }: LastAnswer): void {
  const body = `${JSON.stringify(errorBody(error))}\n`;
  const headers = { ...COMMON_HEADERS, 'content-type': JSON_TYPE, connection: 'close' };
  const lines = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}`,
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    `content-length: ${Buffer.byteLength(body)}`,
  ];
  socket.end(`${lines.join('\r\n')}\r\n\r\n${to === 'HEAD' ? '' : body}`);
  // Whoever does not close it is not waited for.
  const timer = setTimeout(() => socket.destroy(), LINGER_MS).unref();
  socket.once('close', () => clearTimeout(timer));
}

/** The headers of a server-sent event stream; proxies are asked not to hold events back. */
export const EVENT_STREAM_HEADERS = {
  ...COMMON_HEADERS,
  'content-type': 'text/event-stream; charset=utf-8',
  'x-accel-buffering': 'no',
};
