/** Spreads operations over lanes that work side by side, without changing the order for any document. */

import { laneOf } from '../bson/document-key.js';
import { type Deferred, deferred } from '../lib/tasks.js';
import { traced } from '../lib/trace.js';
import type { MigratedCollection } from '../metadata/collections.js';
import type { LaneApplier } from './lane-applier.js';
import { laneText, type Operation } from './operation.js';

const MAX_OPERATIONS = 5000;
const MAX_BYTES = 4 * 1024 * 1024;
/** What one lane is enough for, queued or being written: a few fuller commands cost both sides less than many short ones. */
const ONE_LANE_OPERATIONS = 500;
const ONE_LANE_BYTES = 1024 * 1024;
/** Once there was more, all lanes are used for so long: a backlog comes in many replies. */
const SPREAD_MS = 1000;

interface Entry {
  readonly operation: Operation;
  readonly markApplied: () => void;
}

/**
 * Spreads operations over lanes: all of one document are in one lane, in the order given; the lanes work side by side.
 * The queues are bounded by the apply window, which counts every queued event's bytes.
 *
 * While there are few operations, all go into the first lane. What comes when there are more is held until that lane has
 * finished, so that none of them overtakes an earlier one on its document, and spread from then on; back to one lane goes
 * it when nothing is queued or being written.
 *
 * The first failure stops all lanes, and `failed` rejects with it; it rejects, too, when `signal` aborts.
 */
export class Lanes {
  readonly failed: Promise<never>;
  readonly #lanes: Lane[];
  /** By collection: operations queued or being written. */
  readonly #pending = new Map<string, { count: number }>();
  readonly #waiting = new Set<{ readonly ids: readonly string[]; readonly end: Deferred<void> }>();
  #failure: { readonly reason: unknown } | undefined;
  /** Queued or being written, in all. */
  #open = 0;
  #openBytes = 0;
  #isSpread = false;
  #spreadUntilMs = Number.NEGATIVE_INFINITY;
  /** What waits for the first lane to finish. */
  #held: Entry[] = [];

  constructor(appliers: readonly LaneApplier[], signal: AbortSignal) {
    const failed = deferred<never>();
    this.failed = failed.promise;
    const fail = (reason: unknown): void => {
      this.#failure ??= { reason };
      failed.reject(reason);
      for (const { end } of this.#waiting) end.reject(reason);
      this.#waiting.clear();
    };
    // Lanes that were stopped markApplied nothing more: who waits for them must not wait for ever.
    if (signal.aborted) fail(signal.reason);
    else signal.addEventListener('abort', () => fail(signal.reason), { once: true });
    this.#lanes = appliers.map((applier) => new Lane(applier, signal, fail, (batch) => this.#markApplied(batch)));
  }

  /** Queues an operation; `markApplied` is called once a majority has it. */
  push(operation: Operation, markApplied: () => void): void {
    const { id } = operation.collection;
    const pending = this.#pending.get(id);
    if (pending === undefined) this.#pending.set(id, { count: 1 });
    else pending.count++;
    this.#open++;
    this.#openBytes += bytesOf(operation);
    const isMuch = this.#open > ONE_LANE_OPERATIONS || this.#openBytes > ONE_LANE_BYTES;
    if (isMuch) this.#spreadUntilMs = performance.now() + SPREAD_MS;
    const entry = { operation, markApplied };
    if (this.#isSpread) this.#spread(entry);
    else if (this.#held.length > 0 || (isMuch && this.#open > 1)) this.#held.push(entry);
    else this.#lanes[0]?.push(entry);
  }

  #spread(entry: Entry): void {
    this.#lanes[laneOf(laneText(entry.operation), this.#lanes.length)]?.push(entry);
  }

  /** Nothing is under way but what is held. */
  #spreadHeld(): void {
    this.#isSpread = this.#held.length > 0 || performance.now() < this.#spreadUntilMs;
    for (const entry of this.#held.splice(0)) this.#spread(entry);
  }

  /** Resolves once nothing of these collections is queued or being written; the others go on. Rejects as `failed` does. */
  async drain(ids: readonly string[]): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure.reason;
    if (!ids.some((id) => this.#pending.has(id))) return;
    const end = deferred<void>();
    this.#waiting.add({ ids, end });
    await end.promise;
  }

  /** Resolves once the lanes have stopped after their signal aborted. */
  async stopped(): Promise<void> {
    await Promise.allSettled(this.#lanes.map((lane) => lane.idle));
  }

  #markApplied(batch: readonly Entry[]): void {
    for (const { operation, markApplied } of batch) {
      markApplied();
      const { id } = operation.collection;
      const pending = this.#pending.get(id);
      this.#open--;
      this.#openBytes -= bytesOf(operation);
      if (pending !== undefined && --pending.count === 0) this.#drained(id);
    }
    if (this.#open === this.#held.length) this.#spreadHeld();
  }

  #drained(id: string): void {
    this.#pending.delete(id);
    for (const waiter of this.#waiting) {
      if (waiter.ids.some((each) => this.#pending.has(each))) continue;
      this.#waiting.delete(waiter);
      waiter.end.resolve();
    }
  }
}

/** One queue and the loop that empties it; the loop ends when the queue is empty, so nothing is left to stop. */
class Lane {
  idle: Promise<void> = Promise.resolve();
  readonly #applier: LaneApplier;
  readonly #signal: AbortSignal;
  readonly #fail: (reason: unknown) => void;
  readonly #markApplied: (batch: readonly Entry[]) => void;
  /** Entries before `#next` are taken; they are let go once they are the greater part. */
  #queue: Entry[] = [];
  #next = 0;
  #running = false;

  constructor(
    applier: LaneApplier,
    signal: AbortSignal,
    fail: (reason: unknown) => void,
    markApplied: (batch: readonly Entry[]) => void,
  ) {
    this.#applier = applier;
    this.#signal = signal;
    this.#fail = fail;
    this.#markApplied = markApplied;
  }

  push(entry: Entry): void {
    this.#queue.push(entry);
    if (this.#running) return;
    this.#running = true;
    this.idle = this.#run();
  }

  async #run(): Promise<void> {
    try {
      // Lets the dispatcher, which has promises to wait for, queue the rest of its batch first: fuller commands.
      await new Promise<void>((resolve) => void setImmediate(resolve));
      while (this.#next < this.#queue.length && !this.#signal.aborted) {
        const batch = this.#take();
        const operations = batch.map((entry) => entry.operation);
        await traced('apply batch', { operations: operations.length }, () =>
          this.#applier.apply(operations, this.#signal),
        );
        this.#markApplied(batch);
      }
      this.#running = false;
    } catch (error) {
      this.#fail(error);
    }
  }

  #take(): Entry[] {
    let bytes = 0;
    let end = this.#next;
    const limit = Math.min(this.#queue.length, end + MAX_OPERATIONS);
    while (end < limit && bytes < MAX_BYTES) {
      bytes += bytesOf(this.#queue[end]?.operation);
      end++;
    }
    const batch = this.#queue.slice(this.#next, end);
    this.#next = end;
    if (end * 2 >= this.#queue.length) {
      this.#queue = this.#queue.slice(end);
      this.#next = 0;
    }
    return batch;
  }
}

function bytesOf(operation: Operation | undefined): number {
  return operation?.content?.length ?? 0;
}

/** The collections a barrier must wait for, by id. */
export function idsOf(collections: readonly (Pick<MigratedCollection, 'id'> | undefined)[]): string[] {
  return collections.flatMap((each) => (each === undefined ? [] : [each.id]));
}
