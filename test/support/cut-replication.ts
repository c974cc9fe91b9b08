/** Cuts a primary off from replication, by fail points. */
import { MongoClient } from 'mongodb';
import type { Member, ReplicaSet } from './replica-set.js';

const FETCHING = 'stopReplProducer';

/**
 * Cuts the replication of a set of three, started with FAIL_POINTS: what its primary writes from now on stays its own.
 * Resolves with the primary, and with what ends that state: the primary is killed, the others go on without what it
 * had, and a new one is elected. When the old one is started again, it rolls that back.
 */
export async function cutReplication(
  set: ReplicaSet,
): Promise<{ readonly primary: Member; readonly loseTail: () => Promise<Member> }> {
  const primary = await set.waitForPrimary();
  const others = set.members.filter(({ index }) => index !== primary.index);
  const switchFetching = async (mode: 'alwaysOn' | 'off') => {
    for (const { index } of others) {
      const client = new MongoClient(set.memberUri(index));
      try {
        await client.db('admin').command({ configureFailPoint: FETCHING, mode });
      } finally {
        await client.close();
      }
    }
  };
  await switchFetching('alwaysOn');
  return {
    primary,
    loseTail: async () => {
      await set.kill(primary.index);
      await switchFetching('off');
      return set.waitForPrimary();
    },
  };
}
