import { type CompareOptions, compareClusters } from './compare-clusters.js';
import { FerryClient, type StartOptions, withClient } from './ferry-client.js';
import { FerryProcess } from './ferry-process.js';
import { startPair } from './replica-set.js';
import { seedBulk } from './seed-data-bulk.js';
import { Workload, type WorkloadKind } from './workload.js';
import { Random } from './workload-random.js';

/** A migration whose process is killed again and again under a random workload. */
export interface KillPlan {
  readonly seed: number;
  readonly kills: number;
  /** Operations of the workload between two kills, at most. */
  readonly operationsBetween: number;
  /** How long the workload lasts at least, the kills spread over it. Milliseconds; default 0. */
  readonly atLeastMs?: number;
  /** Documents besides the workload's, so that the copy takes a while. */
  readonly bulkDocuments: number;
  /** Start options besides the direction. */
  readonly start?: StartOptions;
  /** Under these options: what a namespace is called on the destination. See CompareOptions. */
  readonly target?: CompareOptions['target'];
  /** Kinds of operations that are left out. */
  readonly without?: readonly WorkloadKind[];
}

/** What came of it. */
export interface KillOutcome {
  readonly differences: string[];
  /** In which phase each kill fell, by progress's `info`. */
  readonly phases: string[];
  readonly operations: number;
  /** How long the workload lasted. */
  readonly workloadMs: number;
}

/**
 * Starts a migration as a process of its own, kills it (-9) after a random number of the workload's operations, starts
 * it again with the same flags, and so on; then stops the workload, commits and compares.
 */
export async function migrateWithKills(plan: KillPlan): Promise<KillOutcome> {
  const random = new Random(plan.seed);
  await using pair = await startPair();
  const source = await pair.source.connect();
  await seedBulk(source, { collections: 2, documents: plan.bulkDocuments, documentBytes: 500, indexes: 1 });
  const workload = new Workload({ client: source, seed: plan.seed, without: plan.without ?? [] });
  await workload.prepare();
  await workload.run({ operations: 500 });
  await using ferry = await FerryProcess.between(pair);
  await withClient(ferry, async (client) => {
    await client.waitUntilInitialized();
    await client.start(plan.start);
  });
  const phases: string[] = [];
  const began = performance.now();
  for (let kill = 1; kill <= plan.kills; kill++) {
    // The first ones close together: they fall into the copy.
    const until = began + (plan.atLeastMs ?? 0) * (kill / plan.kills) ** 2;
    do await workload.run({ operations: 1 + random.int(plan.operationsBetween) });
    while (performance.now() < until);
    phases.push(await infoOf(ferry));
    await ferry.kill();
    await ferry.restart();
  }
  const report = await workload.run({ operations: 200 });
  const workloadMs = performance.now() - began;
  await withClient(ferry, async (client) => {
    await client.waitForCanCommit(120_000);
    await client.commitAndWait(120_000);
  });
  return {
    differences: await compareClusters(
      source,
      await pair.destination.connect(),
      plan.target === undefined ? {} : { target: plan.target },
    ),
    phases,
    operations: report.operations,
    workloadMs,
  };
}

async function infoOf(ferry: FerryProcess): Promise<string> {
  using client = new FerryClient(ferry.grpcTarget);
  const { state, info } = await client.progress();
  return info ?? state;
}
