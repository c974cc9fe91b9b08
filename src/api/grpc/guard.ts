/** Bounds the memory, the number and the duration of what gRPC callers send. */
import { constants, type ServerHttp2Stream } from 'node:http2';
import {
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
  status,
} from '@grpc/grpc-js';
import { hurry } from '../../lib/loop-turns.js';
import type { Connections } from '../connections.js';
import type { ReservedBytes } from '../reserved-bytes.js';

/** Calls under way at one time, streams included. */
const MAX_CALLS = 1000;
/** How long a request may take to arrive, in milliseconds. */
const RECEIVE_MS = 60_000;

/** How long an answer may wait for a reader that takes nothing of it, and how often that is looked at. */
const STALLED_MS = 60_000;
const LOOK_MS = 5000;

/** What calls are counted against. */
export interface GrpcGuardOptions {
  readonly held: ReservedBytes;
  readonly connections: Connections;
  readonly maxCalls?: number;
  readonly stalledMs?: number;
}

/**
 * Keeps what gRPC callers make us hold within the budget: the bytes of requests that arrive are counted, and a stream
 * whose turn it is not is paused. Refuses calls beyond a number of them, and requests that take too long to arrive.
 */
export function grpcGuard(options: GrpcGuardOptions): ServerInterceptor {
  const { held, connections, maxCalls = MAX_CALLS, stalledMs = STALLED_MS } = options;
  const stalled = new StalledStreams(stalledMs);
  let calls = 0;
  return ({ responseStream }, call) => {
    const { remoteAddress, remotePort } = call.getConnectionInfo();
    const socket = connections.of(remoteAddress, remotePort);
    const stream = streamOf(call);
    if (stream === undefined) return new ServerInterceptingCall(call);
    if (calls >= maxCalls) {
      refuse(
        call,
        status.RESOURCE_EXHAUSTED,
        `the server is already carrying out ${maxCalls} calls, its limit; try again`,
      );
      return new ServerInterceptingCall(call);
    }
    calls++;
    // Not for streams of progress, which may last as long as the migration, and wait for nothing.
    const done = responseStream ? () => undefined : hurry();
    const holder = held.open();
    stalled.watch(stream);
    connections.use(socket, 'receiving');
    const timer = setTimeout(
      () => refuse(call, status.DEADLINE_EXCEEDED, 'the request took too long to arrive'),
      RECEIVE_MS,
    );
    const onData = (chunk: Buffer): void => {
      holder.add(chunk.byteLength);
      if (holder.hasRoom) return;
      stream.pause();
      void holder.room().then(() => stream.resume());
    };
    const received = (): void => {
      clearTimeout(timer);
      connections.use(socket, 'answering');
    };
    stream.on('data', onData);
    stream.once('end', received);
    stream.once('close', () => {
      calls--;
      done();
      clearTimeout(timer);
      holder[Symbol.dispose]();
      connections.use(socket, 'idle');
    });
    return new ServerInterceptingCall(call, {
      // A caller that was refused may never end its side, and would be counted for ever.
      sendStatus: (sent, next) => {
        const isWholeAnswer = !stream.headersSent;
        next(sent);
        if (isWholeAnswer) stream.close(constants.NGHTTP2_NO_ERROR);
      },
      start: (next) =>
        next({
          onReceiveMessage: (message, pass) => {
            received();
            pass(message);
          },
        }),
    });
  };
}

/** Resets streams whose reader takes nothing: what waits for it would be held for ever. */
class StalledStreams {
  readonly #stalledMs: number;
  readonly #streams = new Map<ServerHttp2Stream, { readonly waiting: number; readonly sinceMs: number }>();
  #timer: NodeJS.Timeout | undefined;

  constructor(stalledMs: number) {
    this.#stalledMs = stalledMs;
  }

  watch(stream: ServerHttp2Stream): void {
    this.#streams.set(stream, { waiting: 0, sinceMs: 0 });
    stream.once('close', () => {
      this.#streams.delete(stream);
      if (this.#streams.size > 0) return;
      clearInterval(this.#timer);
      this.#timer = undefined;
    });
    this.#timer ??= setInterval(() => this.#look(), Math.min(LOOK_MS, this.#stalledMs)).unref();
  }

  #look(): void {
    const now = performance.now();
    for (const [stream, { waiting, sinceMs }] of this.#streams) {
      const { writableLength } = stream;
      if (writableLength === 0 || writableLength !== waiting)
        this.#streams.set(stream, { waiting: writableLength, sinceMs: now });
      else if (now - sinceMs > this.#stalledMs) stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM);
    }
  }
}

/** Not in the constructor of a call, which is not complete before this turn ends. */
function refuse(call: ServerInterceptingCallInterface, code: number, details: string): void {
  process.nextTick(() => call.sendStatus({ code, details }));
}

/** grpc-js's own; it tells nobody how much of a message has arrived. Without it nothing is counted. */
function streamOf(call: ServerInterceptingCallInterface): ServerHttp2Stream | undefined {
  const { stream } = call as unknown as { readonly stream?: ServerHttp2Stream };
  return typeof stream?.pause === 'function' ? stream : undefined;
}
