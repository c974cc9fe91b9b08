/** Kills a migration's process again and again under a random workload. */
import type { MongoClient } from 'mongodb';
import { type CompareOptions, compareClusters } from './compare-clusters.js';
import { FAIL_POINTS, holdCommands, releaseCommands } from './fail-points.js';
import { startProxiedSet } from './fault-proxy.js';
import { FerryClient, type StartOptions, withClient } from './ferry-client.js';
import { FerryProcess } from './ferry-process.js';
import { Mischief, type MischiefReport } from './mischief.js';
import { startPair } from './replica-set.js';
import { seedBulk } from './seed-data-bulk.js';
import { eventually } from './within.js';
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
  /** For how long each insert of those is held until the last kill, so that a few of them are enough. Default: not. */
  readonly holdInsertsMs?: number;
  /** Start options besides the direction. */
  readonly start?: StartOptions;
  /** Under these options: what a namespace is called on the destination. See CompareOptions. */
  readonly target?: CompareOptions['target'];
  /** Kinds of operations that are left out. */
  readonly without?: readonly WorkloadKind[];
  /** Threads that copy and apply. Default: none. */
  readonly workerThreads?: number;
  /** Whether faults befall what the migration sends: see Mischief. */
  readonly faults?: boolean;
}

/** What came of it. */
export interface KillOutcome {
  readonly differences: string[];
  /** In which phase each kill fell, by progress's `info`. */
  readonly phases: string[];
  readonly operations: number;
  /** How many worker threads have written, of all processes. */
  readonly threadsStarted: number;
  /** With faults: how many of each kind. */
  readonly faults?: MischiefReport;
  /** How long the workload lasted. */
  readonly workloadMs: number;
}

/**
 * Starts a migration as a process of its own, kills it (-9) after a random number of the workload's operations, starts
 * it again with the same flags, and so on; then stops the workload, commits and compares.
 */
export async function migrateWithKills(plan: KillPlan): Promise<KillOutcome> {
  const random = new Random(plan.seed);
  await using clusters = plan.faults === true ? await faultyClusters(random) : await plainClusters(plan.holdInsertsMs);
  const { pair, source, destination, mischief } = clusters;
  const flags = plan.workerThreads === undefined ? [] : ['--workerThreads', String(plan.workerThreads)];
  await seedBulk(source, { collections: 2, documents: plan.bulkDocuments, documentBytes: 500, indexes: 1 });
  const workload = new Workload({ client: source, seed: plan.seed, without: plan.without ?? [] });
  await workload.prepare();
  await workload.run({ operations: 500 });
  await using ferry = await FerryProcess.between(pair, { flags });
  await withClient(ferry, async (client) => {
    await client.waitUntilInitialized();
    await client.start(plan.start);
  });
  const phases: string[] = [];
  const began = performance.now();
  for (let kill = 1; kill <= plan.kills; kill++) {
    // The first ones close together: they fall into the copy.
    const until = began + (plan.atLeastMs ?? 0) * (kill / plan.kills) ** 2;
    do {
      await mischief?.turn();
      await workload.run({ operations: 1 + random.int(plan.operationsBetween) });
    } while (performance.now() < until);
    if (plan.atLeastMs === undefined && kill > 1) await threadsConnected(ferry, plan.workerThreads ?? 0);
    phases.push(await infoOf(ferry));
    await ferry.kill();
    await ferry.restart();
  }
  await clusters.release();
  const report = await workload.run({ operations: 200 });
  const workloadMs = performance.now() - began;
  await mischief?.calmDown();
  await withClient(ferry, async (client) => {
    await client.waitForCanCommit(120_000);
    await client.commitAndWait(120_000);
  });
  // What is still on its way comes after the handover.
  await mischief?.deliverAll();
  return {
    differences: await compareClusters(source, destination, plan.target === undefined ? {} : { target: plan.target }),
    phases,
    operations: report.operations,
    threadsStarted: ferry.linesWith(THREAD_CONNECTED).length,
    workloadMs,
    ...(mischief === undefined ? {} : { faults: mischief.report }),
  };
}

const THREAD_CONNECTED = 'A worker thread has connected';

/** Where a migration takes place: `pair` is what it connects to, the clients go past any faults. */
interface Clusters extends AsyncDisposable {
  readonly pair: { readonly source: { readonly uri: string }; readonly destination: { readonly uri: string } };
  readonly source: MongoClient;
  readonly destination: MongoClient;
  readonly mischief: Mischief | undefined;
  /** Ends the holding of inserts. */
  release(): Promise<void>;
}

async function plainClusters(holdInsertsMs: number | undefined): Promise<Clusters> {
  const setParameters = FAIL_POINTS;
  const pair = await startPair(holdInsertsMs === undefined ? {} : { destination: { setParameters } });
  const [source, destination] = [await pair.source.connect(), await pair.destination.connect()];
  if (holdInsertsMs !== undefined)
    await holdCommands(destination, { commands: ['insert'], namespace: 'bulk.c0' }, holdInsertsMs);
  const release = async () => {
    if (holdInsertsMs !== undefined) await releaseCommands(destination);
  };
  return {
    pair,
    source,
    destination,
    mischief: undefined,
    release,
    [Symbol.asyncDispose]: () => pair[Symbol.asyncDispose](),
  };
}

async function faultyClusters(random: Random): Promise<Clusters> {
  const [source, destination] = await Promise.all([
    startProxiedSet({ name: 'source' }),
    startProxiedSet({ name: 'destination' }),
  ]);
  return {
    pair: { source: source.set, destination: destination.set },
    source: await source.connectPast(),
    destination: await destination.connectPast(),
    mischief: new Mischief(random, { source: source.proxy, destination: destination.proxy }),
    release: async () => undefined,
    [Symbol.asyncDispose]: async () => {
      await source[Symbol.asyncDispose]();
      await destination[Symbol.asyncDispose]();
    },
  };
}

/** Waits for those of the present process, so that they have begun to write when it is killed. */
async function threadsConnected(ferry: FerryProcess, threads: number): Promise<void> {
  const lines = () => ferry.log.slice(ferry.log.findLastIndex(({ message }) => message === 'listening'));
  const connected = () => lines().filter(({ message }) => message.includes(THREAD_CONNECTED)).length;
  await eventually(60_000, async () => connected() >= threads, 'worker threads connecting');
}

async function infoOf(ferry: FerryProcess): Promise<string> {
  using client = new FerryClient(ferry.grpcTarget);
  const { state, info } = await client.progress();
  return info ?? state;
}
