/** Makes void what earlier holders of a migration's lease have sent and the servers have not carried out. */
import type { Cluster } from '../cluster/cluster.js';
import { endWrites } from '../cluster/operations.js';
import { closeWriteSessions } from '../cluster/write-sessions.js';
import type { Logger } from '../lib/logger.js';
import { awaitAll } from '../lib/tasks.js';
import type { EarlierHolder } from './lease-record.js';

/** Where their commands may arrive, and where their numbers are stored. */
export interface HoldersPlace {
  /** Holds the metadata: the only one that takes document writes. */
  readonly destination: Cluster;
  readonly source: Cluster;
  readonly metadataDb: string;
  readonly logger: Logger;
}

/**
 * Resolves once nothing that they have sent can take effect any more. Document writes are refused from now on: their
 * sessions are closed. A structural command cannot be refused: where one may be under way, the connections for such ones
 * are waited for; and all of a process that used another user's sessions, which this user cannot close. What the servers
 * are carrying out is ended.
 */
export async function endEarlier(
  place: HoldersPlace,
  earlier: readonly EarlierHolder[],
  signal: AbortSignal,
): Promise<void> {
  const { destination, source, metadataDb, logger } = place;
  const isOurs = ({ user }: EarlierHolder): boolean => user === destination.facts.user;
  const sessions = earlier.filter(isOurs).flatMap((each) => each.sessions);
  const closing = destination.attempt('closing the sessions of an earlier process', signal, () =>
    closeWriteSessions(destination, sessions, metadataDb),
  );
  const ending = [destination, source].flatMap((cluster) =>
    earlier.map((each) => {
      const awaits = !isOurs(each) ? 'all' : each.wasChanging ? 'structural' : 'none';
      const onWaiting = (text: string): void => {
        logger.warn(text);
        cluster.tellOutage(earlier, text);
      };
      return endWrites(cluster, { clientTags: [each.client], awaits, onWaiting }, signal);
    }),
  );
  try {
    await awaitAll([closing, ...ending]);
  } finally {
    for (const cluster of [destination, source]) cluster.tellOutage(earlier, undefined);
  }
}
