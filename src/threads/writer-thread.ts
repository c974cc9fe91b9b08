/** Runs one thread that writes to the destination, and makes void what it may leave behind at its end. */

import type { Binary } from '../bson/bson.js';
import { uuidFrom } from '../bson/uuid.js';
import type { Cluster } from '../cluster/cluster.js';
import { safeText } from '../cluster/errors.js';
import { endWrites } from '../cluster/operations.js';
import type { OtherWriter } from '../cluster/other-writers.js';
import type { WritableCluster } from '../cluster/writable-cluster.js';
import type { DocumentFilterSpec } from '../documents/document-filter.js';
import type { RemoveIndexes } from '../documents/document-writer.js';
import type { Logger } from '../lib/logger.js';
import { SharedDeadline } from '../lib/shared-deadline.js';
import { settlesWithin } from '../lib/signals.js';
import { type CallKind, type CallOptions, type ThreadChannel, ThreadEnded } from '../lib/thread-channel.js';
import { ClusterThread } from './cluster-thread.js';
import { see, seenBy } from './seen-times.js';
import { REMOVE_INDEXES, RESOLVE_LOST, type ThreadData, type ThreadWaits, type Timed } from './thread-calls.js';

/** For what is done at the end, whatever hangs. */
const SETTLE_MS = 1000;
const END_MS = 30_000;

/** What a thread that writes needs of the lease. */
export interface SharedLease {
  /** Stores sessions, so that whoever takes over closes them. */
  addSessions(ids: readonly Binary[]): Promise<void>;
  removeSessions(ids: readonly Binary[]): Promise<void>;
  /** Keeps the deadline at the moment until which the right to write is certain, until the returned function is called. */
  share(deadline: SharedDeadline): () => void;
}

/** What threads that write work with. */
export interface WriterThreadParts {
  readonly source: Cluster;
  readonly destination: WritableCluster;
  /** The metadata database, in which numbers of lost writes are stored. */
  readonly numbersDb: string;
  readonly lease: SharedLease;
  readonly logger: Logger;
  /** Of the migration; undefined: every document. */
  readonly filter: DocumentFilterSpec | undefined;
  /** Removes indexes for a thread, which sends no structural commands. */
  readonly removeIndexes: RemoveIndexes;
  /** Serves what the threads ask besides. */
  readonly serve: (channel: ThreadChannel) => void;
  /** Of one thread: connections for data to each cluster, and bytes of documents between being read and being written. */
  readonly maxPoolSize: number;
  readonly bufferBytes: number;
}

interface Started {
  readonly thread: ClusterThread;
  readonly right: SharedDeadline;
  readonly waiting: object;
  readonly tag: string;
}

/**
 * The right to write reaches the thread as a deadline in shared memory, which the lease keeps up to date. It is linked
 * only once the lease's record, on a majority, names the thread's sessions: whoever takes over can then let the server
 * refuse all that the thread has sent and that was not carried out.
 *
 * What the thread may still have on its way when it ends without an answer is handed to `OtherWriters`: this process
 * writes nothing more before it is made void.
 */
export class WriterThread implements OtherWriter {
  readonly #parts: WriterThreadParts;
  readonly #thread: ClusterThread;
  readonly #sessions: readonly Binary[];
  readonly #letGo: () => void;
  readonly #endRight: () => void;
  /** Stands for the thread's work in what the clusters wait for. */
  readonly #waiting: object;
  /** What the destination knows its connections by. */
  readonly #tag: string;
  /** Calls that have failed, and how many of them had when all that was lost was settled. */
  #failures = 0;
  #settledFailures = 0;
  #isDone = false;

