/** Calls a running server over gRPC, and waits for states. */
import { ChannelCredentials, type ServiceError } from '@grpc/grpc-js';
import type { ProgressSnapshot } from '../../gen/mongoferry/v1/progress.js';
import { StartRequest } from '../../gen/mongoferry/v1/start_options.js';
import {
  CheckRequest,
  type CheckResponse,
  CommitRequest,
  type DeepPartial,
  GetProgressRequest,
  type GetProgressResponse,
  NamespaceDetails,
  PauseRequest,
  ProgressRequest,
  type ProgressResponse,
  ResumeRequest,
  ReverseRequest,
  SyncServiceClient,
} from '../../gen/mongoferry/v1/sync_service.js';
import { DeadlineError, eventually } from './within.js';

/** The options of a start, without what they default to. */
export type StartOptions = DeepPartial<StartRequest>;

/** The migration failed while a test waited for something else. */
export class MigrationFailedError extends Error {
  override readonly name = 'MigrationFailedError';

  constructor(
    waitedFor: string,
    readonly snapshot: ProgressSnapshot,
  ) {
    const failure = snapshot.details?.failure;
    super(`waited for ${waitedFor}, but the migration failed: ${failure?.error}: ${failure?.errorDescription}`);
  }
}

const WAIT_MS = 60_000;
const MAX_RECEIVE_BYTES = 64 * 1024 * 1024;

type Call<Q, A> = (request: Q, done: (error: ServiceError | null, answer: A) => void) => unknown;

/**
 * A client of a running server over gRPC. Calls reject with grpc-js's ServiceError; waits reject with
 * {@link MigrationFailedError} as soon as the migration has failed, or DeadlineError with the last snapshot seen.
 */
export class FerryClient implements Disposable {
  readonly #client: SyncServiceClient;

