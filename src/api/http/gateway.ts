/** Serves the HTTP door: mongosync's `/api/v1` and our own routes, by the same handlers as the gRPC door. */
import { setMaxListeners } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import * as http from 'node:http';
import * as https from 'node:https';
import type { AddressInfo } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { JsonObject } from '@bufbuild/protobuf';
import { AppError } from '../../errors.js';
import type { Logger } from '../../lib/logger.js';
import { linkAbort } from '../../lib/signals.js';
import type { MigrationControl } from '../../progress/control.js';
import { RefusalLog } from '../auth.js';
import { Connections } from '../connections.js';
import { type DoorCaller, type DoorCredentials, openToAll } from '../credentials.js';
import type { StreamHandler } from '../handlers/handler.js';
import { decodeToJson } from '../json/json-out.js';
import { costlyWork, HANDSHAKE_TIMEOUT_MS } from '../limits.js';
import { publicError } from '../public-error.js';
import { ReservedBytes, serverBusy } from '../reserved-bytes.js';
import { callerGone, type RpcCaller, runStream, runUnary } from '../run-rpc.js';
import { answerUnreadable, JSON_TYPE, sendError, sendJson, sendText, successBody } from './answer.js';
import { sendEvents } from './event-stream.js';
import { refuseForeign } from './guard.js';
import { buildOpenApi } from './openapi.js';
import { readRpcRequest, relativeToBody } from './request.js';
import { type RpcRoute, rpcRoutes } from './routes.js';

/** What the HTTP gateway needs. */
export interface GatewayOptions {
  readonly control: MigrationControl;
  readonly logger: Logger;
  /** The address to listen on, a name or an IP. */
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
  /** What /metrics answers: Prometheus text. */
  readonly metricsText: () => string | Promise<string>;
  /**
   * Names, with or without a port, under which the gateway may be addressed besides loopback. With a token any name will
   * do: a page that gets at us by DNS rebinding has none.
   */
  readonly allowedHosts?: readonly string[];
  /** Default: without TLS, open to all. */
  readonly credentials?: DoorCredentials;
  /** What callers of both doors may make us hold. */
  readonly held?: ReservedBytes;
  /** How long an answer may wait for a reader that takes nothing of it, in milliseconds. Default one minute. */
  readonly stalledMs?: number;
}

/** A gateway that listens. */
export interface Gateway {
  readonly port: number;
  /** Takes no new connections, ends event streams with ShuttingDown, and cuts off what lasts over 5 s. Repeatable. */
  stop(): Promise<void>;
}

/** Milliseconds. */
const HEADERS_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 60_000;
const STOP_DEADLINE_MS = 5_000;
const MAX_HEADER_BYTES = 16 * 1024;
const MAX_CONNECTIONS = 1000;

/** What probes ask, which cannot bring credentials. */
const OPEN_PATHS: ReadonlySet<string> = new Set(['/healthz', '/readyz']);

/** Serves the HTTP/JSON API. Rejects when the address cannot be listened on. Source: docs/api.md. */
export async function startGateway(options: GatewayOptions): Promise<Gateway> {
  const shutdown = new AbortController();
  setMaxListeners(0, shutdown.signal);
  const { held = new ReservedBytes(), credentials = openToAll() } = options;
  const refusals = new RefusalLog(options.logger, 'http');
  const context: Context = { ...options, held, credentials, refusals, shutdown: shutdown.signal };
  const routes = buildRoutes(context);
  const { server, dispose } = buildServer(credentials, (request, response) => {
    // With TLS the request's socket is not the connection's own.
    const socket = connections.of(request.socket.remoteAddress, request.socket.remotePort);
    connections.use(socket, 'receiving');
    request.once('end', () => connections.use(socket, 'answering'));
    response.once('close', () => connections.use(socket, 'idle'));
    cutStalled(response, options.stalledMs ?? STALLED_MS);
    serve(routes, context, request, response);
  });
  const connections = new Connections(server, MAX_CONNECTIONS);
  answerUnreadable(server);
  const port = await listen(server, options);
  return {
    port,
    stop: () => {
      dispose();
      return stop(server, shutdown);
    },
  };
}

type HttpServer = http.Server | https.Server;

