/** Migrates between sharded clusters by several instances, under a random workload. */
import { setTimeout as sleep } from 'node:timers/promises';
import { compareDatabase } from './compare-sharded.js';
import { type Instance, Instances } from './instances.js';
import { emptySide, type Side } from './sharded-migration.js';
import { ShardedWorkload } from './sharded-workload.js';
import { stopProcess } from './stop-process.js';
import { Random } from './workload-random.js';

/** Sharded on both sides. */
export interface ShardedSides {
  readonly from: Required<Side>;
  readonly to: Required<Side>;
}

/** A migration by several instances. */
export interface ByInstances {
  readonly db: string;
  readonly seed: number;
  readonly count: number;
  /** How often one of them is killed (-9) and started again. */
  readonly kills: number;
  /** What is done once all have applied what was there, before the commit. */
  readonly whenCaughtUp?: (instances: readonly Instance[]) => Promise<void>;
}

const BEFORE = 150;
const BETWEEN = 100;
/** So far behind that changes are applied in shares. */
const BEHIND_MS = 4000;
const DOCUMENTS = 120;
const TEXT = 'x'.repeat(20_000);

/** Resolves with how the clusters differ after the commit. */
export async function migrateByInstances(sides: ShardedSides, options: ByInstances): Promise<string[]> {
  const { from, to } = sides;
  const { db, seed, count, kills, whenCaughtUp } = options;
  const random = new Random(seed);
  const workload = new ShardedWorkload({ client: from.client, seed, db, cluster: from.cluster });
  await workload.prepare();
  await workload.run(BEFORE);
  await emptySide(to);
  await using instances = new Instances({ source: { uri: from.uri }, destination: { uri: to.uri } });
  for (let number = 1; number <= count; number++) await instances.add(`i${number}`, ['--migrationName', db]);
  await instances.start({ includeNamespaces: [{ database: db, collections: [] }] });
  for (let kill = 0; kill < kills; kill++) {
    await workload.run(1 + random.int(BETWEEN));
    await random.pick(instances.all).restart();
  }
  await Promise.all(instances.all.map(({ client }) => client.waitForCanCommit(120_000)));
  await whenCaughtUp?.(instances.all);
  await workload.run(BETWEEN);
  await instances.commit(180_000);
  return compareDatabase(from.client, to.client, db, { shardKeys: true });
}

/**
 * Stops all instances while documents on every shard are changed, and change their shards, and lets them go on: so far
 * behind, and by so many bytes, that they share the changes.
 */
export async function letAllFallBehind({ client }: Side, db: string, instances: readonly Instance[]): Promise<void> {
  const documents = client.db(db).collection<{ _id: number; a: number; n: number; text: string }>('byA');
  for (const { ferry } of instances) stopProcess(ferry.pid);
  try {
    const until = performance.now() + BEHIND_MS;
    const ids = Array.from({ length: DOCUMENTS }, (_, id) => 1_000_000 + id);
    await documents.insertMany(ids.map((_id) => ({ _id, a: _id % 200, n: 0, text: TEXT })));
    for (let round = 1; performance.now() < until || round < 4; round++) {
      await documents.bulkWrite(ids.map((_id) => ({ updateOne: { filter: { _id }, update: { $inc: { n: 1 } } } })));
      await documents.bulkWrite(
        ids.map((_id) => ({
          replaceOne: { filter: { _id, a: _id % 200 }, replacement: { a: _id % 200, n: round * 100, text: TEXT } },
        })),
      );
      await sleep(10);
    }
    for (const _id of ids.slice(0, 20))
      await documents.updateOne({ _id, a: _id % 200 }, { $set: { a: (_id + 100) % 200 } });
  } finally {
    for (const { ferry } of instances) process.kill(ferry.pid, 'SIGCONT');
  }
}
