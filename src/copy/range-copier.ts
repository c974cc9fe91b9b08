import {
  type Binary,
  type Doc,
  decodeOrdered,
  type OrderedDoc,
  survivesDecoding,
  type Timestamp,
} from '../cluster/bson.js';
import { findByUuid } from '../cluster/catalog.js';
import type { Cluster } from '../cluster/cluster.js';
import type { DocumentWriter, WriteTarget } from '../cluster/document-writer.js';
import { Code, codeOf } from '../cluster/errors.js';
import { type Namespace, nsText } from '../cluster/namespace.js';
import { assertInPlace, catalogChanged } from '../cluster/old-source.js';
import { rawBatches } from '../cluster/raw-cursor.js';
import { idDocument } from '../cluster/raw-document.js';
import type { ByteBudget } from '../lib/limit.js';
import type { Logger } from '../lib/logger.js';
import type { NaturalMark } from '../metadata/records.js';
import { metrics } from '../metrics.js';
import { NaturalScan } from './natural-scan.js';

/** One range to copy: plain data, so that it can be handed to a worker with clients of its own. */
export interface RangeTask {
  readonly ns: Namespace;
  readonly uuid: Binary;
  readonly target: WriteTarget;
  /** `{_id: …}` raw, inclusive and exclusive. */
  readonly lower: Buffer | undefined;
  readonly upper: Buffer | undefined;
  /** In natural order, without bounds. */
  readonly natural: boolean;
  /** Of natural order: taken up where it stopped, as far as the server can. */
  readonly resumable: boolean;
  /** Of a resumable one: where to go on, oldest first. */
  readonly marks: readonly NaturalMark[];
  /** Which documents; empty: all. */
  readonly filter: OrderedDoc;
  /** Order is data: one writer, in the order read. */
  readonly ordered: boolean;
  /** Documents per read. */
  readonly batchDocuments: number;
  /** Reads are at or after it. */
  readonly afterTime: Timestamp;
}

/** How a range ended: copied, or its collection was dropped on the source meanwhile. */
export type RangeOutcome = 'copied' | 'gone' | 'restart';

/** What is told of a copy under way. */
export interface CopyListener {
  /** Documents and bytes, as they are written; negative where some will be read again. */
  written(documents: number, bytes: number): void;
  /** Stores where a resumable scan may go on. */
  marked(marks: readonly NaturalMark[], signal: AbortSignal): Promise<void>;
}

/** Copies one range of one collection. */
export interface RangeCopier {
  /** Resolves once every document is majority-written. */
  copy(task: RangeTask, listener: CopyListener, signal: AbortSignal): Promise<RangeOutcome>;
}

const WRITES_IN_FLIGHT = 2;
/** A scan that cannot be split has a few more under way. */
const SCAN_WRITES_IN_FLIGHT = 4;

/**
 * Copies ranges in this thread: reads raw batches, one ahead, and keeps up to two inserts in flight. After a transient
 * error it goes on from the last `_id` that was written. A rename on the source is followed by UUID.
 *
 * `restart`: the cursor of a capped collection was overtaken by its own eviction (136); empty the target and begin again.
 */
export class LocalRangeCopier implements RangeCopier {
  readonly #source: Cluster;
  readonly #writer: DocumentWriter;
  readonly #budget: ByteBudget;
  readonly #logger: Logger;

  constructor(source: Cluster, writer: DocumentWriter, budget: ByteBudget, logger: Logger) {
    this.#source = source;
    this.#writer = writer;
    this.#budget = budget;
    this.#logger = logger;
  }

