import { Cluster } from '../cluster/cluster.js';
import { isTransient, safeText } from '../cluster/errors.js';
import { retry } from '../lib/backoff.js';
import type { Logger } from '../lib/logger.js';
import { loadOf } from './load-level.js';

/** Connection strings by cluster name, and the load that decides how many connections are kept. */
export interface ConnectConfig {
  readonly cluster0: string;
  readonly cluster1: string;
  readonly loadLevel: number;
}

/**
 * Connects to both clusters, waiting up to 30 minutes for one that does not answer. `onConnected` is told of each, so
 * that it is closed even when the other one fails. Errors: ClusterUnreachable, MissingPrivilege.
 */
export async function connectClusters(
  config: ConnectConfig,
  logger: Logger,
  onConnected: (cluster: Cluster) => void,
  signal: AbortSignal,
): Promise<readonly [Cluster, Cluster]> {
  const { connections } = loadOf(config.loadLevel);
  const connect = async (name: 'cluster0' | 'cluster1'): Promise<Cluster> => {
    const options = { name, uri: config[name], logger: logger.component('cluster'), maxPoolSize: connections };
    const cluster = await retry(() => Cluster.connect(options), {
      isRetryable: isTransient,
      signal,
      onRetry: (notice) => logger.warn(`${name} cannot be reached yet: ${safeText(notice.error)}`),
    });
    onConnected(cluster);
    return cluster;
  };
  const results = await Promise.allSettled([connect('cluster0'), connect('cluster1')]);
  for (const result of results) if (result.status === 'rejected') throw result.reason;
  signal.throwIfAborted();
  const [cluster0, cluster1] = results as [PromiseFulfilledResult<Cluster>, PromiseFulfilledResult<Cluster>];
  return [cluster0.value, cluster1.value];
}