  /** `target`: `host:port`. */
  constructor(target: string) {
    this.#client = new SyncServiceClient(target, ChannelCredentials.createInsecure(), {
      'grpc.max_receive_message_length': MAX_RECEIVE_BYTES,
    });
  }

  /** Waits until a server that has just come up has connected to its clusters and knows its state. */
  async waitUntilInitialized(ms?: number, signal?: AbortSignal): Promise<ProgressSnapshot> {
    return await this.waitFor('the end of INITIALIZING', ({ state }) => state !== 'INITIALIZING', ms, signal);
  }

  /** Starts a migration from cluster0 to cluster1, unless told otherwise, once the server is initialised. */
  async start(options: StartOptions = {}): Promise<void> {
    await this.waitUntilInitialized();
    const request = StartRequest.fromPartial({ source: 'cluster0', destination: 'cluster1', ...options });
    await this.#call(this.#client.start, request);
  }

  async pause(): Promise<void> {
    await this.#call(this.#client.pause, PauseRequest.create());
  }

  async resume(): Promise<void> {
    await this.#call(this.#client.resume, ResumeRequest.create());
  }

  async commit(): Promise<void> {
    await this.#call(this.#client.commit, CommitRequest.create());
  }

  async reverse(): Promise<void> {
    await this.#call(this.#client.reverse, ReverseRequest.create());
  }

  async check(options: StartOptions = {}): Promise<CheckResponse> {
    return await this.#call(this.#client.check, CheckRequest.fromPartial({ options }));
  }

  /** One snapshot. */
  async progress(details = NamespaceDetails.BUSIEST): Promise<ProgressSnapshot> {
    const answer = await this.#call<GetProgressRequest, GetProgressResponse>(
      this.#client.getProgress,
      GetProgressRequest.fromPartial({ details }),
    );
    if (answer.progress === undefined) throw new Error('the server answered without a snapshot');
    return answer.progress;
  }

  /** The progress stream, until the server ends it, `signal` aborts or the caller stops reading. */
  async *follow(
    request: DeepPartial<ProgressRequest> = {},
    signal?: AbortSignal | undefined,
  ): AsyncGenerator<ProgressSnapshot> {
    const stream = this.#client.progress(ProgressRequest.fromPartial(request));
    const cancel = () => stream.cancel();
    signal?.addEventListener('abort', cancel, { once: true });
    try {
      for await (const { progress } of stream as AsyncIterable<ProgressResponse>) {
        if (progress !== undefined) yield progress;
      }
    } catch (error) {
      if (signal?.aborted !== true) throw error;
    } finally {
      signal?.removeEventListener('abort', cancel);
      cancel();
    }
  }

  /** Waits for a snapshot that `wanted` accepts, and returns it. Units: ms, default 60000. */
  async waitFor(
    what: string,
    wanted: (snapshot: ProgressSnapshot) => boolean,
    ms: number = WAIT_MS,
    signal?: AbortSignal | undefined,
  ): Promise<ProgressSnapshot> {
    let last: ProgressSnapshot | undefined;
    const look = async () => {
      last = await this.progress(NamespaceDetails.NONE);
      return last.details?.failure !== undefined || wanted(last);
    };
    try {
      await eventually(ms, look, what, { everyMs: 50, signal });
    } catch (error) {
      if (last !== undefined && error instanceof Error) error.message += `; last: ${describe(last)}`;
      throw error;
    }
    if (last === undefined) throw new Error(`${what}: no snapshot`);
    if (last.details?.failure !== undefined) throw new MigrationFailedError(what, last);
    return last;
  }

  /** Waits for one of the API's states, e.g. `COMMITTED`. */
  async waitForState(state: string, ms?: number, signal?: AbortSignal): Promise<ProgressSnapshot> {
    return await this.waitFor(`state ${state}`, (snapshot) => snapshot.state === state, ms, signal);
  }

  /** Waits until a commit would succeed; an error tells what a commit is answered, which says what stands in its way. */
  async waitForCanCommit(ms?: number, signal?: AbortSignal): Promise<ProgressSnapshot> {
    try {
      return await this.waitFor('canCommit', (snapshot) => snapshot.canCommit, ms, signal);
    } catch (error) {
      if (error instanceof DeadlineError) error.message += `; a commit is answered: ${await this.#commitAnswer()}`;
      throw error;
    }
  }

  #commitAnswer(): Promise<string> {
    return this.commit().then(() => 'accepted', String);
  }

  /** Waits until a commit would succeed, commits, and waits for COMMITTED: each at most `ms`. */
  async commitAndWait(ms?: number, signal?: AbortSignal): Promise<ProgressSnapshot> {
    for (;;) {
      await this.waitForCanCommit(ms, signal);
      const refusal = await this.commit().then(
        () => undefined,
        (error: unknown) => error,
      );
      if (refusal === undefined) break;
      // A change that has just arrived, e.g. of an index.
      if (!String(refusal).includes('while canCommit is false')) throw refusal;
    }
    return await this.waitForState('COMMITTED', ms, signal);
  }

  /** Closes the connection; open calls end. */
  close(): void {
    this.#client.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #call<Q, A>(call: Call<Q, A>, request: Q): Promise<A> {
    return new Promise((resolve, reject) => {
      call.call(this.#client, request, (error, answer) => (error === null ? resolve(answer) : reject(error)));
    });
  }
}

function describe(snapshot: ProgressSnapshot): string {
  const { state, info, ceaStage, canCommit, canWrite, lagTimeSeconds, totalEventsApplied, warnings } = snapshot;
  return JSON.stringify({ state, info, ceaStage, canCommit, canWrite, lagTimeSeconds, totalEventsApplied, warnings });
}

/** An answer over HTTP; `body` is undefined when it is no JSON. */
export interface JsonAnswer {
  readonly status: number;
  readonly body: Record<string, unknown> | undefined;
}

/** GETs, or POSTs `body` as JSON when there is one, e.g. `httpJson(ferry.httpUrl, '/api/v1/start', {…})`. */
export async function httpJson(baseUrl: string, urlPath: string, body?: unknown): Promise<JsonAnswer> {
  const response = await fetch(
    `${baseUrl}${urlPath}`,
    body === undefined
      ? {}
      : { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) },
  );
  const text = await response.text();
  return { status: response.status, body: parseObject(text) };
}

function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** Calls by a client made for them, since a server that was started again has another port. */
export async function withClient<T>(
  server: { readonly grpcTarget: string },
  use: (client: FerryClient) => Promise<T>,
): Promise<T> {
  using client = new FerryClient(server.grpcTarget);
  return await use(client);
}
