/** Runs a handler for a door: with a trace span, a log line of refusals, and errors that are fit for callers. */
import type { DescMethod } from '@bufbuild/protobuf';
import { context, propagation, ROOT_CONTEXT, type Span, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { AppError } from '../errors.js';
import type { Logger } from '../lib/logger.js';
import { metrics } from '../metrics.js';
import { auditCall } from './audit.js';
import type { Call, StreamHandler, UnaryHandler } from './handlers/handler.js';
import { publicError } from './public-error.js';

const tracer = trace.getTracer('mongoferry');

/** Who calls, and where the call is noted. */
export interface RpcCaller {
  readonly door: 'grpc' | 'http';
  readonly method: DescMethod;
  readonly logger: Logger;
  /** Headers by lower-case name, for the trace that the caller may be in. */
  readonly headers: Readonly<Record<string, string>>;
}

/** Why a call's signal aborts when nobody waits for its answer. */
export function callerGone(): AppError {
  return new AppError('Cancelled', 'the caller went away, or its deadline passed, before the call was carried out');
}

/** Runs a unary handler in a span. Errors: an AppError that is fit for callers. */
export async function runUnary(handler: UnaryHandler, call: Call, caller: RpcCaller): Promise<Uint8Array> {
  const { span, within } = openSpan(caller);
  const started = performance.now();
  const audit = auditCall({ ...caller, control: call.control, bytes: call.request.bytes });
  let code = 'OK';
  try {
    const answer = await context.with(within, () => handler(call));
    audit.answered(answer);
    return answer;
  } catch (reason) {
    const error = fail(span, reason, caller);
    code = error.code;
    audit.refused(error);
    throw error;
  } finally {
    span.end();
    const labels = { door: caller.door, method: caller.method.name, code };
    metrics.requestDuration.record(performance.now() - started, labels);
  }
}

/** Runs a stream handler in a span that lasts as long. Ends without an error when the caller has gone away. */
export async function* runStream(handler: StreamHandler, call: Call, caller: RpcCaller): ReturnType<StreamHandler> {
  const { span } = openSpan(caller);
  try {
    yield* handler(call);
  } catch (reason) {
    if (call.signal.aborted && !(call.signal.reason instanceof AppError)) return;
    throw fail(span, reason, caller);
  } finally {
    span.end();
  }
}

function openSpan({ method, door, headers }: RpcCaller): { span: Span; within: ReturnType<typeof trace.setSpan> } {
  const parent = propagation.extract(ROOT_CONTEXT, headers);
  const service = method.parent.typeName;
  const attributes = {
    'rpc.system': 'grpc',
    'rpc.service': service,
    'rpc.method': method.name,
    'mongoferry.door': door,
  };
  const span = tracer.startSpan(`${service}/${method.name}`, { kind: SpanKind.SERVER, attributes }, parent);
  return { span, within: trace.setSpan(parent, span) };
}

function fail(span: Span, reason: unknown, { method, door, logger }: RpcCaller): AppError {
  const error = publicError(reason, logger, { method: method.name, door });
  span.setAttribute('error.type', error.code);
  span.setStatus({ code: SpanStatusCode.ERROR, message: error.message });
  if (error.code !== 'Internal') {
    logger.info('a call was refused', { method: method.name, door, error: error.code, description: error.message });
  }
  return error;
}
