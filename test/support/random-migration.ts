/** Migrates under a random workload and compares the clusters. */
import type { StartOptions } from '../../src/start/options.js';
import { type CompareOptions, compareClusters } from './compare-clusters.js';
import { DEFAULT_START, MigrationHarness } from './migration-harness.js';
import { startPair } from './replica-set.js';
import { Workload, type WorkloadKind, type WorkloadReport } from './workload.js';

/** A migration under a random workload. */
export interface RandomMigration {
  readonly seed: number;
  /** Operations of the workload before the migration starts, and while it runs. */
  readonly before: number;
  readonly during: number;
  /** How often the migration is paused and resumed meanwhile. Default 0. */
  readonly pauses?: number;
  readonly loadLevel?: number;
  /** Threads that copy and apply. Default: as the environment says, else none. */
  readonly workerThreads?: number;
  /** Start options besides the direction. */
  readonly start?: Partial<StartOptions>;
  /** Under these options: what a namespace is called on the destination. See CompareOptions. */
  readonly target?: CompareOptions['target'];
  /** Kinds of operations that are left out. */
  readonly without?: readonly WorkloadKind[];
}

/** What came of it. */
export interface RandomOutcome {
  readonly differences: string[];
  readonly report: WorkloadReport;
  /** Log lines in which the verifier told of differences: false alarms, if there are none. */
  readonly alarms: string[];
}

/**
 * Runs a random workload with DDL against the source of a migration, then stops it, commits and compares. The pauses
 * fall where the workload is after an equal share of its operations.
 */
export async function migrateUnderWorkload(options: RandomMigration): Promise<RandomOutcome> {
  await using pair = await startPair();
  const source = await pair.source.connect();
  const workload = new Workload({ client: source, seed: options.seed, without: options.without ?? [] });
  await workload.prepare();
  await workload.run({ operations: options.before });
  await using harness = await MigrationHarness.open(pair, {
    loadLevel: options.loadLevel ?? 3,
    ...(options.workerThreads === undefined ? {} : { workerThreads: options.workerThreads }),
  });
  const pauses = options.pauses ?? 0;
  const share = Math.ceil(options.during / (pauses + 1));
  const writing = workload.run({ operations: share });
  await harness.migration.start({ ...DEFAULT_START, ...options.start });
  await writing;
  for (let pause = 0; pause < pauses; pause++) {
    await harness.migration.pause();
    const next = workload.run({ operations: share });
    await harness.migration.resume();
    await next;
  }
  const report = await workload.run({ operations: 0 });
  await harness.commit();
  const alarms = harness.logLines.filter((line) => line.includes('Documents differ'));
  const compare = options.target === undefined ? {} : { target: options.target };
  return { differences: await compareClusters(source, await pair.destination.connect(), compare), report, alarms };
}
