/** Copies one range of a collection, in spite of interruptions. */
import { type Binary, type Doc, decodeOrdered, survivesDecoding } from '../bson/bson.js';
import { uuidFrom } from '../bson/uuid.js';
import { findByUuid } from '../catalog/catalog.js';
import { type Namespace, nsText } from '../catalog/namespace.js';
import { assertInPlace, catalogChanged } from '../catalog/old-source.js';
import { Code, codeOf, isMoved } from '../cluster/errors.js';
import { isSpread, type WriteTarget } from '../documents/document-writer.js';
import { type Documents, eachOf, totalBytes } from '../documents/documents-to-write.js';
import type { RawBatch } from '../documents/raw-batch.js';
import { rawBatches } from '../documents/raw-cursor.js';
import { readLater } from '../lib/tasks.js';
import type { NaturalMark } from '../metadata/records.js';
import { metrics } from '../metrics.js';
import { timeOf } from '../threads/seen-times.js';
import { BatchSize } from './batch-size.js';
import { NaturalScan } from './natural-scan.js';
import type { CopyListener, RangeCopierParts, RangeOutcome, RangeTask } from './range-task.js';
import { ResumedWrites } from './resumed-writes.js';

const WRITES_IN_FLIGHT = 2;
/** A scan that cannot be split has a few more under way. */
const SCAN_WRITES_IN_FLIGHT = 4;
const MARK_MS = 1000;
const NOTHING = { documents: 0, bytes: 0 } as const;

interface Counts {
  readonly documents: number;
  readonly bytes: number;
}

/** One reply's documents, when a majority has them. */
interface WrittenBatch extends Counts {
  /** The last one's `_id`, as `{_id: …}`; undefined where it has none. */
  readonly lastId: Buffer | undefined;
  readonly resumeAfter: Doc | undefined;
}

/**
 * One copy of one range. It is read in the order of its `_id`s, or of its records where it is the whole collection. What
 * is read by records cannot be taken up where it stopped, unless by a scan with marks: after an interruption it is read
 * in the order of its `_id`s, too, from the first one on.
 */
export class RangeCopy {
  readonly #parts: RangeCopierParts;
  readonly #task: RangeTask;
  readonly #listener: CopyListener;
  readonly #scan: NaturalScan | undefined;
  readonly #size: BatchSize;
  readonly #writes: ResumedWrites;
  readonly #inFlight: number;
  /** Of the collection on the source. */
  readonly #uuid: Binary;
  readonly #target: WriteTarget;
  #ns: Namespace;
  /** Whether it is read in the order of its records. */
  #isNatural: boolean;
  /** Where to read on in `_id` order: the last one written, or the lower bound. */
  #lower: Buffer | undefined;
  /** Whether that document is there: the lower bound's is not. */
  #isLowerWritten: boolean;
  #done: Counts = NOTHING;
  #markedAt = performance.now();
  /** Of the destination, when they were last looked at. */
  #retries: number;
  #progressed = (): void => undefined;

