/** Several instances between sharded clusters: they share the changes, too. Kills and more seeds: sharded-instances.long.test.ts. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { appliedBy } from '../support/behind.js';
import type { Instance } from '../support/instances.js';
import { letAllFallBehind, migrateByInstances, type ShardedSides } from '../support/sharded-instances.js';
import { shardedSide } from '../support/sharded-migration.js';
import { sharedShardedCluster } from '../support/shared-servers.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 240_000;

const [from, to] = await Promise.all([
  sharedShardedCluster(test, { name: 'from' }).then(shardedSide),
  sharedShardedCluster(test, { name: 'to' }).then(shardedSide),
]);
const sides: ShardedSides = { from, to };

test('two instances, one of them killed, share changes on all shards of which documents move away, and end equal (through the router double)', async () => {
  const whenCaughtUp = async (all: readonly Instance[]): Promise<void> => {
    await letAllFallBehind(from, 'shared', all);
    const [first] = all;
    if (first === undefined) throw new Error('there is no instance');
    const shares = async (): Promise<number[]> => Promise.all(['i1', 'i2'].map((id) => appliedBy(first.client, id)));
    await eventually(60_000, async () => (await shares()).every((each) => each > 0), 'both applying');
  };
  const work = migrateByInstances(sides, { db: 'shared', seed: 5, count: 2, kills: 1, whenCaughtUp });
  assert.equal(await within(TEST_MS, work, 'the migration'), []);
});

test.run();
