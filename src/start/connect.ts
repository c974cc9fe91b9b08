/** Connects to both clusters, and waits for one that does not answer. */
import { type ConnectOptions, processTag } from '../cluster/clients.js';
import { Cluster } from '../cluster/cluster.js';
import { mayConnectLater } from '../cluster/connect-errors.js';
import { safeText } from '../cluster/errors.js';
import { retry } from '../lib/backoff.js';
import type { Logger } from '../lib/logger.js';
import { linkAbort } from '../lib/signals.js';
import { loadOf } from './load-level.js';

/** Connection strings by cluster name, and the load that decides how many connections are kept. */
export interface ConnectConfig {
  readonly cluster0: string;
  readonly cluster1: string;
  readonly loadLevel: number;
  /** For how long work that does not go on is tried again, in milliseconds. Default 30 minutes. */
  readonly retryLimitMs?: number;
  /** For how long connecting is, in milliseconds. Default as long as other work. */
  readonly connectLimitMs?: number;
  /** Makes the clients. Default the driver's. */
  readonly makeClient?: ConnectOptions['makeClient'];
}

/** What is told while the clusters are being connected. */
export interface ConnectListener {
  /** So that it is closed even when the other one fails. */
  readonly onConnected: (cluster: Cluster) => void;
  /** Why a cluster is not connected yet; undefined when it is, or is given up. */
  readonly onWaiting?: (name: string, text: string | undefined) => void;
}

/**
 * Connects to both clusters, waiting for one that does not answer, for as long as `connectLimitMs` says. What waiting
 * cannot mend comes at once. Errors: ClusterUnreachable, MissingPrivilege, InvalidRequest.
 */
export async function connectClusters(
  config: ConnectConfig,
  logger: Logger,
  { onConnected, onWaiting }: ConnectListener,
  signal: AbortSignal,
): Promise<readonly [Cluster, Cluster]> {
  const { connections } = loadOf(config.loadLevel);
  const { retryLimitMs, connectLimitMs = retryLimitMs, makeClient } = config;
  const limit = { makeClient, ...(retryLimitMs === undefined ? {} : { retryLimitMs }) };
  const tag = processTag();
  const link = linkAbort(signal);
  const connect = async (name: 'cluster0' | 'cluster1'): Promise<Cluster> => {
    const options = { name, uri: config[name], logger: logger.component('cluster'), maxPoolSize: connections, tag };
    try {
      const cluster = await retry(() => Cluster.connect({ ...options, ...limit }), {
        isRetryable: mayConnectLater,
        signal: link.signal,
        ...(connectLimitMs === undefined ? {} : { maxElapsedMs: connectLimitMs }),
        onRetry: (notice) => {
          const text = `${name} cannot be reached yet: ${safeText(notice.error)}`;
          // The second field is what a user interface shows of a line with these words.
          logger.warn(text, { kind: 'transient error', operationDescription: text });
          onWaiting?.(name, text);
        },
      });
      onConnected(cluster);
      return cluster;
    } finally {
      onWaiting?.(name, undefined);
    }
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
