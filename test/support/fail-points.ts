/** Holds or refuses chosen commands of mongoferry on a server. */
import type { Document, MongoClient } from 'mongodb';
import { eventually } from './within.js';

/** `setParameters` of a set whose commands are to be held or refused: the server's own switch for tests. */
export const FAIL_POINTS = { enableTestCommands: '1' } as const;

/** The name under which the engine's connections are known to the server; only their commands are touched. */
const APP_NAME = 'mongoferry';

/** Which of mongoferry's commands, and how many of them: all until {@link releaseCommands}, unless `times` is given. */
export interface FailedCommands {
  readonly commands: readonly string[];
  readonly times?: number;
  /** So many of them pass first, and all after these are touched. */
  readonly afterFirst?: number;
  /** Only those of this collection. */
  readonly namespace?: string;
}

/**
 * Makes a server wait before it carries out commands of mongoferry: each of them for `ms` milliseconds, so that a test
 * can look at, or kill, a process in the middle of a step. What waits already is not let go by `releaseCommands`.
 */
export async function holdCommands(
  client: MongoClient,
  { commands, times, namespace }: FailedCommands,
  ms: number,
): Promise<void> {
  const within = namespace === undefined ? {} : { namespace };
  const data = { failCommands: commands, appName: APP_NAME, ...within, blockConnection: true, blockTimeMS: ms };
  await configure(client, times === undefined ? 'alwaysOn' : { times }, data);
}

/**
 * Makes a server answer commands of mongoferry with that error code, without carrying them out. `errorExtraInfo`: what
 * the server would say beside it, without which it does not take some of the codes.
 */
export async function refuseCommands(
  client: MongoClient,
  { commands, times, afterFirst, namespace }: FailedCommands,
  error: number | { readonly errorCode: number; readonly errorExtraInfo: Document },
): Promise<void> {
  const codes = typeof error === 'number' ? { errorCode: error } : error;
  const within = namespace === undefined ? {} : { namespace };
  const data = { failCommands: commands, appName: APP_NAME, ...within, ...codes };
  const always = afterFirst === undefined ? 'alwaysOn' : { skip: afterFirst };
  await configure(client, times === undefined ? always : { times }, data);
}

/** Makes a server answer commands of mongoferry with a write concern error besides what it says; it waits for nothing. */
export async function failWriteConcern(client: MongoClient, { commands, times }: FailedCommands): Promise<void> {
  const writeConcernError = { code: 11602, errmsg: 'a test has interrupted the wait' };
  const data = { failCommands: commands, appName: APP_NAME, writeConcernError };
  await configure(client, times === undefined ? 'alwaysOn' : { times }, data);
}

/** Ends what those above began. */
export async function releaseCommands(client: MongoClient): Promise<void> {
  await configure(client, 'off', undefined);
}

async function configure(client: MongoClient, mode: unknown, data: unknown): Promise<void> {
  await client
    .db('admin')
    .command({ configureFailPoint: 'failCommand', mode, ...(data === undefined ? {} : { data }) });
}

/** How many commands of mongoferry a server has held or refused since it was started. */
export async function touchedCommands(client: MongoClient): Promise<number> {
  return timesEntered(client, 'failCommand');
}

async function timesEntered(client: MongoClient, name: string): Promise<number> {
  const reply = await client.db('admin').command({ getParameter: 1, [`failpoint.${name}`]: 1 });
  return Number(reply[`failpoint.${name}`]?.timesEntered ?? 0);
}

const STREAM_WAIT = 'waitAfterPinningCursorBeforeGetMoreBatch';

/**
 * Makes every getMore of a server wait, change streams' first of all, until the function it resolves with is called.
 * Resolves once one waits: what was asked for before can no longer bring anything.
 */
export async function holdStreams(client: MongoClient): Promise<() => Promise<void>> {
  const admin = client.db('admin');
  const entered = () => timesEntered(client, STREAM_WAIT);
  const before = await entered();
  await admin.command({ configureFailPoint: STREAM_WAIT, mode: 'alwaysOn' });
  await eventually(10_000, async () => (await entered()) > before, 'a getMore being held');
  return async () => {
    await admin.command({ configureFailPoint: STREAM_WAIT, mode: 'off' });
  };
}
