import { processTag } from '../cluster/clients.js';
import { Cluster } from '../cluster/cluster.js';
import { isTransient, safeText } from '../cluster/errors.js';
import { retry } from '../lib/backoff.js';
import type { Logger } from '../lib/logger.js';
import { linkAbort } from '../lib/signals.js';
import { loadOf } from './load-level.js';

/** Connection strings by cluster name, and the load that decides how many connections are kept. */
export interface ConnectConfig {
  readonly cluster0: string;
  readonly cluster1: string;
  readonly loadLevel: number;
}

/**
 * Connects to both clusters, waiting for one that does not answer: up to 30 minutes, or `patienceMs`. `onConnected` is told of each, so
 * that it is closed even when the other one fails. Errors: ClusterUnreachable, MissingPrivilege, InvalidRequest.
 */
export async function connectClusters(
  config: ConnectConfig,
  logger: Logger,
  onConnected: (cluster: Cluster) => void,
  signal: AbortSignal,
  patienceMs?: number,
): Promise<readonly [Cluster, Cluster]> {
  const { connections } = loadOf(config.loadLevel);
  const tag = processTag();
  const link = linkAbort(signal);
  const connect = async (name: 'cluster0' | 'cluster1'): Promise<Cluster> => {
    const options = { name, uri: config[name], logger: logger.component('cluster'), maxPoolSize: connections, tag };
    const cluster = await retry(() => Cluster.connect(options), {
      isRetryable: isTransient,
      signal: link.signal,
      ...(patienceMs === undefined ? {} : { maxElapsedMs: patienceMs }),
      onRetry: (notice) => logger.warn(`${name} cannot be reached yet: ${safeText(notice.error)}`),
    });
    onConnected(cluster);
    return cluster;
  };
  const connecting = [connect('cluster0'), connect('cluster1')] as const;
  try {
    return await Promise.all(connecting);
  } catch (error) {
    // What is wrong with one is told at once, not after the other one has been waited for.
    link.abort(error);
    await Promise.allSettled(connecting);
    throw error;
  } finally {
    link.dispose();
  }
}
