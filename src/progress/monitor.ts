/** Pings both clusters and reads the oplog window from time to time, for progress, readiness and the log. */
import type { Cluster } from '../cluster/cluster.js';
import { safeText } from '../cluster/errors.js';
import { type OplogCluster, oplogTime } from '../cluster/oplog.js';
import type { Logger } from '../lib/logger.js';
import { beat } from '../lib/signals.js';
import { type Histogram, metrics } from '../metrics.js';

const TICK_MS = 1000;
const PING_MS = 30_000;
const OPLOG_MS = 5 * 60_000;
const PROGRESS_LOG_MS = 30_000;

/** What is looked at from time to time, for progress and readiness. */
export interface Health {
  /** Milliseconds; undefined before the first ping, -1 when the last one failed. */
  sourcePingMs: number | undefined;
  destinationPingMs: number | undefined;
  /** Seconds since the epoch of the source's oldest oplog entry. */
  oldestOplogSeconds: number | undefined;
}

/** What the monitor looks at of a cluster. */
export type MonitoredCluster = OplogCluster & Pick<Cluster, 'name' | 'ping'>;

/** What the monitor calls. */
export interface MonitorHooks {
  /** Once a second. */
  readonly onTick: () => void;
  /** At once, then every 30 seconds. */
  readonly onProgressLog: () => void;
}

/** Keeps `health` up to date until `signal` aborts. A cluster that does not answer is noted, never an error. */
export async function monitor(
  roles: () => { readonly source: MonitoredCluster; readonly destination: MonitoredCluster } | undefined,
  health: Health,
  hooks: MonitorHooks,
  logger: Logger,
  signal: AbortSignal,
): Promise<void> {
  const background = new Background(logger, signal);
  const isCurrent = (clusters: { readonly source: MonitoredCluster }): boolean => roles()?.source === clusters.source;
  let nextPing = 0;
  let nextOplog = 0;
  let nextLog = performance.now();
  let source: MonitoredCluster | undefined;
  for (;;) {
    const now = performance.now();
    const clusters = roles();
    if (clusters?.source !== source) {
      // After a reversal, what is known is of the other cluster.
      source = clusters?.source;
      health.sourcePingMs = health.destinationPingMs = health.oldestOplogSeconds = undefined;
      nextPing = nextOplog = 0;
    }
    if (clusters !== undefined && now >= nextPing) {
      nextPing = now + PING_MS;
      background.run(`ping ${clusters.source.name}`, async () => {
        const ms = await ping(clusters.source, metrics.sourcePing, logger, signal);
        if (isCurrent(clusters)) health.sourcePingMs = ms;
      });
      background.run(`ping ${clusters.destination.name}`, async () => {
        const ms = await ping(clusters.destination, metrics.destinationPing, logger, signal);
        if (isCurrent(clusters)) health.destinationPingMs = ms;
      });
    }
    if (clusters !== undefined && now >= nextOplog) {
      nextOplog = now + OPLOG_MS;
      background.run(`oplog ${clusters.source.name}`, async () => {
        const seconds = await oldestOplog(clusters.source, logger, signal);
        if (isCurrent(clusters)) health.oldestOplogSeconds = seconds;
      });
    }
    if (now >= nextLog) {
      nextLog = now + PROGRESS_LOG_MS;
      hooks.onProgressLog();
    }
    hooks.onTick();
    await beat(TICK_MS, signal);
  }
}

/** Looks that take their time, one of a name at once: a cluster that is away must hold up nothing else. */
class Background {
  readonly #running = new Set<string>();
  readonly #logger: Logger;
  readonly #signal: AbortSignal;

  constructor(logger: Logger, signal: AbortSignal) {
    this.#logger = logger;
    this.#signal = signal;
  }

  run(name: string, look: () => Promise<void>): void {
    if (this.#running.has(name)) return;
    this.#running.add(name);
    void look()
      .catch((error: unknown) => {
        if (!this.#signal.aborted) this.#logger.error(`Looking after the clusters (${name}) failed`, { error });
      })
      .finally(() => this.#running.delete(name));
  }
}

async function ping(cluster: MonitoredCluster, times: Histogram, logger: Logger, signal: AbortSignal): Promise<number> {
  try {
    const ms = await cluster.ping(signal);
    times.record(ms);
    return ms;
  } catch (error) {
    signal.throwIfAborted();
    logger.debug(`A ping of ${cluster.name} failed: ${safeText(error)}`);
    return -1;
  }
}

async function oldestOplog(source: OplogCluster, logger: Logger, signal: AbortSignal): Promise<number | undefined> {
  try {
    return await oplogTime(source, 1, signal);
  } catch (error) {
    signal.throwIfAborted();
    logger.debug(`The oplog window could not be read: ${safeText(error)}`);
    return undefined;
  }
}