/** A server for HTTP, or for HTTPS whose certificate follows every reload; and the way to stop following. */
function buildServer(
  credentials: DoorCredentials,
  serveOne: http.RequestListener,
): { readonly server: HttpServer; readonly dispose: () => void } {
  const options: http.ServerOptions = {
    headersTimeout: HEADERS_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    connectionsCheckingInterval: 2000,
    maxHeaderSize: MAX_HEADER_BYTES,
    // Looked at with the other headers, so that the answer is like the others.
    requireHostHeader: false,
    keepAlive: true,
    noDelay: true,
  };
  const secureContext = credentials.secureContext;
  if (secureContext === undefined) return { server: http.createServer(options, serveOne), dispose: () => undefined };
  // Connections without a valid certificate get as far as the check of each request: 401 tells a caller more than a
  // broken handshake does, and probes, which have no certificate, can ask for health.
  const tls = { requestCert: credentials.requiresClientCertificate, rejectUnauthorized: false };
  const server = https.createServer(
    { ...options, ...secureContext, ...tls, handshakeTimeout: HANDSHAKE_TIMEOUT_MS },
    serveOne,
  );
  return { server, dispose: credentials.onReload(() => server.setSecureContext(credentials.secureContext ?? {})) };
}

/** For the default, and how often it is looked at. */
const STALLED_MS = 60_000;
const LOOK_MS = 5000;

function cutStalled(response: ServerResponse, stalledMs: number): void {
  let waiting = 0;
  let sinceMs = 0;
  const timer = setInterval(
    () => {
      const { writableLength } = response;
      if (writableLength === 0 || writableLength !== waiting) [waiting, sinceMs] = [writableLength, performance.now()];
      else if (performance.now() - sinceMs > stalledMs) response.destroy();
    },
    Math.min(LOOK_MS, stalledMs),
  ).unref();
  response.once('close', () => clearInterval(timer));
}

interface Context extends GatewayOptions {
  readonly credentials: DoorCredentials;
  readonly refusals: RefusalLog;
  readonly held: ReservedBytes;
  readonly shutdown: AbortSignal;
}

/** What one request is served with. */
interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly query: URLSearchParams;
}

type Serve = (exchange: Exchange) => Promise<void>;

/** By path, then by verb. */
type Routes = ReadonlyMap<string, ReadonlyMap<string, Serve>>;

function buildRoutes(context: Context): Routes {
  const routes = new Map<string, Map<string, Serve>>();
  const add = (path: string, verb: string, serveOne: Serve): void => {
    routes.set(path, (routes.get(path) ?? new Map<string, Serve>()).set(verb, serveOne));
  };
  const apiDocument = JSON.stringify(buildOpenApi(rpcRoutes()), undefined, 2);
  for (const route of rpcRoutes()) add(route.rule.path, route.rule.method, serveRpc(route, context));
  add('/healthz', 'GET', async ({ response }) => void sendJson(response, 200, { success: true }));
  add('/readyz', 'GET', async ({ request, response }) => {
    sendReadiness(response, context.control, context.credentials.admits(callerOf(request)));
  });
  const sendApiDocument: Serve = async ({ response }) => void sendText(response, 200, JSON_TYPE, apiDocument);
  const sendMetrics: Serve = async ({ response }) => {
    await costlyWork.next();
    sendText(response, 200, 'text/plain; version=0.0.4; charset=utf-8', await context.metricsText());
  };
  add('/openapi.json', 'GET', sendApiDocument);
  add('/metrics', 'GET', sendMetrics);
  return routes;
}

function serve(routes: Routes, context: Context, request: IncomingMessage, response: ServerResponse): void {
  const answer = async (): Promise<void> => {
    const anyHost = context.credentials.requiresToken;
    refuseForeign(request, context.allowedHosts ?? [], anyHost);
    const [path, query] = splitTarget(request.url ?? '');
    if (!OPEN_PATHS.has(path)) admit(request, context);
    await dispatch(routes, path, { request, response, query: new URLSearchParams(query) });
  };
  answer().catch((reason: unknown) => {
    if (response.headersSent || response.destroyed) response.destroy();
    else if (reason instanceof AppError) sendError(response, reason);
    else sendError(response, publicError(reason, context.logger, { path: request.url ?? '', door: 'http' }));
  });
}

/** Errors: Unauthenticated. */
function admit(request: IncomingMessage, { credentials, refusals }: Context): void {
  const caller = callerOf(request);
  if (!credentials.admits(caller)) refusals.note(request.socket.remoteAddress ?? 'unknown');
  credentials.admit(caller);
}

function callerOf(request: IncomingMessage): DoorCaller {
  return { authorization: request.headers.authorization, hasCertificate: hasCertificate(request) };
}

/** `authorized` alone is also true of a resumed session without a certificate. */
function hasCertificate({ socket }: IncomingMessage): boolean {
  return socket instanceof TLSSocket && socket.authorized && socket.getPeerCertificate().raw !== undefined;
}