  private constructor(parts: WriterThreadParts, { thread, right, waiting, tag }: Started) {
    this.#parts = parts;
    this.#thread = thread;
    this.#waiting = waiting;
    this.#tag = tag;
    this.#sessions = thread.sessions.map(uuidFrom);
    this.#letGo = parts.destination.otherWriters.add(this);
    this.#endRight = parts.lease.share(right);
    void thread.ended.then(() => this.#leave());
  }

  /** Resolves once the thread is connected and may write. Errors: ThreadEnded; those of connecting; LeaseLost. */
  static async start(parts: WriterThreadParts, number: number, signal: AbortSignal): Promise<WriterThread> {
    const { source, destination, lease, numbersDb, filter, maxPoolSize, bufferBytes, logger } = parts;
    const right = new SharedDeadline();
    const tag = `${destination.clientTag}/thread-${number}`;
    const writing = { tag, numbersDb, right: right.buffer, bufferBytes, filter };
    const data: ThreadData = {
      uses: ['copy', 'apply'],
      ...{ source: source.access, destination: destination.access },
      ...{ maxPoolSize, writing },
    };
    const waiting = {};
    const onWaits = (waits: ThreadWaits): void => {
      source.tellOutage(waiting, waits.source[0]);
      destination.tellOutage(waiting, waits.destination[0]);
    };
    const thread = await ClusterThread.start(data, { logger, onWaits }, signal);
    try {
      thread.channel.serve(REMOVE_INDEXES, async ({ ns, uuid }, served) =>
        parts.removeIndexes({ ns, uuid: uuidFrom(uuid) }, served.signal),
      );
      parts.serve(thread.channel);
      const ids = thread.sessions.map(uuidFrom);
      await destination.attempt('storing the sessions of a thread', signal, () => lease.addSessions(ids));
      logger.info('A worker thread has connected and may write', { number, sessions: ids.length });
      return new WriterThread(parts, { thread, right, waiting, tag });
    } catch (error) {
      await thread.close();
      throw error;
    }
  }

  /** Calls that it has not ended yet. */
  get callsUnderWay(): number {
    return this.#thread.channel.callsUnderWay;
  }

  get hasLost(): boolean {
    return this.#failures > this.#settledFailures || this.callsUnderWay > 0;
  }

  /** A call of what it is for. Errors: ThreadEnded, after which it is of no more use; those of the call. */
  async call<Task, Progress, Answer>(
    kind: CallKind<Timed<Task>, Progress, Timed<Answer>>,
    task: Task,
    options: CallOptions<Progress>,
  ): Promise<Answer> {
    try {
      const answer = await this.#thread.channel.call(kind, { value: task, seen: seenBy(this.#parts) }, options);
      see(this.#parts, answer.seen);
      return answer.value;
    } catch (error) {
      // A write whose answer was lost is settled before the next one of its session; but none may follow.
      this.#failures++;
      if (error instanceof ThreadEnded) this.#leave();
      throw error;
    }
  }

  async resolveLost(): Promise<void> {
    if (this.#isDone) return;
    const failures = this.#failures;
    try {
      const { seen } = await this.#thread.channel.call(RESOLVE_LOST, undefined, {
        signal: new AbortController().signal,
      });
      see(this.#parts, seen);
      this.#settledFailures = failures;
    } catch (error) {
      if (!(error instanceof ThreadEnded)) throw error;
      this.#leave();
    }
  }

  /** Ends it. Never rejects, and takes a limited time: what cannot be settled in it is left to the next write. */
  async close(): Promise<void> {
    const { logger, lease } = this.#parts;
    const settling = this.resolveLost().catch((error: unknown) => {
      logger.warn(`A thread is closed with writes whose outcome is not known: ${safeText(error)}`);
    });
    const isSettled = (await settlesWithin(settling, SETTLE_MS)) && !this.hasLost;
    if (!isSettled) this.#leave();
    else if (this.#end()) {
      const removing = lease.removeSessions(this.#sessions).catch((error: unknown) => {
        // Whoever takes over closes them in vain.
        logger.debug(`The sessions of a thread could not be taken out of the lease: ${safeText(error)}`);
      });
      await settlesWithin(removing, SETTLE_MS);
    }
    await this.#thread.close();
  }

  /** Ends it at once, whatever is under way, as running out of memory would. */
  async endAtOnce(): Promise<void> {
    await this.#thread.endAtOnce();
  }

  /** What it has sent may still be carried out. */
  #leave(): void {
    if (!this.#end()) return;
    const { destination, logger } = this.#parts;
    destination.otherWriters.leave(this.#sessions);
    // The sessions cannot be closed before what the server is carrying out in them is over.
    const ended = { clientTags: [this.#tag], awaits: 'none' } as const;
    endWrites(destination, ended, AbortSignal.timeout(END_MS)).catch((error: unknown) => {
      logger.debug(`Commands of a closed thread could not be ended; waiting for them: ${safeText(error)}`);
    });
  }

  /** It may write no more. Whether this was the first call. */
  #end(): boolean {
    if (this.#isDone) return false;
    this.#isDone = true;
    this.#endRight();
    this.#letGo();
    for (const cluster of [this.#parts.source, this.#parts.destination]) cluster.tellOutage(this.#waiting, undefined);
    return true;
  }
}
