/** Calls a server over gRPC for the client commands. */
import { isIP } from 'node:net';
import {
  ChannelCredentials,
  type ClientUnaryCall,
  InterceptingCall,
  type Interceptor,
  type ServiceError,
} from '@grpc/grpc-js';
import type { ProgressSnapshot } from '../../gen/mongoferry/v1/progress.js';
import {
  type ProgressRequest,
  type ProgressResponse,
  SyncServiceClient,
} from '../../gen/mongoferry/v1/sync_service.js';
import { type ClientCredentials, type ClientTls, hostOf } from './client-credentials.js';

/** What every client command is given. */
export interface ClientOptions {
  /** `host:port` of the server's gRPC door. */
  readonly target: string;
  readonly output: 'text' | 'json';
  readonly credentials: ClientCredentials;
}

/** The server that a command talks to, and with what. */
export type Destination = Pick<ClientOptions, 'target' | 'credentials'>;

/** A call to the server that did not succeed; `failure` is gRPC's own error. */
export class CallError extends Error {
  override readonly name = 'CallError';
  readonly destination: Destination;
  readonly failure: ServiceError;

  constructor(destination: Destination, failure: ServiceError) {
    super(failure.details, { cause: failure });
    this.destination = destination;
    this.failure = failure;
  }
}

/** Sends one request by one of the generated client's methods. */
export type UnaryCall<T> = (
  client: SyncServiceClient,
  done: (error: ServiceError | null, response: T) => void,
) => ClientUnaryCall;

/** Room for the progress of very many namespaces. */
const MAX_RECEIVE_BYTES = 64 * 1024 * 1024;

/** One connection to a server, for one command. Calls reject with CallError. */
export class SyncConnection {
  readonly #destination: Destination;
  readonly #client: SyncServiceClient;

  constructor(destination: Destination) {
    const { target, credentials } = destination;
    this.#destination = destination;
    // Node warns of addresses as TLS server names, which grpc-js cannot help giving.
    if (credentials.tls !== undefined && isIP(hostOf(target)) !== 0) process.noDeprecation = true;
    this.#client = new SyncServiceClient(target, channelCredentials(credentials.tls), {
      interceptors: credentials.token === undefined ? [] : [tokenInterceptor(credentials.token)],
      'grpc.max_receive_message_length': MAX_RECEIVE_BYTES,
      // A watch whose server's host is gone would otherwise wait for ever.
      'grpc.keepalive_time_ms': 30_000,
      'grpc.keepalive_timeout_ms': 10_000,
    });
  }

  /** Makes one call and resolves with its answer. */
  unary<T>(call: UnaryCall<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      call(this.#client, (error, response) => {
        if (error === null) resolve(response);
        else reject(new CallError(this.#destination, error));
      });
    });
  }

  /** The snapshots of one progress stream, until the server or the caller ends it. */
  async *progress(request: ProgressRequest): AsyncGenerator<ProgressSnapshot> {
    const stream = this.#client.progress(request);
    try {
      for await (const { progress } of stream as AsyncIterable<ProgressResponse>) {
        if (progress !== undefined) yield progress;
      }
    } catch (error) {
      throw new CallError(this.#destination, error as ServiceError);
    } finally {
      stream.cancel();
    }
  }

  /** Ends the connection. */
  close(): void {
    this.#client.close();
  }
}

/** Runs `work` on a connection that is closed afterwards, whatever happens. */
export async function withConnection<T>(
  destination: Destination,
  work: (connection: SyncConnection) => Promise<T>,
): Promise<T> {
  const connection = new SyncConnection(destination);
  try {
    return await work(connection);
  } finally {
    connection.close();
  }
}

function channelCredentials(tls: ClientTls | undefined): ChannelCredentials {
  if (tls === undefined) return ChannelCredentials.createInsecure();
  const own = tls.certificateKey === undefined ? null : Buffer.from(tls.certificateKey);
  return ChannelCredentials.createSsl(tls.ca === undefined ? null : Buffer.from(tls.ca), own, own);
}

/** Call credentials would do, but grpc-js takes none on a connection in plain text, as on loopback. */
function tokenInterceptor(token: string): Interceptor {
  return (options, nextCall) =>
    new InterceptingCall(nextCall(options), {
      start: (metadata, listener, next) => {
        metadata.set('authorization', `Bearer ${token}`);
        next(metadata, listener);
      },
    });
}
