import { type ClientUnaryCall, credentials, type ServiceError } from '@grpc/grpc-js';
import type { ProgressSnapshot } from '../../gen/mongoferry/v1/progress.js';
import {
  type ProgressRequest,
  type ProgressResponse,
  SyncServiceClient,
} from '../../gen/mongoferry/v1/sync_service.js';

/** What every client command is given. */
export interface ClientOptions {
  /** `host:port` of the server's gRPC door. */
  readonly target: string;
  readonly output: 'text' | 'json';
}

/** A call to the server that did not succeed; `failure` is gRPC's own error. */
export class CallError extends Error {
  override readonly name = 'CallError';
  readonly target: string;
  readonly failure: ServiceError;

  constructor(target: string, failure: ServiceError) {
    super(failure.details, { cause: failure });
    this.target = target;
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
  readonly #target: string;
  readonly #client: SyncServiceClient;

  constructor(target: string) {
    this.#target = target;
    this.#client = new SyncServiceClient(target, credentials.createInsecure(), {
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
        else reject(new CallError(this.#target, error));
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
      throw new CallError(this.#target, error as ServiceError);
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
export async function withConnection<T>(target: string, work: (connection: SyncConnection) => Promise<T>): Promise<T> {
  const connection = new SyncConnection(target);
  try {
    return await work(connection);
  } finally {
    connection.close();
  }
}
