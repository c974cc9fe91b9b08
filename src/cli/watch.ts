/** Shows progress, and waits until a migration is in a wanted state. */
import { setTimeout as sleep } from 'node:timers/promises';
import { status } from '@grpc/grpc-js';
import type { ProgressSnapshot } from '../../gen/mongoferry/v1/progress.js';
import {
  type GetProgressResponse,
  NamespaceDetails,
  type ProgressRequest,
} from '../../gen/mongoferry/v1/sync_service.js';
import { CallError, type ClientOptions, SyncConnection, withConnection } from './client.js';
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
  if (values['watch'] !== true) return await withConnection(options, (connection) => showOnce(connection, options, io));
  const show = painter(options, io);
  for await (const snapshot of snapshots(options, { follow: false }, io)) show(snapshot);
  return CliExit.ok;
}

async function showOnce(connection: SyncConnection, options: ClientOptions, io: Io): Promise<number> {
  const response = await connection.unary<GetProgressResponse>((client, done) =>
    client.getProgress({ details: NamespaceDetails.BUSIEST }, done),
  );
  if (options.output === 'json') io.out(toJsonLine('GetProgressResponse', response));
  else if (response.progress !== undefined) {
    const { terminalColumns: columns } = io;
    const lines =
      columns === undefined
        ? progressScreen(response.progress, PIPED_COLUMNS)
        : progressScreen(response.progress, columns, new Date());
    io.out(`${lines.join('\n')}\n`);
  }
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
export async function waitForState({ goal, givenUp }: WaitedStates, options: ClientOptions, io: Io): Promise<number> {
  const show = painter(options, io);
  for await (const snapshot of snapshots(options, { follow: true }, io)) {
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

/** Shows the progress until a commit is permitted; fails in a state from which it never will be. */
export async function waitUntilReady(options: ClientOptions, io: Io): Promise<number> {
  const show = painter(options, io);
  for await (const snapshot of snapshots(options, { follow: true }, io)) {
    show(snapshot);
    if (snapshot.canCommit) return CliExit.ok;
    if (!BEFORE_COMMIT.has(snapshot.state)) {
      io.err(`mongoferry: there is nothing to commit in state ${snapshot.state}\n`);
      return CliExit.failed;
    }
  }
  io.err('mongoferry: the server ended the progress before a commit was permitted\n');
  return CliExit.failed;
}

/** How a stream is watched. */
interface Watching {
  /** Also after COMMITTED. */
  readonly follow: boolean;
}

const BEFORE_COMMIT = new Set(['INITIALIZING', 'RUNNING', 'PAUSED']);

/**
 * The snapshots of a server, also when it is started anew meanwhile: the migration goes on then, and so does who watches
 * it. Errors: CallError at once when there was no answer yet, when there is none for five minutes, and when a server that
 * is there breaks off again and again.
 */
async function* snapshots(options: ClientOptions, how: Watching, io: Io): AsyncGenerator<ProgressSnapshot> {
  let lastMs: number | undefined;
  let breaks = 0;
  for (;;) {
    const beganMs = performance.now();
    let isAnswered = false;
    try {
      yield* withEach(options, how, () => {
        lastMs = performance.now();
        isAnswered = true;
      });
      return;
    } catch (error) {
      const now = performance.now();
      if (isAnswered) breaks = now - beganMs < BRIEF_MS ? breaks + 1 : 1;
      const isOver = lastMs === undefined || now - lastMs > RECONNECT_LIMIT_MS || breaks >= MAX_BREAKS;
      if (!isAway(error) || isOver) throw error;
      if (isAnswered) io.err(`mongoferry: ${options.target} does not answer; trying again\n`);
      await sleep(RECONNECT_MS);
    }
  }
}

const RECONNECT_MS = 500;
const RECONNECT_LIMIT_MS = 300_000;
/** A stream that breaks off so soon, and so often in a row, is no server that was started anew. */
const BRIEF_MS = 2000;
const MAX_BREAKS = 3;

async function* withEach(
  options: ClientOptions,
  { follow }: Watching,
  onSnapshot: () => void,
): AsyncGenerator<ProgressSnapshot> {
  const connection = new SyncConnection(options);
  try {
    for await (const snapshot of connection.progress(streamRequest(follow))) {
      onSnapshot();
      yield snapshot;
    }
  } finally {
    connection.close();
  }
}

/** Whether the server has gone, and may come back. */
function isAway(error: unknown): boolean {
  return error instanceof CallError && error.failure.code === status.UNAVAILABLE;
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
    const lines = progressScreen(snapshot, io.terminalColumns ?? PIPED_COLUMNS, new Date());
    const back = drawn === 0 ? '' : `\u001b[${drawn}A`;
    io.out(`${back}${lines.map((line) => `\r\u001b[2K${line}\n`).join('')}\u001b[J`);
    drawn = lines.length;
  };
}
