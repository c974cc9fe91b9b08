/** Tests that a write which arrives late is refused on every shard, through the router double. */
import { type Binary, Long } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Cluster } from '../../src/cluster/cluster.js';
import { closeWriteSessions } from '../../src/cluster/write-sessions.js';
import { sharedShardedCluster } from '../support/shared-servers.js';
import { silentLogger } from '../support/silent-logger.js';

const { cluster: servers, client } = await sharedShardedCluster(test, { shards: 3 });

test('a session that is closed takes no more writes on any shard, nor on one that was added later (through the router double)', async () => {
  await servers.admin({ shardCollection: 'late.items', key: { a: 1 } });
  for (const [shard, a] of [0, 100, 200].entries()) {
    if (a > 0) await servers.split('late.items', { a });
    await servers.moveChunk({ ns: 'late.items', find: { a }, to: shard });
  }
  const cluster = await Cluster.connect({
    ...{ name: 'cluster1', uri: servers.routerUri(), logger: silentLogger, maxPoolSize: 4 },
  });
  try {
    for (const round of [0, 1]) {
      await using session = client.startSession();
      const id = (session.id as unknown as { id: Binary }).id;
      await closeWriteSessions(cluster, [id], 'late_metadata');
      const shards = round === 0 ? [0, 100, 200] : [0, 100, 200, 300];
      for (const a of shards) {
        const insert = { insert: 'items', documents: [{ _id: `${round} ${a}`, a }], txnNumber: Long.fromNumber(7) };
        const code = await client
          .db('late')
          .command(insert, { session })
          .then(
            ({ writeErrors }) => Number(writeErrors?.[0]?.code ?? 0),
            (error: { code?: unknown }) => Number(error.code),
          );
        assert.is(code, 225, `a late write reached the shard of ${a}`);
      }
      if (round === 0) {
        const added = await servers.addShard();
        await servers.split('late.items', { a: 300 });
        await servers.moveChunk({ ns: 'late.items', find: { a: 300 }, to: added });
      }
    }
    assert.is(await client.db('late').collection('items').countDocuments(), 0);
  } finally {
    await cluster.close();
  }
});

test.run();