/** Errors: NotFound, MethodNotAllowed (with the header that says which are), and what the route's own code throws. */
function dispatch(routes: Routes, path: string, exchange: Exchange): Promise<void> {
  const { request, response } = exchange;
  const verbs = routes.get(path);
  if (verbs === undefined) throw new AppError('NotFound', 'this path does not exist; /openapi.json lists the paths');
  const serveOne = verbs.get(request.method === 'HEAD' ? 'GET' : (request.method ?? ''));
  if (serveOne !== undefined) return serveOne(exchange);
  const allow = [...verbs.keys(), ...(verbs.has('GET') ? ['HEAD'] : [])].join(', ');
  response.setHeader('allow', allow);
  throw new AppError('MethodNotAllowed', `this path accepts only ${allow}`);
}

function splitTarget(target: string): [path: string, query: string] {
  const at = target.indexOf('?');
  return at < 0 ? [target, ''] : [target.slice(0, at), target.slice(at + 1)];
}

/** Whether, for everybody; why not, which names hosts, for those who may know. */
function sendReadiness(response: ServerResponse, control: MigrationControl, mayKnowWhy: boolean): void {
  const { failure } = control.snapshot();
  if (control.ready) {
    sendJson(response, 200, { success: true });
    return;
  }
  const notReady = (why: string | undefined): string =>
    (mayKnowWhy ? why : undefined) ?? 'a cluster cannot be reached, or this process does not hold the lease';
  if (failure === undefined) {
    sendError(response, new AppError('ClusterUnreachable', notReady(control.unreadiness)));
  } else {
    const said = mayKnowWhy ? failure.description : 'the migration has failed; progress shows the cause';
    sendError(response, new AppError('MigrationFailed', said));
  }
}

function serveRpc(route: RpcRoute, context: Context): Serve {
  const { rpc } = route;
  if (rpc.kind === 'stream') return (exchange) => serveStream(route, rpc.handler, exchange, context);
  return async ({ request, response, query }) => {
    using link = linkAbort(context.shutdown);
    response.once('close', () => link.abort(callerGone()));
    try {
      const caller = toCaller(route, request, context);
      const encoded = await readRpcRequest(route, { request, query, held: context.held });
      const call = { control: context.control, request: encoded, signal: link.signal };
      const bytes = await runUnary(rpc.handler, call, caller);
      if (response.destroyed) return;
      if (!context.held.fits(bytes.byteLength)) throw serverBusy();
      const holder = context.held.open();
      response.once('close', () => holder[Symbol.dispose]());
      holder.add(sendJson(response, 200, successBody(decodeToJson(route.output, bytes))));
    } catch (reason) {
      throw reason instanceof AppError ? relativeToBody(route, reason) : reason;
    }
  };
}

async function serveStream(
  route: RpcRoute,
  handler: StreamHandler,
  { request, response, query }: Exchange,
  context: Context,
): Promise<void> {
  const caller = toCaller(route, request, context);
  const encoded = await readRpcRequest(route, { request, query, held: context.held });
  async function* open(signal: AbortSignal): AsyncGenerator<JsonObject, void, undefined> {
    for await (const bytes of runStream(handler, { control: context.control, request: encoded, signal }, caller)) {
      yield successBody(decodeToJson(route.output, bytes));
    }
  }
  await sendEvents({ request, response, shutdown: context.shutdown, open, held: context.held });
}

function toCaller({ method }: RpcRoute, request: IncomingMessage, { logger }: Context): RpcCaller {
  const headers = Object.fromEntries(Object.entries(request.headers).map(([name, value]) => [name, String(value)]));
  return { door: 'http', method, logger, headers };
}

function listen(server: HttpServer, { host, port, logger }: GatewayOptions): Promise<number> {
  return new Promise((resolve, reject) => {
    server.on('error', (cause) => {
      if (server.listening) logger.warn('a connection could not be accepted', { error: cause });
      else reject(new Error(`cannot listen on ${host}:${port} for HTTP`, { cause }));
    });
    server.listen(port, host, () => resolve((server.address() as AddressInfo).port));
  });
}

async function stop(server: HttpServer, shutdown: AbortController): Promise<void> {
  shutdown.abort(new AppError('ShuttingDown', 'the server is stopping; call again when it has restarted'));
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  const timer = setTimeout(() => server.closeAllConnections(), STOP_DEADLINE_MS);
  await closed;
  clearTimeout(timer);
}
