import type { ServerResponse } from 'node:http';
import type { JsonObject } from '@bufbuild/protobuf';
import type { AppError } from '../errors.js';

const COMMON_HEADERS = { 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' };

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

/** The headers of a server-sent event stream; proxies are asked not to hold events back. */
export const EVENT_STREAM_HEADERS = {
  ...COMMON_HEADERS,
  'content-type': 'text/event-stream; charset=utf-8',
  'x-accel-buffering': 'no',
};
