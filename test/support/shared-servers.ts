/** Shares servers between the tests of a file. */
import type { MongoClient } from 'mongodb';
import type { Test } from 'uvu';
import { Cluster } from '../../src/cluster/cluster.js';
import type { WritableCluster } from '../../src/cluster/writable-cluster.js';
import { obtainSet, type PairOptions, type ReplicaSet, type ReplicaSetPair, startPair } from './replica-set.js';
import type { ReplicaSetOptions } from './replica-set-options.js';
import { ShardedCluster, type ShardedClusterOptions } from './sharded-cluster.js';
import { silentLogger } from './silent-logger.js';
import { resetClusters } from './stored-migration.js';
import { writableAlone } from './writable.js';

// Servers that all tests of a file share. They are awaited at the top of the file and not in `test.before`: that makes
// them constants, and a start that fails is told. uvu swallows what a before hook throws.

/** A source and a destination that a file's tests share, with a client of each. */
export interface SharedPair {
  readonly pair: ReplicaSetPair;
  readonly source: MongoClient;
  readonly destination: MongoClient;
}

/** Options of {@link sharedPair}. */
export interface SharedPairOptions extends PairOptions {
  /** Leaves what a test wrote to the next one; else both clusters are reset before each test. */
  readonly keepData?: boolean;
}

/**
 * Obtains a pair, which is removed or given back after the file's last test, and has both clusters reset before each test: ahead of
 * the file's own `test.before.each`, if that is registered later. Errors: as {@link startPair}.
 */
export async function sharedPair(test: Test, options: SharedPairOptions = {}): Promise<SharedPair> {
  const { keepData = false, ...sets } = options;
  const pair = await startPair(sets);
  atEnd(test, () => pair[Symbol.asyncDispose]());
  const [source, destination] = await Promise.all([pair.source.connect(), pair.destination.connect()]);
  if (!keepData) test.before.each(() => resetClusters(source, destination));
  return { pair, source, destination };
}

/** Obtains a set, which is removed or given back after the file's last test. Errors: as {@link ReplicaSet.start}. */
export async function sharedSet(test: Test, options: ReplicaSetOptions = {}): Promise<ReplicaSet> {
  const set = await obtainSet(options);
  atEnd(test, () => set.remove());
  return set;
}

/** A sharded cluster that a file's tests share, with a client of its first router. */
export interface SharedShardedCluster {
  readonly cluster: ShardedCluster;
  readonly client: MongoClient;
}

/**
 * Starts a sharded cluster, balancer stopped, which is removed after the file's last test. Tests keep apart by the names
 * of their databases. Errors: as {@link ShardedCluster.start}.
 */
export async function sharedShardedCluster(
  test: Test,
  options: ShardedClusterOptions = {},
): Promise<SharedShardedCluster> {
  const cluster = await ShardedCluster.start(options);
  atEnd(test, () => cluster.remove());
  await cluster.admin({ balancerStop: 1 });
  return { cluster, client: await cluster.client({ router: 0 }) };
}

/** Opens the program's own door to a set, closed after the file's last test. Errors: as {@link Cluster.connect}. */
export async function sharedCluster(test: Test, name: string, { uri }: ReplicaSet): Promise<WritableCluster> {
  const cluster = writableAlone(await Cluster.connect({ name, uri, logger: silentLogger, maxPoolSize: 4 }));
  atEnd(test, () => cluster.close());
  return cluster;
}

type Work = () => PromiseLike<unknown>;

/** Of a test file: what is to be done after its last test. */
interface Ending {
  readonly after: (hook: () => Promise<void>) => void;
}

const works = new WeakMap<Ending, Work[]>();

/**
 * Has `work` done after the file's last test, whether it passed or failed. What was given last is done first, so what
 * uses a server is closed before the server is removed. Errors: the last, once everything has been done.
 */
export function atEnd(test: Ending, work: Work): void {
  const earlier = works.get(test);
  if (earlier !== undefined) {
    earlier.push(work);
    return;
  }
  const all = [work];
  works.set(test, all);
  test.after(() => doAll(all));
}

async function doAll(all: Work[]): Promise<void> {
  const work = all.pop();
  if (work === undefined) return;
  try {
    await work();
  } finally {
    await doAll(all);
  }
}
