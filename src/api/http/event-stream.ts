/** Sends a stream of snapshots as server-sent events, no faster than the client takes them. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { JsonObject } from '@bufbuild/protobuf';
import { AppError } from '../../errors.js';
import { linkAbort } from '../../lib/signals.js';
import type { ReservedBytes } from '../reserved-bytes.js';
import { EVENT_STREAM_HEADERS, errorBody, sendError } from './answer.js';

/** Milliseconds between comments that keep proxies from closing a quiet stream. */
const HEARTBEAT_MS = 15_000;

/** What a stream of events is made of. */
export interface EventStream {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** Aborts when the server stops. */
  readonly shutdown: AbortSignal;
  readonly held: ReservedBytes;
  /** The bodies to send, made as they are pulled; `signal` aborts when the client has gone. Errors: AppError. */
  readonly open: (signal: AbortSignal) => AsyncGenerator<JsonObject, void, undefined>;
}

/**
 * Sends server-sent events until the source ends or the client goes away, then frees everything. The next body is
 * pulled only when the last has been taken, so that a slow client skips to the newest. A source that fails before its
 * first body is answered with a plain error; later, with an event `error`. An event `end` tells the client not to
 * connect again, as an EventSource would.
 */
export async function sendEvents({ request, response, shutdown, held, open }: EventStream): Promise<void> {
  using link = linkAbort(shutdown);
  using holder = held.open();
  response.on('close', () => link.abort());
  const source = open(link.signal);
  let heartbeat: NodeJS.Timeout | undefined;
  try {
    let next = await source.next();
    response.writeHead(200, EVENT_STREAM_HEADERS);
    if (request.method === 'HEAD') return;
    heartbeat = setInterval(() => {
      if (!response.writableNeedDrain) response.write(': heartbeat\n\n');
    }, HEARTBEAT_MS);
    for (; next.done !== true; next = await source.next()) {
      const text = event(next.value);
      holder.add(text.length);
      if (!response.write(text)) await drained(response);
      holder.remove(text.length);
      // The next one is made only when there is room for another such one; who has gone is seen there.
      await held.roomFor(text.length, link.signal);
    }
    response.write(event({}, 'end'));
  } catch (reason) {
    const error = AppError.from(reason);
    if (!response.headersSent) sendError(response, error);
    else response.write(event(errorBody(error), 'error'));
  } finally {
    clearInterval(heartbeat);
    await source.return();
    response.end();
  }
}

function event(data: JsonObject, name?: string): string {
  return `${name === undefined ? '' : `event: ${name}\n`}data: ${JSON.stringify(data)}\n\n`;
}

/** Resolves when the client has taken what was written, or is gone. */
function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done);
      response.off('close', done);
      resolve();
    };
    if (response.closed) done();
    response.on('drain', done);
    response.on('close', done);
  });
}
