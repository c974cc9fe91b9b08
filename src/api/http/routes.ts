/** Finds the HTTP routes of the service in the annotations of proto/. */
import type { DescMessage, DescMethod } from '@bufbuild/protobuf';
import { InvariantError } from '../../errors.js';
import { type HttpRule, httpRule, syncService } from '../descriptors.js';
import type { Rpc } from '../handlers/handler.js';
import { RPCS } from '../handlers/table.js';

/** A method of the service as the gateway serves it. */
export interface RpcRoute {
  readonly method: DescMethod;
  readonly input: DescMessage;
  readonly output: DescMessage;
  readonly rule: HttpRule;
  readonly rpc: Rpc;
}

/**
 * Every method of the service with its path and handler, read from the annotations in proto/: adding a method there
 * and to the table of handlers is all it takes. Errors: InvariantError when the two do not fit.
 */
export function rpcRoutes(): RpcRoute[] {
  return syncService.methods.map((method) => {
    const rpc = RPCS[method.name];
    if (rpc === undefined) throw new InvariantError(`${method} has no handler`);
    return { method, input: method.input, output: method.output, rule: httpRule(method), rpc };
  });
}
