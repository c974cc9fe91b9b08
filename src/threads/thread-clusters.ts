/** Runs a thread with clients of its own: connects them, serves what the thread is for, and ends when told to. */
import { uuidBytes } from '../bson/uuid.js';
import { Cluster } from '../cluster/cluster.js';
import { isTransient, safeText, tagExhausted } from '../cluster/errors.js';
import { WritableCluster } from '../cluster/writable-cluster.js';
import { writeSessions } from '../cluster/write-sessions.js';
import { AppError, InvariantError } from '../errors.js';
import { retry } from '../lib/backoff.js';
import type { Logger } from '../lib/logger.js';
import { SharedDeadline } from '../lib/shared-deadline.js';
import type { ThreadChannel } from '../lib/thread-channel.js';
import { seenBy } from './seen-times.js';
import {
  CLOSE,
  type ClusterAccess,
  OPEN,
  RESOLVE_LOST,
  type ThreadData,
  type ThreadOpened,
  WAITS,
} from './thread-calls.js';
import { ThreadLogger } from './thread-logger.js';
import { ThreadMetrics } from './thread-metrics.js';
import { ThreadRight } from './thread-right.js';

const LOOK_MS = 1000;

/** What the uses of a thread work with. */
export interface ThreadParts {
  readonly channel: ThreadChannel;
  readonly data: ThreadData;
  readonly source: Cluster;
  readonly destination: Cluster;
  /** The destination with the right to write; undefined where the thread only reads. */
  readonly writable: WritableCluster | undefined;
  readonly logger: Logger;
  /** Aborts when the thread is to end. */
  readonly signal: AbortSignal;
}

/**
 * Serves OPEN, RESOLVE_LOST and CLOSE. `prepare` is called once connected, and serves the rest before OPEN is answered; `end`
 * lets go of the port, which ends the thread.
 */
export function serveThread(
  channel: ThreadChannel,
  data: ThreadData,
  prepare: (parts: ThreadParts) => Promise<void>,
  end: () => void,
): void {
  const ending = new AbortController();
  const logger = new ThreadLogger(channel, ending.signal);
  const metrics = new ThreadMetrics(channel, ending.signal);
  let clusters: readonly Cluster[] = [];
  let writable: WritableCluster | undefined;
  let telling: NodeJS.Timeout | undefined;
  channel.serve(OPEN, async (_task, { signal }): Promise<ThreadOpened> => {
    const [source, destination] = await connectBoth(data, logger, signal);
    clusters = [source, destination];
    if (signal.aborted) {
      // Nobody waits for it any more.
      await Promise.all(clusters.map((each) => each.close()));
      signal.throwIfAborted();
    }
    const { writing } = data;
    if (writing !== undefined) {
      const right = new ThreadRight(new SharedDeadline(writing.right));
      writable = new WritableCluster(destination, right, writeSessions(destination, writing.numbersDb));
    }
    await prepare({ channel, data, source, destination, writable, logger, signal: ending.signal });
    telling = tellWaits(channel, source, destination, ending.signal);
    return { sessions: (writable?.sessionIds ?? []).map(uuidBytes) };
  });
  channel.serve(RESOLVE_LOST, async (_task, { signal }) => {
    await writable?.resolveLostWrites(signal);
    const [source, destination] = clusters;
    if (source === undefined || destination === undefined) throw new InvariantError('the thread is not connected');
    return { value: undefined, seen: seenBy({ source, destination }) };
  });
  channel.serve(CLOSE, async () => {
    clearInterval(telling);
    await metrics.close();
    ending.abort(new AppError('ShuttingDown', 'the thread is closed'));
    await Promise.all(clusters.map((each) => each.close()));
    // Not before the answer has left.
    setImmediate(end);
  });
}

/** As everywhere else, an election is waited for. Closes what it has opened when it fails. */
async function connectBoth(data: ThreadData, logger: Logger, signal: AbortSignal): Promise<[Cluster, Cluster]> {
  const { maxPoolSize, writing } = data;
  const tag = writing === undefined ? {} : { tag: writing.tag };
  const connect = ({ name, uri, retryLimitMs }: ClusterAccess): Promise<Cluster> => {
    const limit = retryLimitMs === undefined ? {} : { retryLimitMs };
    const trying = retryLimitMs === undefined ? {} : { maxElapsedMs: retryLimitMs };
    return retry(() => Cluster.connect({ name, uri, logger, maxPoolSize, ...tag, ...limit }), {
      isRetryable: isTransient,
      signal,
      ...trying,
      onExhausted: tagExhausted,
      onRetry: ({ error, level }) => logger[level](`Connecting to ${name} again: ${safeText(error)}`),
    });
  };
  const source = await connect(data.source);
  try {
    return [source, await connect(data.destination)];
  } catch (error) {
    await source.close();
    throw error;
  }
}

/** Tells what is waited for whenever that changes; the callers' warnings and readiness are another thread's to give. */
function tellWaits(channel: ThreadChannel, source: Cluster, destination: Cluster, signal: AbortSignal): NodeJS.Timeout {
  let told = '';
  return setInterval(() => {
    const waits = { source: source.waitsFor, destination: destination.waitsFor };
    const text = JSON.stringify(waits);
    if (text === told || signal.aborted) return;
    told = text;
    channel.call(WAITS, waits, { signal, onAbort: 'leave' }).catch((error: unknown) => {
      // The other end is going away; nobody is left to tell.
      if (!(error instanceof Error)) throw error;
    });
  }, LOOK_MS).unref();
}
