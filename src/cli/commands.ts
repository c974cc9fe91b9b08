/** Runs the client commands that make one call. */
import type { CheckResponse, ListMismatchesResponse, RepairResponse } from '../../gen/mongoferry/v1/sync_service.js';
import { type ClientOptions, type UnaryCall, withConnection } from './client.js';
import { CliExit } from './exit-codes.js';
import { findingsTable } from './findings-table.js';
import type { Io } from './io.js';
import { mismatchLine, toJsonLine } from './json-line.js';
import { startRequestOf } from './start-request.js';
import { type WaitedStates, waitForState, waitUntilReady } from './watch.js';

type Values = Readonly<Record<string, unknown>>;

/** `check`: prints the findings; exit code 1 when one of them would stop the start. */
export async function runCheck(options: ClientOptions, values: Values, io: Io): Promise<number> {
  const request = await startRequestOf(values, io);
  const response = await withConnection(options, (connection) =>
    connection.unary<CheckResponse>((client, done) => client.check({ options: request }, done)),
  );
  io.out(options.output === 'json' ? toJsonLine('CheckResponse', response) : findingsTable(response));
  return response.ok ? CliExit.ok : CliExit.failed;
}

/** `start`: begins the migration. */
export async function runStart(options: ClientOptions, values: Values, io: Io): Promise<number> {
  const request = await startRequestOf(values, io);
  const exitCode = await act(options, io, 'started', (client, done) => client.start(request, done));
  // For people; a script knows what it does next.
  if (options.output === 'text' && io.terminalColumns !== undefined) io.out(NEXT);
  return exitCode;
}

const NEXT = `Follow it with: mongoferry progress --watch
Once it says "can commit", stop what writes to the source and run: mongoferry commit --wait
`;

/** `pause`. */
export async function runPause(options: ClientOptions, _values: Values, io: Io): Promise<number> {
  return await act(options, io, 'paused', (client, done) => client.pause({}, done));
}

/** `resume`. */
export async function runResume(options: ClientOptions, _values: Values, io: Io): Promise<number> {
  return await act(options, io, 'resumed', (client, done) => client.resume({}, done));
}

/** `commit`: with `--when-ready` waits until it is permitted; with `--wait` ends when the migration is committed. */
export async function runCommit(options: ClientOptions, values: Values, io: Io): Promise<number> {
  if (values['whenReady'] === true) {
    const isReady = await waitUntilReady(options, io);
    if (isReady !== CliExit.ok) return isReady;
  }
  const call: UnaryCall<unknown> = (client, done) => client.commit({}, done);
  return values['wait'] === true
    ? await actAndWait(options, io, { goal: 'COMMITTED', givenUp: 'RUNNING' }, call)
    : await act(options, io, 'committing', call);
}

/** `reverse`: with `--wait` ends when the migration runs in the other direction. */
export async function runReverse(options: ClientOptions, values: Values, io: Io): Promise<number> {
  const call: UnaryCall<unknown> = (client, done) => client.reverse({}, done);
  return values['wait'] === true
    ? await actAndWait(options, io, { goal: 'RUNNING', givenUp: 'COMMITTED' }, call)
    : await act(options, io, 'reversing', call);
}

/** `mismatches`: prints every document that differs, a JSON object per line; exit code 1 when there is one. */
export async function runMismatches(options: ClientOptions, _values: Values, io: Io): Promise<number> {
  return await withConnection(options, async (connection) => {
    let found = false;
    for (let pageToken = ''; ; ) {
      const page = await connection.unary<ListMismatchesResponse>((client, done) =>
        client.listMismatches({ pageSize: 1000, pageToken }, done),
      );
      for (const each of page.mismatches) io.out(mismatchLine(each));
      found ||= page.mismatches.length > 0;
      pageToken = page.nextPageToken;
      if (pageToken === '') return found ? CliExit.failed : CliExit.ok;
    }
  });
}

/** `repair`: copies documents that differ again; exit code 1 when some still do. */
export async function runRepair(options: ClientOptions, values: Values, io: Io): Promise<number> {
  const mismatchIds = (values['id'] as string[] | undefined) ?? [];
  const response = await withConnection(options, (connection) =>
    connection.unary<RepairResponse>((client, done) => client.repair({ mismatchIds }, done)),
  );
  const { repairedCount, remainingCount } = response;
  if (options.output === 'json') io.out(toJsonLine('RepairResponse', response));
  else io.out(`${repairedCount} documents copied again; ${remainingCount} still differ\n`);
  return remainingCount === 0 ? CliExit.ok : CliExit.failed;
}

async function act(options: ClientOptions, io: Io, done: string, call: UnaryCall<unknown>): Promise<number> {
  await withConnection(options, (connection) => connection.unary(call));
  io.out(options.output === 'json' ? '{"success":true}\n' : `${done}\n`);
  return CliExit.ok;
}

async function actAndWait(
  options: ClientOptions,
  io: Io,
  states: WaitedStates,
  call: UnaryCall<unknown>,
): Promise<number> {
  await withConnection(options, (connection) => connection.unary(call));
  return await waitForState(states, options, io);
}
