/** Random workloads between sharded clusters with two and three instances, any of which is killed; each with three seeds. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { letAllFallBehind, migrateByInstances, type ShardedSides } from '../support/sharded-instances.js';
import { shardedSide } from '../support/sharded-migration.js';
import { sharedShardedCluster } from '../support/shared-servers.js';
import { within } from '../support/within.js';

const TEST_MS = 600_000;
const KILLS = 6;

const [from, to] = await Promise.all([
  sharedShardedCluster(test, { name: 'from' }).then(shardedSide),
  sharedShardedCluster(test, { name: 'to', shards: 3 }).then(shardedSide),
]);
const sides: ShardedSides = { from, to };

for (const count of [2, 3])
  for (const seed of [11, 12, 13])
    test(`${count} instances, any of which is killed, end equal: seed ${seed} (through the router double)`, async () => {
      const db = `i${count}s${seed}`;
      const work = migrateByInstances(sides, {
        ...{ db, seed, count, kills: KILLS },
        whenCaughtUp: (all) => letAllFallBehind(from, db, all),
      });
      assert.equal(await within(TEST_MS, work, 'the migration'), []);
      await from.client.db(db).dropDatabase();
    });

test.run();
