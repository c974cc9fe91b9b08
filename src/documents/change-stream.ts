/** Reads a cluster's change stream as raw events, and opens it again after errors that pass. */
import { MongoNetworkError } from 'mongodb';
import type { Doc, Timestamp } from '../bson/bson.js';
import type { Position } from '../bson/position.js';
import type { Cluster } from '../cluster/cluster.js';
import { Code, codeOf, describeError, isHistoryLost, isTransient, tagExhausted } from '../cluster/errors.js';
import { withRegularNotes } from '../cluster/oplog-note.js';
import { AppError } from '../errors.js';
import { backoffDelayMs } from '../lib/backoff.js';
import type { Logger } from '../lib/logger.js';
import { sleep } from '../lib/signals.js';
import { metrics } from '../metrics.js';
import type { ChangeBatch, ChangeOptions, ChangeSource } from './change-source.js';
import { rawBatches } from './raw-cursor.js';
import type { StreamPace } from './stream-pace.js';

/** How a cluster's change stream is read. */
export interface ChangeStreamOptions extends ChangeOptions {
  readonly start: Position;
  readonly logger: Logger;
  /** Undefined: every read waits as long as the reader wants. */
  readonly pace?: StreamPace | undefined;
}

const LARGE_PART_BYTES = 4 * 1024 * 1024;
const OUTAGE_MS = 2000;
/** So many times in a row may a server that answers otherwise hang up at one position before it is put down to the event. */
const MAX_HANG_UPS = 4;

/**
 * Every change of a cluster from a position on, for ever; goes on after transient errors at the last position it gave
 * out, for up to 30 minutes. An event too large for a reply is passed with its large parts left out (`reduced`), one
 * reopening each way. The server says so, or hangs up: when it does the latter time and again at one position, and
 * answers otherwise, the event is read without its large parts, which does no harm. Lost connections prove nothing, though.
 *
 * Errors: OplogRolledOver when the position has left the oplog (never goes on from "now"); EventTooLarge when even the
 * reduced event does not fit, i.e. its document key alone is several MB: the server has said so, or such a key stands in
 * the oplog; ClusterUnreachable after 30 minutes; Internal for a reply without a resume token.
 * Source: MongoDB manual, "Change Streams"; server error codes 286, 136, 280, 10334.
 */
export function readChanges(
  cluster: Cluster,
  options: ChangeStreamOptions,
  signal: AbortSignal,
): AsyncGenerator<ChangeBatch> {
  const changes = followChanges(cluster, options, signal);
  return cluster.isSharded ? withRegularNotes(cluster, changes) : changes;
}

async function* followChanges(
  cluster: Cluster,
  options: ChangeStreamOptions,
  signal: AbortSignal,
): AsyncGenerator<ChangeBatch> {
  const interruptions = new Interruptions(cluster, options.logger);
  let { start } = options;
  let lastEventMs = performance.now();
  try {
    for (;;) {
      signal.throwIfAborted();
      const { reduced } = interruptions;
      const idle = new AbortController();
      let isIdle = false;
      // The server tells how far an idle stream is at the end of its wait only, or to a cursor that is opened anew.
      using _watch = options.pace?.onLook(() => {
        if (isIdle) idle.abort();
      });
      const waitMs = (pace: StreamPace): number => {
        // A mongos is told of the time twice a second.
        const ms = pace.waitMs(options.awaitMs, cluster.isSharded ? 0 : performance.now() - lastEventMs);
        isIdle = ms > options.awaitMs;
        return ms;
      };
      try {
        const cursor = {
          db: 'admin',
          command: aggregate(cluster, options, start, reduced),
          pauseMs: (events: number) => options.pace?.gatherMs(options.gatherMs ?? 0, events) ?? 0,
          awaitMs: () => (options.pace === undefined ? options.awaitMs : waitMs(options.pace)),
          cutShort: idle.signal,
          ...(options.onReply === undefined ? {} : { onReply: options.onReply }),
        };
        let isFirst = true;
        for await (const batch of rawBatches(cluster, cursor, signal)) {
          if (batch.position === undefined)
            throw new AppError('Internal', 'a change stream reply held no resume token');
          // A cursor that is opened anew answers, with nothing, before it meets what has ended the last one.
          if (batch.documents.length > 0 || !batch.position.equals(start)) interruptions.over();
          if (batch.documents.length > 0) lastEventMs = performance.now();
          const isBetween = batch.documents.length === 0 && !isFirst;
          isFirst = false;
          yield { events: batch.documents, position: batch.position, reduced, isBetween };
          start = batch.position;
          if (idle.signal.aborted || (reduced && batch.documents.length > 0)) break;
        }
        if (!idle.signal.aborted) interruptions.reduced = false;
      } catch (error) {
        signal.throwIfAborted();
        await interruptions.met(error, start, signal);
      }
    }
  } finally {
    interruptions.over();
  }
}

