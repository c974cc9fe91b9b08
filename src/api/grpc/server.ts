/** Serves the gRPC door: SyncService, health and reflection. */
import { setMaxListeners } from 'node:events';
import { type AddressInfo, createServer, type Server as Listener } from 'node:net';
import type { DescMethod } from '@bufbuild/protobuf';
import {
  type handleServerStreamingCall,
  type handleUnaryCall,
  type Metadata,
  Server,
  type ServerWritableStream,
  type ServiceDefinition,
  type UntypedHandleCall,
} from '@grpc/grpc-js';
import { HealthService } from '../../../gen/grpc/health/v1/health.js';
import { ServerReflectionService } from '../../../gen/grpc/reflection/v1/reflection.js';
import { AppError, InvariantError } from '../../errors.js';
import type { Logger } from '../../lib/logger.js';
import { linkAbort } from '../../lib/signals.js';
import type { MigrationControl } from '../../progress/control.js';
import { Connections } from '../connections.js';
import { type DoorCredentials, openToAll } from '../credentials.js';
import { syncService } from '../descriptors.js';
import type { Call, StreamHandler, UnaryHandler } from '../handlers/handler.js';
import { RPCS } from '../handlers/table.js';
import { costlyWork, LARGE_REQUEST_BYTES, MAX_REQUEST_BYTES } from '../limits.js';
import { ReservedBytes, serverBusy } from '../reserved-bytes.js';
import { callerGone, type RpcCaller, runStream, runUnary } from '../run-rpc.js';
import { accessInterceptor, bindCredentials } from './access.js';
import { grpcGuard } from './guard.js';
import { healthHandlers } from './health.js';
import { reflectionHandlers, reflectionV1AlphaService } from './reflection.js';
import { toGrpcStatus } from './status.js';

/** What the gRPC server needs. */
export interface GrpcServerOptions {
  readonly control: MigrationControl;
  readonly logger: Logger;
  /** The address to listen on, a name or an IP. */
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
  /** Default: without TLS, open to all. */
  readonly credentials?: DoorCredentials;
  /** What callers of both doors may make us hold. */
  readonly held?: ReservedBytes;
  /** How long an answer may wait for a reader that takes nothing of it, in milliseconds. Default one minute. */
  readonly stalledMs?: number;
}

/** A gRPC server that listens. */
export interface GrpcServer {
  readonly port: number;
  /**
   * Takes no new calls, ends streams with ShuttingDown, and resolves when all calls have ended; those that have not
   * after `deadlineMs` milliseconds are cut off. Repeatable.
   */
  stop(deadlineMs: number): Promise<void>;
}

/** Milliseconds. A half-open connection, whose client lost its network, is found within the sum of the two. */
const KEEPALIVE_TIME_MS = 10_000;
const KEEPALIVE_TIMEOUT_MS = 10_000;
const MAX_STREAMS_PER_CONNECTION = 200;
const MAX_CONNECTIONS = 500;

/** Serves SyncService, health and reflection. Rejects when the address cannot be listened on. */
export async function startGrpcServer(options: GrpcServerOptions): Promise<GrpcServer> {
  const shutdown = new AbortController();
  setMaxListeners(0, shutdown.signal);
  const { held = new ReservedBytes(), credentials: door = openToAll(), logger, stalledMs } = options;
  const listener = createServer();
  const connections = new Connections(listener, MAX_CONNECTIONS);
  const guard = grpcGuard({ held, connections, ...(stalledMs === undefined ? {} : { stalledMs }) });
  const server = new Server({
    // The first is the nearest to the connection: it must see grpc-js's own calls.
    interceptors: [guard, accessInterceptor(door, logger)],
    'grpc.max_concurrent_streams': MAX_STREAMS_PER_CONNECTION,
    'grpc.max_receive_message_length': MAX_REQUEST_BYTES,
    'grpc.max_send_message_length': -1,
    'grpc.keepalive_time_ms': KEEPALIVE_TIME_MS,
    'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
  });
  const { definition, handlers } = buildService({ ...options, held, shutdown: shutdown.signal });
  server.addService(definition, handlers);
  server.addService(HealthService, { ...healthHandlers({ control: options.control, shutdown: shutdown.signal }) });
  const reflection = { ...reflectionHandlers(held) };
  server.addService(ServerReflectionService, reflection);
  server.addService(reflectionV1AlphaService, reflection);
  const { credentials, dispose } = bindCredentials(door);
  // The connections are taken by a listener of our own, which knows how many there are and what each is used for.
  const injector = server.createConnectionInjector(credentials);
  listener.on('connection', (socket) => {
    // A connection that breaks is nobody's fault, and its session hears of it.
    socket.on('error', () => socket.destroy());
    injector.injectConnection(socket);
  });
  const port = await bind(listener, options);
  return { port, stop: (deadlineMs) => stop({ server, listener, connections, shutdown, dispose }, deadlineMs) };
}

function bind(listener: Listener, { host, port, logger }: GrpcServerOptions): Promise<number> {
  return new Promise((resolve, reject) => {
    listener.on('error', (cause) => {
      if (listener.listening) logger.warn('a connection could not be accepted', { error: cause });
      else reject(new Error(`cannot listen on ${host}:${port} for gRPC`, { cause }));
    });
    listener.listen(port, host, () => resolve((listener.address() as AddressInfo).port));
  });
}

