/** Turns an HTTP request into the encoded message that a handler reads. */
import type { IncomingMessage } from 'node:http';
import type { JsonObject } from '@bufbuild/protobuf';
import { type AppError, invalidRequest } from '../../errors.js';
import { encodeJsonRequest } from '../json/json-in.js';
import { readQuery } from '../json/query-in.js';
import type { ReservedBytes } from '../reserved-bytes.js';
import { Violations } from '../violations.js';
import { PAGE_SIZE_RULE } from '../wire/read-requests.js';
import type { EncodedRequest } from '../wire/request.js';
import { readJsonBody } from './body.js';
import type { RpcRoute } from './routes.js';

/** A request, and what its body counts against. */
export interface HttpRpcRequest {
  readonly request: IncomingMessage;
  readonly query: URLSearchParams;
  readonly held: ReservedBytes;
}

/**
 * The message that an HTTP request stands for: its query and its body, put together as the method's annotation says.
 * Errors: RequestTooLarge; InvalidRequest when the body is no JSON. All else that is wrong is in the result's
 * violations.
 */
export async function readRpcRequest(
  route: RpcRoute,
  { request, query, held }: HttpRpcRequest,
): Promise<EncodedRequest> {
  const { rule, input } = route;
  const violations = new Violations();
  if (rule.body === '*') {
    for (const field of query.keys()) violations.add(field, 'belongs in the body, not in the query');
    const body = await readJsonBody(request, { path: '', violations, held });
    return { bytes: encodeJsonRequest(input, body, violations).bytes, violations };
  }
  const fromQuery = readQuery(input, query);
  violations.addAll(fromQuery.violations);
  // Encoded, it could not be told from one that is not given.
  if (fromQuery.value['pageSize'] === 0) violations.add('pageSize', PAGE_SIZE_RULE);
  const value: JsonObject = { ...fromQuery.value };
  if (rule.body !== '') value[rule.body] = await readJsonBody(request, { path: rule.body, violations, held });
  return { bytes: encodeJsonRequest(input, value, violations).bytes, violations };
}

/** An error with the paths that the HTTP caller knows: relative to the body, where the body is a field of the request. */
export function relativeToBody({ rule }: RpcRoute, error: AppError): AppError {
  if (rule.body === '' || rule.body === '*' || error.code !== 'InvalidRequest') return error;
  const prefix = new RegExp(`^${rule.body}(\\.|$)`);
  const violations = error.violations.map((one) => ({ ...one, field: one.field.replace(prefix, '') }));
  return invalidRequest(violations, error.moreViolations);
}
