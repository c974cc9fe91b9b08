import type { Binary, OrderedDoc, Timestamp } from '../cluster/bson.js';
import type { Cluster } from '../cluster/cluster.js';
import type { DocumentWriter, WriteTarget } from '../cluster/document-writer.js';
import type { Namespace } from '../cluster/namespace.js';
import type { WritableCluster } from '../cluster/writable-cluster.js';
import type { ByteBudget } from '../lib/limit.js';
import type { Logger } from '../lib/logger.js';
import type { NaturalMark, PartitionRecord, RangeMark } from '../metadata/records.js';
import { RangeCopy } from './range-copy.js';

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
  /** Of one in `_id` order: where to go on. */
  readonly position: RangeMark | undefined;
  /** An earlier process may have written some of it: what is there already is found by reading it. */
  readonly isAgain: boolean;
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
  /** Stores where the copy may go on; about once a second. */
  marked(place: Pick<PartitionRecord, 'position'> | Pick<PartitionRecord, 'marks'>, signal: AbortSignal): Promise<void>;
}

/** Copies one range of one collection. */
export interface RangeCopier {
  /** Resolves once every document is majority-written. */
  copy(task: RangeTask, listener: CopyListener, signal: AbortSignal): Promise<RangeOutcome>;
}

/** What ranges are copied with. */
export interface RangeCopierParts {
  readonly source: Cluster;
  readonly destination: WritableCluster;
  readonly writer: DocumentWriter;
  /** Of documents between reader and writer. */
  readonly budget: ByteBudget;
  readonly logger: Logger;
}

/**
 * Copies ranges in this thread: reads raw batches, one ahead, and keeps up to two inserts in flight. After a transient
 * error it goes on from the last `_id` that was written. A rename on the source is followed by UUID.
 *
 * `restart`: the cursor of a capped collection was overtaken by its own eviction (136); empty the target and begin again.
 */
export class LocalRangeCopier implements RangeCopier {
  readonly #parts: RangeCopierParts;

  constructor(parts: RangeCopierParts) {
    this.#parts = parts;
  }

  copy(task: RangeTask, listener: CopyListener, signal: AbortSignal): Promise<RangeOutcome> {
    return new RangeCopy(this.#parts, task, listener).run(signal);
  }
}