interface Running {
  readonly server: Server;
  readonly listener: Listener;
  readonly connections: Connections;
  readonly shutdown: AbortController;
  /** Ends the following of new certificates. */
  readonly dispose: () => void;
}

function stop({ server, listener, connections, shutdown, dispose }: Running, deadlineMs: number): Promise<void> {
  dispose();
  shutdown.abort(new AppError('ShuttingDown', 'the server is stopping; call again when it has restarted'));
  listener.close();
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      connections.destroy();
      resolve();
    };
    const timer = setTimeout(() => {
      server.forceShutdown();
      // Not left to tryShutdown: it never ends when a connection broke off in the moment in which it was called.
      end();
    }, deadlineMs);
    server.tryShutdown(end);
  });
}

interface ServiceContext extends GrpcServerOptions {
  readonly held: ReservedBytes;
  readonly shutdown: AbortSignal;
}

/** Requests and responses pass as bytes: decoding is the handlers', whose errors become statuses here. */
function buildService(context: ServiceContext): {
  definition: ServiceDefinition;
  handlers: Record<string, UntypedHandleCall>;
} {
  const definition: Record<string, ServiceDefinition[string]> = {};
  const handlers: Record<string, UntypedHandleCall> = {};
  for (const method of syncService.methods) {
    const rpc = RPCS[method.name];
    if (rpc === undefined) throw new InvariantError(`${method} has no handler`);
    definition[method.name] = {
      path: `/${syncService.typeName}/${method.name}`,
      requestStream: false,
      responseStream: rpc.kind === 'stream',
      requestSerialize: identity,
      requestDeserialize: identity,
      responseSerialize: identity,
      responseDeserialize: identity,
    };
    handlers[method.name] =
      rpc.kind === 'stream' ? serveStream(rpc.handler, method, context) : serveUnary(rpc.handler, method, context);
  }
  return { definition, handlers };
}

function identity(bytes: Buffer): Buffer {
  return bytes;
}

function serveUnary(
  handler: UnaryHandler,
  method: DescMethod,
  context: ServiceContext,
): handleUnaryCall<Buffer, Buffer> {
  return (call, callback) => {
    const link = linkAbort(context.shutdown);
    // Said of every call when it has ended, and of one that is broken off or whose deadline passes.
    call.on('cancelled', () => link.abort(callerGone()));
    const answer = async (): Promise<Uint8Array> => {
      const caller = callerOf(call.metadata, method, context);
      if (call.request.byteLength > LARGE_REQUEST_BYTES) await costlyWork.next();
      const bytes = await runUnary(handler, toCall(call.request, link.signal, context), caller);
      if (!context.held.fits(bytes.byteLength)) throw serverBusy();
      if (link.signal.aborted) return bytes;
      const holder = context.held.open();
      holder.add(bytes.byteLength);
      call.on('cancelled', () => holder[Symbol.dispose]());
      return bytes;
    };
    answer()
      .then(
        (bytes) => callback(null, Buffer.from(bytes)),
        (reason: unknown) => callback(toGrpcStatus(AppError.from(reason))),
      )
      .finally(() => link.dispose());
  };
}

function serveStream(
  handler: StreamHandler,
  method: DescMethod,
  context: ServiceContext,
): handleServerStreamingCall<Buffer, Buffer> {
  return (call) => {
    const link = linkAbort(context.shutdown);
    const holder = context.held.open();
    call.on('cancelled', () => {
      link.abort();
      holder[Symbol.dispose]();
    });
    const pump = async (): Promise<void> => {
      const caller = callerOf(call.metadata, method, context);
      for await (const bytes of runStream(handler, toCall(call.request, link.signal, context), caller)) {
        holder.add(bytes.byteLength);
        await write(call, bytes, link.signal);
        holder.remove(bytes.byteLength);
        // The next one is made only when there is room for another such one; who has gone is seen there.
        await context.held.roomFor(bytes.byteLength, link.signal);
      }
    };
    pump()
      .then(
        () => call.end(),
        (reason: unknown) => call.emit('error', toGrpcStatus(AppError.from(reason))),
      )
      .finally(() => link.dispose());
  };
}

/** Resolves when the transport has taken the message, so that at most one waits for a slow reader; or on abort. */
function write(call: ServerWritableStream<Buffer, Buffer>, bytes: Uint8Array, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      signal.removeEventListener('abort', done);
      resolve();
    };
    signal.addEventListener('abort', done);
    call.write(Buffer.from(bytes), done);
  });
}

function toCall(bytes: Uint8Array, signal: AbortSignal, { control }: ServiceContext): Call {
  return { control, signal, request: { bytes } };
}

function callerOf(metadata: Metadata, method: DescMethod, { logger }: ServiceContext): RpcCaller {
  const headers = Object.fromEntries(
    Object.entries(metadata.getMap()).map(([name, value]) => [name, value.toString()]),
  );
  return { door: 'grpc', method, logger, headers };
}
