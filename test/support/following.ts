/** Follows two clusters as `mongoferry verify --follow` does, in this process. */
import type { MongoClient } from 'mongodb';
import { type ClusterDifference, verifyClusters } from '../../src/compare/verify-clusters.js';
import { createLogger } from '../../src/lib/logger.js';
import { type Deferred, deferred } from '../../src/lib/tasks.js';
import { resolveStartOptions } from '../../src/start/options.js';
import type { VerifierProgress } from '../../src/verify/verifier-view.js';
import { DEFAULT_START } from './migration-harness.js';
import type { ReplicaSetPair } from './replica-set.js';

const FOLLOW_MS = 60_000;
const logger = createLogger({ level: 'ERROR', mongosyncId: 'test', sink: { write: () => undefined } });

/** A comparison that goes on until it is told that writes have stopped. */
export interface Following {
  readonly stopped: Deferred<void>;
  readonly phase: () => VerifierProgress['source']['phase'] | undefined;
  /** "<namespace> <kind>" of all differences, sorted. */
  readonly found: Promise<string[]>;
}

/** Begins to compare two clusters; ends by itself after a minute. */
export function follow(clusters: ReplicaSetPair): Following {
  const stopped = deferred<void>();
  const differences: ClusterDifference[] = [];
  let progress: VerifierProgress | undefined;
  const config = { cluster0: clusters.source.uri, cluster1: clusters.destination.uri, loadLevel: 3 };
  const onProgress = (now: VerifierProgress): void => {
    progress = now;
  };
  const wanted = resolveStartOptions(DEFAULT_START);
  const options = { config, wanted, logger, writesStopped: stopped.promise, onProgress };
  const ended = verifyClusters(options, (each) => differences.push(each), AbortSignal.timeout(FOLLOW_MS));
  const found = ended.then(() => differences.map(({ namespace, kind }) => `${namespace} ${kind}`).sort());
  found.catch(() => undefined);
  return { stopped, phase: () => progress?.source.phase, found };
}

/** Gives each of the clients the same few documents, in collections of `shop`. */
export async function seedBoth(
  clients: readonly MongoClient[],
  names: readonly string[] = ['items'],
  count = 100,
): Promise<void> {
  for (const client of clients)
    for (const name of names)
      await client
        .db('shop')
        .collection<{ _id: number }>(name)
        .insertMany(Array.from({ length: count }, (_, n) => ({ _id: n, n })));
}
