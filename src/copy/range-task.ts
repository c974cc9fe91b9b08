/** Declares the copy of one range: the task as plain data, who copies it, and what is reported meanwhile. */

import type { KeyPaths } from '../bson/key-query.js';
import type { Namespace } from '../catalog/namespace.js';
import type { Cluster } from '../cluster/cluster.js';
import type { WritableCluster } from '../cluster/writable-cluster.js';
import type { DocumentWriter } from '../documents/document-writer.js';
import type { ByteBudget } from '../lib/limit.js';
import type { Logger } from '../lib/logger.js';
import type { PlainTime } from '../threads/thread-calls.js';

/** A collection of the destination, by name and the 16 bytes of its UUID. */
export interface PlainTarget {
  readonly ns: Namespace;
  readonly uuid: Uint8Array;
  readonly keyPaths: KeyPaths;
}

/** A point of a range in `_id` order: RangeMark as plain data. */
export interface PlainRangeMark {
  /** `{_id: …}` raw. */
  readonly id: Uint8Array;
  /** What was written by then; bytes. */
  readonly documents: number;
  readonly bytes: number;
}

/** A point of a scan in natural order: NaturalMark as plain data. */
export interface PlainNaturalMark {
  readonly resumeAfter: Uint8Array;
  readonly process: string;
  readonly documents: number;
  readonly bytes: number;
}

/** One range to copy. Plain data, which survives structured clone: it may be handed to a thread with clients of its own. */
export interface RangeTask {
  readonly ns: Namespace;
  /** Of the collection on the source, 16 bytes. */
  readonly uuid: Uint8Array;
  readonly target: PlainTarget;
  /** `{_id: …}` raw, inclusive and exclusive. */
  readonly lower: Uint8Array | undefined;
  readonly upper: Uint8Array | undefined;
  /** In natural order, without bounds. */
  readonly natural: boolean;
  /** Of natural order: taken up where it stopped, as far as the server can. */
  readonly resumable: boolean;
  /** Of a resumable one: where to go on, oldest first. */
  readonly marks: readonly PlainNaturalMark[];
  /** Of one in `_id` order: where to go on. */
  readonly position: PlainRangeMark | undefined;
  /** An earlier process may have written some of it: what is there already is found by reading it. */
  readonly isAgain: boolean;
  /** Which documents, as a query in raw BSON; undefined: all. */
  readonly filter: Uint8Array | undefined;
  /** Order is data: one writer, in the order read. */
  readonly ordered: boolean;
  /** Bytes of all of it, roughly. */
  readonly estimatedBytes: number;
  /** Ranges that come after this one. */
  readonly behind: number;
  /** Documents per read. */
  readonly batchDocuments: number;
  /** Reads are at or after it: seconds and increment. */
  readonly afterTime: PlainTime;
}

/** Where a copy may go on. Plain data. */
export type CopyPosition =
  | { readonly position: PlainRangeMark | undefined }
  | { readonly marks: readonly PlainNaturalMark[] };

/** How a range ended: copied, or its collection was dropped on the source meanwhile. */
export type RangeOutcome = 'copied' | 'gone' | 'restart';

/** What is told of a copy under way. */
export interface CopyListener {
  /** Documents and bytes, as they are written; negative where some will be read again. */
  written(documents: number, bytes: number): void;
  /** Stores where the copy may go on; about once a second. */
  marked(place: CopyPosition, signal: AbortSignal): Promise<void>;
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
