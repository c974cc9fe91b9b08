/** Declares what a thread with clients of its own is started with, and the calls that all such threads know. */

import type { Namespace } from '../catalog/namespace.js';
import type { DocumentFilterSpec } from '../documents/document-filter.js';
import { callKind } from '../lib/thread-channel.js';
import type { MetricRecord } from '../metrics.js';

/** What a thread is for; it loads only what that needs. */
export type ThreadUse = 'compare' | 'copy' | 'apply';

/** How a thread connects to a cluster. Connection strings hold passwords; they never leave the process. */
export interface ClusterAccess {
  readonly name: string;
  readonly uri: string;
  /** For how long work that does not go on is tried again, in milliseconds. Left out: as everywhere. */
  readonly retryLimitMs?: number;
}

/** What a thread that writes needs besides. */
export interface ThreadWriting {
  /** What the destination knows its connections by. It begins with the tag of the process. */
  readonly tag: string;
  /** The metadata database, in which numbers of lost writes are stored. */
  readonly numbersDb: string;
  /** A `SharedDeadline`: until when the right to write is certain. */
  readonly right: SharedArrayBuffer;
  /** Bytes of documents between being read and being written. */
  readonly bufferBytes: number;
  /** Which of the source's documents are migrated; undefined: all. */
  readonly filter: DocumentFilterSpec | undefined;
}

/** What a thread is started with. */
export interface ThreadData {
  readonly uses: readonly ThreadUse[];
  readonly source: ClusterAccess;
  readonly destination: ClusterAccess;
  /** Connections for data, to each cluster. */
  readonly maxPoolSize: number;
  /** Undefined: it only reads. */
  readonly writing: ThreadWriting | undefined;
}

/** What a thread has told once it is connected. */
export interface ThreadOpened {
  /** The ids of the sessions in which it will write, 16 bytes each; none where it only reads. */
  readonly sessions: readonly Uint8Array[];
}

/** Connects. The first call of each thread. */
export const OPEN = callKind<undefined, never, ThreadOpened>('open');
/** Disconnects and ends, whatever is under way. The last one. */
export const CLOSE = callKind<undefined>('close');
/** A cluster time: seconds and increment. */
export type PlainTime = readonly [seconds: number, increment: number];

/** The newest cluster times that somebody has seen; undefined: none. */
export interface SeenTimes {
  readonly source: PlainTime | undefined;
  readonly destination: PlainTime | undefined;
}

/**
 * A task or an answer with what its sender has seen. Threads have clients of their own, and what one reads after another
 * one's write, or after an event, must be no older: also where a stale primary answers.
 */
export interface Timed<Value> {
  readonly value: Value;
  readonly seen: SeenTimes;
}

/** Resolves once no write whose answer was lost can take effect any more. */
export const RESOLVE_LOST = callKind<undefined, never, Timed<undefined>>('resolveLost');

/** A log line of a thread's: by the thread, for the logger of whoever has started it. */
export interface ThreadLogLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly message: string;
  /** What JSON holds. */
  readonly fields: Readonly<Record<string, unknown>>;
}

/** Lines of the log; answered once they are written, and not sent before the last ones are. */
export const LOG = callKind<readonly ThreadLogLine[]>('log');

/** What the thread has added to the metrics since the last call. */
export const METRICS = callKind<readonly MetricRecord[]>('metrics');

/** What the thread's commands wait for, by cluster; none: all is well. */
export interface ThreadWaits {
  readonly source: readonly string[];
  readonly destination: readonly string[];
}

/** What is waited for has changed. */
export const WAITS = callKind<ThreadWaits>('waits');

/** Removes the secondary indexes of a collection, by its UUID's 16 bytes, so that a document can be written. */
export const REMOVE_INDEXES = callKind<{ readonly ns: Namespace; readonly uuid: Uint8Array }>('removeIndexes');