  constructor(parts: RangeCopierParts, task: RangeTask, listener: CopyListener) {
    const { source, destination, writer, logger } = parts;
    this.#parts = parts;
    this.#task = task;
    this.#listener = listener;
    this.#ns = task.ns;
    this.#uuid = uuidFrom(task.uuid);
    this.#target = { ...task.target, uuid: uuidFrom(task.target.uuid) };
    this.#inFlight = task.ordered ? 1 : task.resumable ? SCAN_WRITES_IN_FLIGHT : WRITES_IN_FLIGHT;
    this.#scan = task.resumable ? new NaturalScan(source, marksOf(task), logger) : undefined;
    this.#size = new BatchSize(task.batchDocuments);
    // One batch may be missing while those beside it were written.
    const enough = (this.#inFlight + 1) * task.batchDocuments;
    this.#writes = new ResumedWrites({ source, destination, writer, target: this.#target, enough });
    this.#isNatural = task.natural && task.position === undefined;
    this.#lower = bufferOf(task.position?.id ?? task.lower);
    this.#isLowerWritten = task.position !== undefined;
    this.#retries = destination.retries;
    if (task.isAgain) this.#resume();
  }

  async run(signal: AbortSignal): Promise<RangeOutcome> {
    const { source } = this.#parts;
    const { ns, position } = this.#task;
    if (position !== undefined) this.#countFrom(position);
    return source.attempt(`copying ${nsText(ns)}`, signal, async (onProgress) => {
      this.#progressed = onProgress;
      for (;;) {
        if (this.#isNatural) this.#countFrom((await this.#scan?.begin(this.#ns, signal)) ?? NOTHING);
        try {
          await assertInPlace(source, this.#ns, this.#uuid, signal);
          await this.#read(signal);
          await assertInPlace(source, this.#ns, this.#uuid, signal);
          return 'copied';
        } catch (error) {
          const outcome = await this.#outcomeOf(error, signal);
          if (outcome !== 'goOn') return outcome;
        }
      }
    });
  }

  /** What follows from an error: an end of the range, or reading on. Rejects with it otherwise. */
  async #outcomeOf(error: unknown, signal: AbortSignal): Promise<RangeOutcome | 'goOn'> {
    const { source } = this.#parts;
    const { ordered, ns } = this.#task;
    if (codeOf(error) === Code.CappedPositionLost && ordered) return 'restart';
    if (this.#scan?.stepsBack(error) === true) return 'goOn';
    this.#size.interrupted();
    this.#resume();
    if (!isMoved(error)) throw error;
    if (!source.isAtLeast(6)) throw catalogChanged(`${nsText(ns)} was dropped or renamed`);
    const renamed = await findByUuid(source, this.#uuid, ns.db, signal);
    if (renamed === undefined) return 'gone';
    // Under the new name from the beginning: what is written already would be out of order.
    if (ordered && this.#done.documents > 0) return 'restart';
    this.#ns = renamed;
    return 'goOn';
  }

  /** From here on what is met may be there already. Where order is data, all of it is written again instead. */
  #resume(): void {
    const { ordered, resumable, isAgain } = this.#task;
    if (ordered) return;
    this.#writes.resume();
    if (!this.#isNatural || resumable || (!isAgain && this.#done.documents === 0)) return;
    this.#isNatural = false;
    this.#countFrom(NOTHING);
  }

  #countFrom({ documents, bytes }: Counts): void {
    this.#listener.written(documents - this.#done.documents, bytes - this.#done.bytes);
    this.#done = { documents, bytes };
  }

  async #read(signal: AbortSignal): Promise<void> {
    const { source, budget } = this.#parts;
    const size = this.#size;
    const inFlight: Promise<void>[] = [];
    let previous: Promise<void> = Promise.resolve();
    const cursor = {
      db: this.#ns.db,
      command: this.#find(),
      get batchSize() {
        return size.documents;
      },
      onReply: countRead,
    };
    const from = this.#isNatural || !this.#isLowerWritten ? undefined : this.#lower;
    try {
      for await (const read of rawBatches(source, cursor, signal)) {
        await this.#scan?.opened(signal);
        const documents = this.#withoutWritten(read, from);
        if (documents.length === 0) continue;
        if (inFlight.length >= this.#inFlight) await inFlight.shift();
        const bytes = totalBytes(documents);
        await budget.acquire(bytes, signal);
        const { lastId, resumeAfter } = read;
        const batch = { documents: documents.length, bytes, lastId, resumeAfter };
        const written = readLater(
          this.#write(documents, previous, signal)
            .then(() => this.#onWritten(batch, signal))
            .finally(() => budget.release(bytes)),
        );
        previous = written;
        inFlight.push(written);
      }
      await Promise.all(inFlight);
    } finally {
      await Promise.allSettled(inFlight);
    }
  }

  /** The last document written is read again, to find the place; a majority has it. */
  #withoutWritten(batch: RawBatch, from: Buffer | undefined): Documents {
    // Of a collection on several shards it may be another one with the same `_id`.
    if (from === undefined || isSpread(this.#target.keyPaths)) return batch;
    return batch.firstId?.equals(from) === true ? batch.documents.slice(1) : batch;
  }

  /**
   * Resolves once this batch and all before it are written: the position that `#onWritten` moves must never pass a
   * batch that failed, or a later attempt would read on behind it.
   */
  async #write(documents: Documents, previous: Promise<void>, signal: AbortSignal): Promise<void> {
    const started = performance.now();
    const { ordered } = this.#task;
    if (ordered) await this.#parts.writer.append(this.#target, eachOf(documents), signal);
    else await this.#writes.put(documents, { isRun: !this.#isNatural, at: { ns: this.#ns, uuid: this.#uuid } }, signal);
    metrics.copyBatchDuration.record(performance.now() - started);
    metrics.copyBatchDocuments.record(documents.length);
    metrics.copyBatchBytes.record(totalBytes(documents));
    await previous;
  }

  async #onWritten({ documents, bytes, lastId: id, resumeAfter }: WrittenBatch, signal: AbortSignal): Promise<void> {
    this.#progressed();
    this.#adjustSize();
    this.#done = { documents: this.#done.documents + documents, bytes: this.#done.bytes + bytes };
    this.#listener.written(documents, bytes);
    if (this.#isNatural) {
      const marks = resumeAfter === undefined ? undefined : this.#scan?.advance(resumeAfter, this.#done);
      if (marks !== undefined) await this.#listener.marked({ marks }, signal);
      return;
    }
    // One that a command would change is passed over.
    if (id === undefined || !survivesDecoding(id)) return;
    this.#lower = id;
    this.#isLowerWritten = true;
    const now = performance.now();
    if (now - this.#markedAt < MARK_MS) return;
    this.#markedAt = now;
    await this.#listener.marked({ position: { id, ...this.#done } }, signal);
  }

  /** Writes that were tried again took too long for whatever goes on there. */
  #adjustSize(): void {
    const { retries } = this.#parts.destination;
    if (retries > this.#retries) this.#size.interrupted();
    else this.#size.done();
    this.#retries = retries;
  }

  #find(): Doc {
    const { source } = this.#parts;
    const { filter, upper, afterTime } = this.#task;
    const bounds = this.#isNatural
      ? { hint: { $natural: 1 } }
      : {
          hint: { _id: 1 },
          // Of several shards' documents a mongos keeps no order but the one that is asked for.
          ...(this.#target.keyPaths.source.length > 0 ? { sort: { _id: 1 } } : {}),
          ...(this.#lower === undefined ? {} : { min: decodeOrdered(this.#lower) }),
          ...(upper === undefined ? {} : { max: decodeOrdered(upper) }),
        };
    return {
      find: this.#ns.coll,
      filter: filter === undefined ? {} : decodeOrdered(filter),
      ...bounds,
      batchSize: this.#size.documents,
      readConcern: { level: 'majority', afterClusterTime: timeOf(afterTime) },
      ...(source.isAtLeast(6) ? { collectionUUID: this.#uuid } : {}),
      ...this.#scan?.fields,
    };
  }
}

function bufferOf(bytes: Uint8Array | undefined): Buffer | undefined {
  return bytes && Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function marksOf({ marks }: RangeTask): NaturalMark[] {
  return marks.map((each) => ({ ...each, resumeAfter: Buffer.from(each.resumeAfter) }));
}

function countRead(ms: number): void {
  metrics.copyReadDuration.record(ms);
}
