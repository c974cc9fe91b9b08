/** Declares what one operation of a random workload is given. */
import type { Collection, MongoClient } from 'mongodb';
import type { Random } from './workload-random.js';

/** What one operation of a workload is given. */
export interface Turn {
  readonly client: MongoClient;
  readonly random: Random;
  /** Databases it works in, the one it uses most first; dropDatabase takes the last, which may come back in capitals. */
  readonly databases: readonly [string, ...string[]];
}

/** One operation. Rejects with the driver's error. */
export type Act = (turn: Turn) => Promise<void>;

/** Names that collections of every database are chosen from; operations that change the catalog move them about. */
export const COLLECTIONS = [
  'plain',
  'busy',
  'clustered',
  'collated',
  'moving0',
  'moving1',
  'moving2',
  'result',
] as const;

/** A collection, which need not exist. */
export function pickCollection(turn: Turn): Collection {
  return turn.client.db(pickDatabase(turn)).collection(turn.random.pick(COLLECTIONS));
}

/** A database's name. */
export function pickDatabase({ random, databases }: Turn): string {
  return random.chance(0.6) ? databases[0] : random.pick(databases);
}