  async copy(task: RangeTask, listener: CopyListener, signal: AbortSignal): Promise<RangeOutcome> {
    const scan = task.resumable ? new NaturalScan(this.#source, task.marks, this.#logger) : undefined;
    let position: RangePosition = { ns: task.ns, lower: task.lower };
    let done = { documents: 0, bytes: 0 };
    const countFrom = (start: { readonly documents: number; readonly bytes: number }): void => {
      listener.written(start.documents - done.documents, start.bytes - done.bytes);
      done = { documents: start.documents, bytes: start.bytes };
    };
    let progressed = (): void => undefined;
    const onWritten = async (batch: WrittenBatch): Promise<void> => {
      const { documents, bytes, resumeAfter } = batch;
      progressed();
      done = { documents: done.documents + documents.length, bytes: done.bytes + bytes };
      listener.written(documents.length, bytes);
      if (!task.natural) position = advance(position, documents);
      const marks = resumeAfter === undefined ? undefined : scan?.advance(resumeAfter, done);
      if (marks !== undefined) await listener.marked(marks, signal);
    };
    return this.#source.attempt(`copying ${nsText(task.ns)}`, signal, async (onProgress) => {
      progressed = onProgress;
      for (;;) {
        // Plain natural order cannot be taken up where it stopped: the range is read again, and counted again.
        if (task.natural) countFrom((await scan?.begin(position.ns)) ?? NOTHING);
        try {
          await assertInPlace(this.#source, position.ns, task.uuid, signal);
          await this.#read(task, { ...position, scan }, onWritten, signal);
          await assertInPlace(this.#source, position.ns, task.uuid, signal);
          return 'copied';
        } catch (error) {
          const code = codeOf(error);
          if (code === Code.CappedPositionLost && task.ordered) return 'restart';
          if (scan?.stepsBack(error) === true) continue;
          if (code !== Code.CollectionUUIDMismatch && code !== Code.QueryPlanKilled && code !== Code.NamespaceNotFound)
            throw error;
          if (!this.#source.isAtLeast(6)) throw catalogChanged(`${nsText(task.ns)} was dropped or renamed`);
          const renamed = await findByUuid(this.#source, task.uuid, task.ns.db, signal);
          if (renamed === undefined) return 'gone';
          // Under the new name from the beginning: what is written already would be out of order.
          if (task.ordered && done.documents > 0) return 'restart';
          position = { ...position, ns: renamed };
        }
      }
    });
  }

  async #read(
    task: RangeTask,
    position: RangePosition & { readonly scan: NaturalScan | undefined },
    onWritten: (batch: WrittenBatch) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    const inFlight: Promise<void>[] = [];
    let previous: Promise<void> = Promise.resolve();
    const limit = task.ordered ? 1 : task.resumable ? SCAN_WRITES_IN_FLIGHT : WRITES_IN_FLIGHT;
    const cursor = {
      db: position.ns.db,
      command: {
        ...findCommand(task, position),
        ...(this.#source.isAtLeast(6) ? { collectionUUID: task.uuid } : {}),
        ...position.scan?.fields,
      },
      batchSize: task.batchDocuments,
      onReply: countRead,
    };
    try {
      for await (const { documents, resumeAfter } of rawBatches(this.#source, cursor, signal)) {
        await position.scan?.opened();
        if (documents.length === 0) continue;
        if (inFlight.length >= limit) await inFlight.shift();
        const bytes = documents.reduce((sum, doc) => sum + doc.length, 0);
        await this.#budget.acquire(bytes, signal);
        const written = this.#write(task, documents, previous, signal)
          .then(() => onWritten({ documents, bytes, resumeAfter }))
          .finally(() => this.#budget.release(bytes));
        previous = written;
        // Read where it is shifted or settled; until then a rejection must not count as unhandled.
        written.catch(() => undefined);
        inFlight.push(written);
      }
      await Promise.all(inFlight);
    } finally {
      await Promise.allSettled(inFlight);
    }
  }

  /**
   * Resolves once this batch and all before it are written: the position that `onWritten` moves must never pass a
   * batch that failed, or a later attempt would read on behind it.
   */
  async #write(task: RangeTask, documents: Buffer[], previous: Promise<void>, signal: AbortSignal): Promise<void> {
    const started = performance.now();
    if (task.ordered) await this.#writer.append(task.target, documents, signal);
    else await this.#writer.putSurely(task.target, documents, signal);
    metrics.copyBatchDuration.record(performance.now() - started);
    metrics.copyBatchDocuments.record(documents.length);
    metrics.copyBatchBytes.record(documents.reduce((sum, doc) => sum + doc.length, 0));
    await previous;
  }
}

const NOTHING = { documents: 0, bytes: 0 } as const;

/** One reply's documents, when a majority has them. */
interface WrittenBatch {
  readonly documents: readonly Buffer[];
  readonly bytes: number;
  readonly resumeAfter: Doc | undefined;
}

function countRead(ms: number): void {
  metrics.copyReadDuration.record(ms);
}

/** Where to read on: under which name, and from which `_id`. */
interface RangePosition {
  readonly ns: Namespace;
  readonly lower: Buffer | undefined;
}

/** The last `_id` written; it is read again, and found to be there already. One that a command would change is passed over. */
function advance(position: RangePosition, documents: readonly Buffer[]): RangePosition {
  const last = documents.at(-1);
  const lower = last === undefined ? undefined : idDocument(last);
  return lower !== undefined && survivesDecoding(lower) ? { ...position, lower } : position;
}

function findCommand(task: RangeTask, position: RangePosition): Doc {
  const bounds = task.natural
    ? { hint: { $natural: 1 } }
    : {
        hint: { _id: 1 },
        ...(position.lower === undefined ? {} : { min: decodeOrdered(position.lower) }),
        ...(task.upper === undefined ? {} : { max: decodeOrdered(task.upper) }),
      };
  return {
    find: position.ns.coll,
    filter: task.filter,
    ...bounds,
    batchSize: task.batchDocuments,
    readConcern: { level: 'majority', afterClusterTime: task.afterTime },
  };
}
