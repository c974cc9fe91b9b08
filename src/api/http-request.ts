import type { IncomingMessage } from 'node:http';
import type { JsonObject } from '@bufbuild/protobuf';
import { type AppError, type FieldViolation, invalidRequest } from '../errors.js';
import { readJsonBody } from './http-body.js';
import { encodeJsonRequest } from './json/json-in.js';
import { readQuery } from './json/query-in.js';
import type { RpcRoute } from './routes.js';
import type { EncodedRequest } from './wire/request.js';

/**
 * The message that an HTTP request stands for: its query and its body, put together as the method's annotation says.
 * Errors: RequestTooLarge; InvalidRequest when the body is no JSON. All else that is wrong is in the result's
 * violations.
 */
export async function readRpcRequest(
  route: RpcRoute,
  request: IncomingMessage,
  query: URLSearchParams,
): Promise<EncodedRequest> {
  const { rule, input } = route;
  const fromQuery = readQuery(input, query);
  if (rule.body === '') return join(route, fromQuery.value, fromQuery.violations);
  const body = await readJsonBody(request);
  if (rule.body !== '*') {
    const violations = body.violations.map((one) => ({ ...one, field: `${rule.body}.${one.field}` }));
    return join(route, { ...fromQuery.value, [rule.body]: body.value }, [...fromQuery.violations, ...violations]);
  }
  const misplaced = [...new Set(query.keys())].map((field) => ({
    field,
    description: 'belongs in the body, not in the query',
  }));
  const encoded = encodeJsonRequest(input, body.value);
  return { bytes: encoded.bytes, violations: [...misplaced, ...body.violations, ...encoded.violations] };
}

function join({ input }: RpcRoute, value: JsonObject, violations: readonly FieldViolation[]): EncodedRequest {
  const encoded = encodeJsonRequest(input, value);
  return { bytes: encoded.bytes, violations: [...violations, ...encoded.violations] };
}

/** An error with the paths that the HTTP caller knows: relative to the body, where the body is a field of the request. */
export function relativeToBody({ rule }: RpcRoute, error: AppError): AppError {
  if (rule.body === '' || rule.body === '*' || error.code !== 'InvalidRequest') return error;
  const prefix = new RegExp(`^${rule.body}(\\.|$)`);
  return invalidRequest(error.violations.map((one) => ({ ...one, field: one.field.replace(prefix, '') })));
}
