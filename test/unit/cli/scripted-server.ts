import {
  type handleUnaryCall,
  Metadata,
  Server,
  ServerCredentials,
  type ServiceError,
  type status,
} from '@grpc/grpc-js';
import { BadRequest, ErrorInfo } from '../../../gen/google/rpc/error_details.js';
import { Status } from '../../../gen/google/rpc/status.js';
import { ProgressSnapshot } from '../../../gen/mongoferry/v1/progress.js';
import type { StartRequest } from '../../../gen/mongoferry/v1/start_options.js';
import { type Finding, SyncServiceService } from '../../../gen/mongoferry/v1/sync_service.js';

/** What the scripted server answers; everything not named succeeds with an empty answer. */
export interface Script {
  /** Refuses every call. */
  readonly refuse?: ServiceError;
  /** The messages of a progress stream; the first is also GetProgress's answer. */
  readonly snapshots?: readonly ProgressSnapshot[];
  /** Ends the progress stream after its messages; without it, it ends well. */
  readonly endWith?: ServiceError;
  readonly findings?: readonly Finding[];
}

/** A gRPC server that answers by a script, and remembers what it was asked. */
export interface ScriptedServer {
  readonly target: string;
  /** Method names in the order of the calls. */
  readonly calls: string[];
  /** Options of every start and check. */
  readonly options: StartRequest[];
  [Symbol.asyncDispose](): Promise<void>;
}

/** Listens on any free port of the loopback interface. */
export async function scriptedServer(script: Script = {}): Promise<ScriptedServer> {
  const calls: string[] = [];
  const options: StartRequest[] = [];
  const answer =
    <Q, R>(name: string, respond: (request: Q) => R): handleUnaryCall<Q, R> =>
    (call, done) => {
      calls.push(name);
      const response = respond(call.request);
      if (script.refuse === undefined) done(null, response);
      else done(script.refuse);
    };
  const first = script.snapshots?.[0];
  const server = new Server();
  server.addService(SyncServiceService, {
    start: answer('start', (request: StartRequest) => {
      options.push(request);
      return {};
    }),
    check: answer('check', (request: { options?: StartRequest }) => {
      if (request.options !== undefined) options.push(request.options);
      const findings = [...(script.findings ?? [])];
      return { ok: findings.every(({ severity }) => severity !== 'blocker'), findings };
    }),
    pause: answer('pause', () => ({})),
    resume: answer('resume', () => ({})),
    commit: answer('commit', () => ({})),
    reverse: answer('reverse', () => ({})),
    getProgress: answer('getProgress', () => ({ progress: first })),
    listNamespaces: answer('listNamespaces', () => ({ namespaces: [], nextPageToken: '' })),
    progress: (call: { write(message: unknown): void; end(): void; emit(event: 'error', error: Error): void }) => {
      calls.push('progress');
      for (const progress of script.snapshots ?? []) call.write({ progress });
      if (script.endWith === undefined) call.end();
      else call.emit('error', script.endWith);
    },
  });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  return {
    target: `127.0.0.1:${port}`,
    calls,
    options,
    [Symbol.asyncDispose]: async () => server.forceShutdown(),
  };
}

/** An error with google.rpc's details, as the real server sends them. */
export function richError(
  code: status,
  reason: string,
  description: string,
  violations: { field: string; description: string }[] = [],
): ServiceError {
  const info = ErrorInfo.encode({ reason, domain: 'mongoferry', metadata: {} }).finish();
  const badRequest = BadRequest.encode(BadRequest.fromPartial({ fieldViolations: violations })).finish();
  const details = [{ typeUrl: 'type.googleapis.com/google.rpc.ErrorInfo', value: Buffer.from(info) }];
  if (violations.length > 0)
    details.push({ typeUrl: 'type.googleapis.com/google.rpc.BadRequest', value: Buffer.from(badRequest) });
  const metadata = new Metadata();
  metadata.set('grpc-status-details-bin', Buffer.from(Status.encode({ code, message: description, details }).finish()));
  return Object.assign(new Error(description), { code, details: description, metadata });
}

/** An error without details, as a proxy or another server sends. */
export function plainError(code: status, description: string): ServiceError {
  return Object.assign(new Error(description), { code, details: description, metadata: new Metadata() });
}

/** A snapshot with only what a test names. */
export function snapshot(fields: Partial<ProgressSnapshot>): ProgressSnapshot {
  return ProgressSnapshot.fromPartial({ state: 'RUNNING', ...fields });
}
