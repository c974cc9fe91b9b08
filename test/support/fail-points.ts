import type { Document, MongoClient } from 'mongodb';

/** `setParameters` of a set whose commands are to be held or refused: the server's own switch for tests. */
export const FAIL_POINTS = { enableTestCommands: '1' } as const;

/** The name under which the engine's connections are known to the server; only their commands are touched. */
const APP_NAME = 'mongoferry';

/** Which of mongoferry's commands, and how many of them: all until {@link releaseCommands}, unless `times` is given. */
export interface FailedCommands {
  readonly commands: readonly string[];
  readonly times?: number;
}

/**
 * Makes a server wait before it carries out commands of mongoferry: each of them for `ms` milliseconds, so that a test
 * can look at, or kill, a process in the middle of a step. What waits already is not let go by `releaseCommands`.
 */
export async function holdCommands(
  client: MongoClient,
  { commands, times }: FailedCommands,
  ms: number,
): Promise<void> {
  const data = { failCommands: commands, appName: APP_NAME, blockConnection: true, blockTimeMS: ms };
  await configure(client, times === undefined ? 'alwaysOn' : { times }, data);
}

/**
 * Makes a server answer commands of mongoferry with that error code, without carrying them out. `errorExtraInfo`: what
 * the server would say beside it, without which it does not take some of the codes.
 */
export async function refuseCommands(
  client: MongoClient,
  { commands, times }: FailedCommands,
  error: number | { readonly errorCode: number; readonly errorExtraInfo: Document },
): Promise<void> {
  const codes = typeof error === 'number' ? { errorCode: error } : error;
  const data = { failCommands: commands, appName: APP_NAME, ...codes };
  await configure(client, times === undefined ? 'alwaysOn' : { times }, data);
}

/** Ends what the two above began. */
export async function releaseCommands(client: MongoClient): Promise<void> {
  await configure(client, 'off', undefined);
}

async function configure(client: MongoClient, mode: unknown, data: unknown): Promise<void> {
  await client
    .db('admin')
    .command({ configureFailPoint: 'failCommand', mode, ...(data === undefined ? {} : { data }) });
}
