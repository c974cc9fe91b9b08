import type { ProgressSnapshot } from '../../gen/mongoferry/v1/progress.js';
import {
  type GetProgressResponse,
  NamespaceDetails,
  type ProgressRequest,
} from '../../gen/mongoferry/v1/sync_service.js';
import { type ClientOptions, type SyncConnection, withConnection } from './client.js';
import { CliExit } from './exit-codes.js';
import type { Io } from './io.js';
import { toJsonLine } from './json-line.js';
import { progressLine, progressScreen } from './progress-view.js';

const PIPED_COLUMNS = 160;
/** What the server's warning of it says (docs/cutover.md). */
const GIVEN_UP = 'was given up';

/** `progress`: once, or with `--watch` until the server ends the stream. */
export async function runProgress(
  options: ClientOptions,
  values: Readonly<Record<string, unknown>>,
  io: Io,
): Promise<number> {
  return await withConnection(options, (connection) =>
    values['watch'] === true ? watch(connection, options, io) : showOnce(connection, options, io),
  );
}

async function showOnce(connection: SyncConnection, options: ClientOptions, io: Io): Promise<number> {
  const response = await connection.unary<GetProgressResponse>((client, done) =>
    client.getProgress({ details: NamespaceDetails.BUSIEST }, done),
  );
  if (options.output === 'json') io.out(toJsonLine('GetProgressResponse', response));
  else if (response.progress !== undefined) {
    io.out(`${progressScreen(response.progress, io.terminalColumns ?? PIPED_COLUMNS).join('\n')}\n`);
  }
  return CliExit.ok;
}

async function watch(connection: SyncConnection, options: ClientOptions, io: Io): Promise<number> {
  const show = painter(options, io);
  for await (const snapshot of connection.progress(streamRequest(false))) show(snapshot);
  return CliExit.ok;
}

/** What an accepted call leads to, and the state it is in when the server has given it up. */
export interface WaitedStates {
  readonly goal: string;
  readonly givenUp: string;
}

/**
 * Shows the progress until the migration is in the state `goal`, or back in the one before, which counts as failed. A
 * failure on the way ends the stream with its error, a CallError; a stream that ends before the goal counts as failed.
 */
export async function waitForState(
  connection: SyncConnection,
  { goal, givenUp }: WaitedStates,
  options: ClientOptions,
  io: Io,
): Promise<number> {
  const show = painter(options, io);
  for await (const snapshot of connection.progress(streamRequest(true))) {
    show(snapshot);
    if (snapshot.state === goal) return CliExit.ok;
    const reason = snapshot.warnings.find((text) => text.includes(GIVEN_UP));
    if (snapshot.state === givenUp && reason !== undefined) {
      io.err(`mongoferry: ${reason}\n`);
      return CliExit.failed;
    }
  }
  io.err(`mongoferry: the server ended the progress before the state was ${goal}\n`);
  return CliExit.failed;
}

function streamRequest(follow: boolean): ProgressRequest {
  return { interval: { seconds: 1, nanos: 0 }, follow, details: NamespaceDetails.BUSIEST };
}

type Painter = (snapshot: ProgressSnapshot) => void;

/** JSON lines; on a terminal one screen that is drawn over; else a plain line for each change. */
function painter({ output }: ClientOptions, io: Io): Painter {
  if (output === 'json') return (progress) => io.out(toJsonLine('GetProgressResponse', { progress }));
  return io.terminalColumns === undefined ? linePainter(io) : screenPainter(io);
}

function linePainter(io: Io): Painter {
  let last = '';
  return (snapshot) => {
    const line = progressLine(snapshot);
    if (line !== last) io.out(`${line}\n`);
    last = line;
  };
}

function screenPainter(io: Io): Painter {
  let drawn = 0;
  return (snapshot) => {
    const lines = progressScreen(snapshot, io.terminalColumns ?? PIPED_COLUMNS);
    const back = drawn === 0 ? '' : `\u001b[${drawn}A`;
    io.out(`${back}${lines.map((line) => `\r\u001b[2K${line}\n`).join('')}\u001b[J`);
    drawn = lines.length;
  };
}
