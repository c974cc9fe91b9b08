/** Makes clusters without servers: the program's own, over a double of the driver's client that a test answers for. */
import { UUID } from 'mongodb';
import type { Doc } from '../../src/bson/bson.js';
import { Cluster } from '../../src/cluster/cluster.js';
import { nameOf } from '../../src/cluster/commands.js';
import type { DriverClient } from '../../src/cluster/driver.js';
import { unlessAborted } from '../../src/lib/signals.js';
import { silentLogger } from './silent-logger.js';

/** Answers a command as a server would. */
export type Answer = (command: Doc, db: string) => Doc | Promise<Doc>;

/** What a server of an {@link answeringCluster} is. */
export interface AnsweringOptions {
  /** Default `cluster0`. */
  readonly name?: string;
  /** For how long work is tried again, in milliseconds. Default 30 minutes. */
  readonly retryLimitMs?: number;
}

/** Of a cluster that nothing is to be asked of. */
export const unasked: Answer = (command) => {
  throw new Error(`a ${nameOf(command)} command was not to be sent`);
};

/** What a replica set of 6.0 without users says of itself. */
const INTRODUCTION: ReadonlyMap<string, Doc> = new Map<string, Doc>([
  ['hello', { setName: 'double', primary: 'host:27017' }],
  ['buildInfo', { version: '6.0.5', versionArray: [6, 0, 5, 0] }],
  ['connectionStatus', { authInfo: { authenticatedUsers: [] } }],
  ['replSetGetConfig', { config: {} }],
  ['ping', {}],
]);

/** A replica set of which `answer` is asked whatever the program asks once it is connected. */
export async function answeringCluster(answer: Answer, options: AnsweringOptions = {}): Promise<Cluster> {
  let answers: Answer = (command) => INTRODUCTION.get(nameOf(command)) ?? unasked(command, 'admin');
  const client = clientOf((command, db) => answers(command, db));
  const cluster = await Cluster.connect({
    ...{ name: 'cluster0', uri: 'mongodb://host:27017', logger: silentLogger, maxPoolSize: client.maxPoolSize },
    ...{ makeClient: () => client, ...options },
  });
  answers = answer;
  return cluster;
}

function clientOf(answer: Answer): DriverClient {
  const ask = async (command: Doc, db: string): Promise<Doc> => answer(command, db);
  return {
    maxPoolSize: 4,
    seed: 'host:27017',
    connect: () => Promise.resolve(),
    close: () => Promise.resolve(),
    command: (db, command, { signal } = {}) =>
      signal === undefined ? ask(command, db) : unlessAborted(ask(command, db), signal),
    startSession: (id = new UUID()) => ({ id, endSession: () => Promise.resolve() }),
    onSent: () => undefined,
    onPrimary: () => undefined,
  };
}
