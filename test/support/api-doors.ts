/** Opens both doors over a fake migration, and sends requests to them. */
import { request } from 'node:http';
import { ChannelCredentials, type ServiceError } from '@grpc/grpc-js';
import { BadRequest, ErrorInfo } from '../../gen/google/rpc/error_details.js';
import { Status } from '../../gen/google/rpc/status.js';
import { SyncServiceClient } from '../../gen/mongoferry/v1/sync_service.js';
import { DoorCredentials } from '../../src/api/credentials.js';
import { startGrpcServer } from '../../src/api/grpc/server.js';
import { type GatewayOptions, startGateway } from '../../src/api/http/gateway.js';
import type { FieldViolation } from '../../src/errors.js';
import type { LogFields, Logger } from '../../src/lib/logger.js';
import { FakeControl } from './fake-control.js';

/** One line that was logged. */
export interface LoggedLine {
  readonly level: string;
  readonly message: string;
  readonly fields: LogFields | undefined;
}

/** A logger that keeps its lines for the test. */
export function recordingLogger(lines: LoggedLine[]): Logger {
  const at = (level: string) => (message: string, fields?: LogFields) => void lines.push({ level, message, fields });
  const logger: Logger = {
    trace: at('TRACE'),
    debug: at('DEBUG'),
    info: at('INFO'),
    warn: at('WARN'),
    error: at('ERROR'),
    fatal: at('FATAL'),
    component: () => logger,
  };
  return logger;
}

/** An answer of the gateway. */
export interface HttpAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  /** The body as JSON; undefined when it is none. */
  readonly json: Record<string, unknown>;
}

/** What a test sends to the gateway; GET without a body unless it says otherwise. */
export interface HttpRequest {
  readonly method?: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
}

/** Both front doors on free ports of the loopback interface, over one fake migration. */
export interface Doors extends AsyncDisposable {
  readonly control: FakeControl;
  readonly client: SyncServiceClient;
  readonly grpcPort: number;
  readonly httpPort: number;
  readonly log: LoggedLine[];
  http(request: HttpRequest): Promise<HttpAnswer>;
  /** Stops the gRPC server as the process would. */
  stopGrpc(deadlineMs: number): Promise<void>;
  stopHttp(): Promise<void>;
}

/** Opens both doors. */
export async function openDoors(
  control: FakeControl = new FakeControl(),
  {
    authToken,
    ...options
  }: Partial<
    Pick<GatewayOptions, 'allowedHosts' | 'credentials' | 'metricsText' | 'held' | 'stalledMs'> & {
      readonly authToken: string;
    }
  > = {},
): Promise<Doors> {
  const log: LoggedLine[] = [];
  const credentials = new DoorCredentials(() => ({ authToken }));
  const common = { control, logger: recordingLogger(log), host: '127.0.0.1', port: 0, credentials, ...options };
  const grpc = await startGrpcServer(common);
  const gateway = await startGateway({ metricsText: () => 'up 1\n', ...common });
  const client = new SyncServiceClient(`127.0.0.1:${grpc.port}`, ChannelCredentials.createInsecure());
  return {
    control,
    client,
    grpcPort: grpc.port,
    httpPort: gateway.port,
    log,
    http: (one) => sendHttp(gateway.port, one),
    stopGrpc: (deadlineMs) => grpc.stop(deadlineMs),
    stopHttp: () => gateway.stop(),
    async [Symbol.asyncDispose]() {
      client.close();
      await Promise.all([grpc.stop(500), gateway.stop()]);
    },
  };
}

/** Sends one request by node:http, which, unlike fetch, lets a test set Host and Origin. */
export function sendHttp(port: number, { method = 'GET', path, headers = {}, body }: HttpRequest): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    const sent = request({ host: '127.0.0.1', port, method, path, headers, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString('utf8');
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text, json: parseJson(text) });
      });
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

function parseJson(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch (error) {
    if (error instanceof SyntaxError) return {};
    throw error;
  }
}

/** What a gRPC client learns from a failed call. */
export interface GrpcFailure {
  readonly code: number;
  readonly message: string;
  readonly reason: string | undefined;
  readonly domain: string | undefined;
  readonly metadata: Readonly<Record<string, string>>;
  readonly violations: readonly FieldViolation[];
}

/** Reads a failed call's status and its details. */
export function readFailure(error: ServiceError): GrpcFailure {
  const bytes = error.metadata.get('grpc-status-details-bin')[0];
  const details = bytes instanceof Buffer ? Status.decode(bytes).details : [];
  const find = (type: string): Uint8Array | undefined => details.find((one) => one.typeUrl.endsWith(type))?.value;
  const info = find('google.rpc.ErrorInfo');
  const bad = find('google.rpc.BadRequest');
  const errorInfo = info && ErrorInfo.decode(info);
  return {
    code: error.code,
    message: error.details,
    reason: errorInfo?.reason,
    domain: errorInfo?.domain,
    metadata: errorInfo?.metadata ?? {},
    violations: bad
      ? BadRequest.decode(bad).fieldViolations.map(({ field, description }) => ({ field, description }))
      : [],
  };
}

/** A unary call of the generated client as a promise. Rejects with grpc-js's ServiceError. */
export function unary<Request, Response>(
  client: SyncServiceClient,
  call: (request: Request, callback: (error: ServiceError | null, response: Response) => void) => unknown,
  request: Request,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    call.call(client, request, (error, response) => (error === null ? resolve(response) : reject(error)));
  });
}