/** The changes of a cluster, from its change stream itself. */
export function liveChanges(cluster: Cluster, logger: Logger, pace?: StreamPace): ChangeSource {
  return {
    read: (from, options, signal) => readChanges(cluster, { ...options, start: from, logger, pace }, signal),
  };
}

/** What has interrupted one stream since it last went on, and what is done about it. */
class Interruptions {
  /** Whether the next event is read without its large parts. */
  reduced = false;
  readonly #cluster: Cluster;
  readonly #logger: Logger;
  #attempt = 0;
  #hangUps = 0;
  #failingSince: number | undefined;

  constructor(cluster: Cluster, logger: Logger) {
    this.#cluster = cluster;
    this.#logger = logger;
  }

  /** The stream has gone on, or has ended. */
  over(): void {
    [this.#attempt, this.#hangUps, this.#failingSince] = [0, 0, undefined];
    this.#cluster.tellOutage(this, undefined);
  }

  /** Resolves when the stream is to be opened again; rejects when that is of no use. */
  async met(error: unknown, start: Position, signal: AbortSignal): Promise<void> {
    const hasHungUp = error instanceof MongoNetworkError && (await answers(this.#cluster, signal));
    if (hasHungUp) this.#hangUps++;
    const isTold = codeOf(error) === Code.BSONObjectTooLarge;
    if (isTold || (hasHungUp && this.#hangUps >= MAX_HANG_UPS)) {
      this.#hangUps = 0;
      if (!this.reduced) {
        this.#logger.info('A change event does not fit into a reply; reading it without its large parts');
        this.reduced = true;
        return;
      }
      // Connections are also lost for reasons of their own: only what stands in the oplog proves the event too large.
      const found = await findLargeKey(this.#cluster, start.time, signal);
      if (isTold || found !== undefined) throw eventTooLarge(this.#cluster, found, error);
    }
    throwIfFatal(error, this.#cluster);
    await this.#wait(error, signal);
  }

  async #wait(error: unknown, signal: AbortSignal): Promise<void> {
    const cluster = this.#cluster;
    this.#failingSince ??= performance.now();
    const failingMs = performance.now() - this.#failingSince;
    const text = `the change stream of ${cluster.name} could not be read`;
    if (failingMs > cluster.retryLimitMs) {
      const limit = `${Math.round(cluster.retryLimitMs / 60_000)} minutes`;
      const ended = new AppError('ClusterUnreachable', `${text} for ${limit}: ${describeError(error)}`, {
        cause: error,
      });
      tagExhausted(ended);
      throw ended;
    }
    const delayMs = backoffDelayMs(++this.#attempt);
    if (failingMs + delayMs > OUTAGE_MS)
      cluster.tellOutage(this, `${text} for ${Math.round(failingMs / 1000)} s: ${describeError(error)}`);
    metrics.retries.add(1, { operation: 'change stream' });
    this.#logger.info(`The change stream is opened again: ${describeError(error)}`);
    await sleep(delayMs, signal);
  }
}

async function answers(cluster: Cluster, signal: AbortSignal): Promise<boolean> {
  try {
    await cluster.ping(signal);
    return true;
  } catch (error) {
    if (isTransient(error)) return false;
    throw error;
  }
}

function throwIfFatal(error: unknown, cluster: Cluster): void {
  if (isHistoryLost(error)) {
    throw new AppError(
      'OplogRolledOver',
      `the oplog of ${cluster.name} no longer holds the changes the migration needs next. Make its oplog larger, drop what was migrated and the metadata database, and start again`,
      { cause: error },
    );
  }
  if (!isTransient(error)) throw error;
}

function eventTooLarge(cluster: Cluster, found: string | undefined, cause: unknown): AppError {
  const what = found ?? 'a document';
  return new AppError(
    'EventTooLarge',
    `a change event of ${cluster.name} does not fit into 16 MB even without its document: ${what} was written with a document key (_id) of several MB. Such a document cannot be followed`,
    { cause },
  );
}

/** The document whose key is too large for an event, from the oplog, where that may be read: the stream cannot show it. */
async function findLargeKey(cluster: Cluster, after: Timestamp, signal: AbortSignal): Promise<string | undefined> {
  // A mongos shows no oplog.
  if (cluster.isSharded) return undefined;
  const start = { $cond: [{ $eq: [{ $type: '$key' }, 'string'] }, { $substrCP: ['$key', 0, 40] }, { $type: '$key' }] };
  // The operations of a transaction stand in one entry.
  const operations = { $cond: [{ $isArray: '$o.applyOps' }, '$o.applyOps', [{ ns: '$ns', o: '$o', o2: '$o2' }]] };
  const key = { $ifNull: ['$each.o2._id', '$each.o._id'] };
  const command = {
    aggregate: 'oplog.rs',
    pipeline: [
      { $match: { ts: { $gte: after }, op: { $in: ['i', 'u', 'd', 'c'] } } },
      { $match: { $expr: { $gt: [{ $bsonSize: '$$ROOT' }, LARGE_PART_BYTES] } } },
      { $project: { each: operations } },
      { $unwind: '$each' },
      { $project: { ns: '$each.ns', key } },
      { $match: { $expr: { $gt: [{ $bsonSize: { key: '$key' } }, LARGE_PART_BYTES] } } },
      { $limit: 1 },
      { $project: { ns: 1, start } },
    ],
    cursor: {},
  };
  try {
    const reply = await cluster.read('looking for a large document key', 'local', command, signal);
    const [entry] = (reply['cursor'] as { firstBatch: { ns: string; start: string }[] }).firstBatch;
    return entry && `the document of ${entry.ns} whose _id begins with ${JSON.stringify(entry.start)}`;
  } catch (error) {
    signal.throwIfAborted();
    if (codeOf(error) === undefined) throw error;
    return undefined;
  }
}

function aggregate(cluster: Cluster, options: ChangeStreamOptions, start: Position, reduced: boolean): Doc {
  const changeStream: Doc = {
    allChangesForCluster: true,
    ...(cluster.isAtLeast(6) ? { showExpandedEvents: true } : {}),
    ...(options.rawDeltas ? { showRawUpdateDescription: true } : {}),
    ...(cluster.isSharded ? afterInvalidate(start.stageOptions) : start.stageOptions),
  };
  return {
    aggregate: 1,
    pipeline: [{ $changeStream: changeStream }, ...(options.stages ?? []), ...(reduced ? [dropLargeParts()] : [])],
    // One event per reply while reduced, so that the large event's neighbours come whole.
    cursor: reduced ? { batchSize: 1 } : {},
    readConcern: { level: 'majority' },
  };
}

/** A mongos may end a stream by an `invalidate`, behind which only `startAfter` goes on (SERVER-120349). */
function afterInvalidate({ resumeAfter, ...others }: Doc): Doc {
  return resumeAfter === undefined ? others : { ...others, startAfter: resumeAfter };
}

/** Before 6.0.9 there is no $changeStreamSplitLargeEvent; leaving the large parts out works on every version. */
function dropLargeParts(): Doc {
  const unlessLarge = (field: string): Doc => ({
    $cond: [{ $gt: [{ $bsonSize: { $ifNull: [`$${field}`, {}] } }, LARGE_PART_BYTES] }, '$$REMOVE', `$${field}`],
  });
  return {
    $set: {
      fullDocument: unlessLarge('fullDocument'),
      rawUpdateDescription: unlessLarge('rawUpdateDescription'),
      updateDescription: unlessLarge('updateDescription'),
    },
  };
}
