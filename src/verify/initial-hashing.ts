/** Compares every document once, range by range. */
import type { Timestamp } from '../bson/bson.js';
import { mapLimit } from '../lib/limit.js';
import { aborted, sleep } from '../lib/signals.js';
import { type Deferred, deferred } from '../lib/tasks.js';
import { isFollowed } from '../matching/compare-ids.js';
import type { RangeScanner } from '../matching/range-scanner.js';
import type { MigratedCollection } from '../metadata/collections.js';
import type { VerifyRange } from '../metadata/verification-store.js';
import { metrics } from '../metrics.js';
import type { VerifyContext } from './context.js';
import { planRanges } from './plan.js';
import type { RecheckQueue } from './recheck-queue.js';
import { ScanProgress } from './scan-progress.js';
import { scanRange } from './scan-range.js';

const WAIT_MS = 100;
/** Begins the series of ranges of what is copied again. */
const AGAIN = 'again-';
/** Documents found differing that wait for their first comparison; hashing pauses beyond it, or beyond their ids' bytes. */
const MAX_NEWCOMERS = 50_000;
const MAX_NEWCOMER_BYTES = 16 * 1024 * 1024;

/** What is stored of the plan. */
export interface Plan {
  /** Where the source's stream begins. */
  readonly sourceStart: Timestamp;
  readonly isPlanned: boolean;
  readonly onPlanned: (signal: AbortSignal) => Promise<void>;
}

/**
 * The comparison of every document, range by range: of all collections once, and again of those that are copied anew
 * without change events. A range counts as done once what differed in it is stored in the queue.
 */
export class InitialHashing {
  readonly progress = new ScanProgress();
  readonly #context: VerifyContext;
  readonly #queue: RecheckQueue;
  readonly #seen = new Set<string>();
  readonly #held = new Map<string, number>();
  #news: Deferred<void> = deferred();
  #isDone = false;

  constructor(context: VerifyContext, queue: RecheckQueue) {
    this.#context = context;
    this.#queue = queue;
  }

  /** Whether every range there is has been compared. */
  get isDone(): boolean {
    return this.#isDone;
  }

  /** Resolves once `isDone`. */
  async done(signal: AbortSignal): Promise<void> {
    while (!this.#isDone) await sleep(WAIT_MS, signal);
  }

  /** Compares whatever is to be compared until `signal` aborts. */
  async run(plan: Plan, signal: AbortSignal): Promise<void> {
    if (!plan.isPlanned) await this.#plan(plan, signal);
    for (;;) {
      const news = this.#news;
      const open = await this.#open(signal);
      if (open.length > 0) await this.#scanAll(open, signal);
      else if (this.#held.size === 0 && news === this.#news) this.#finish();
      if (open.length === 0) await Promise.race([news.promise, aborted(signal)]);
      signal.throwIfAborted();
    }
  }

  /**
   * Has a collection compared as a whole again after `copy` has copied it anew: its documents come without change
   * events. What is to be compared is stored before, so that a restart knows of it.
   */
  async whileCopied<T>(collection: MigratedCollection, copy: () => Promise<T>, signal: AbortSignal): Promise<T> {
    const { id } = collection;
    this.#isDone = false;
    this.#held.set(id, (this.#held.get(id) ?? 0) + 1);
    try {
      await storeRanges(this.#context, collection, signal);
      return await copy();
    } finally {
      const others = (this.#held.get(id) ?? 1) - 1;
      if (others > 0) this.#held.set(id, others);
      else this.#held.delete(id);
      const news = this.#news;
      this.#news = deferred();
      news.resolve();
    }
  }

  async #plan({ sourceStart, onPlanned }: Plan, signal: AbortSignal): Promise<void> {
    const { store, source, collections, applied } = this.#context;
    // A collection that was created before the streams begin must be in the map: no event names its documents.
    await applied(sourceStart, signal);
    const followed = collections.live().filter((each) => isFollowed(each, this.#context));
    await store.saveRanges(await planRanges(source, followed, '', signal), signal);
    await onPlanned(signal);
  }

  /** Ranges to be compared, but for those of collections that are being copied. */
  async #open(signal: AbortSignal): Promise<VerifyRange[]> {
    const stored = await this.#context.store.loadRanges(signal);
    const left = stored.filter((range) => range.done && this.#isGone(range.collection));
    if (left.length > 0)
      await this.#context.store.deleteRanges(
        left.map(({ id }) => id),
        signal,
      );
    const ranges = stored.filter((range) => !range.done || !this.#isGone(range.collection));
    this.progress.load(ranges.filter((range) => !this.#seen.has(range.id)));
    for (const { id } of ranges) this.#seen.add(id);
    return ranges.filter((range) => !range.done && !this.#held.has(range.collection));
  }

  /** A source may have many collections dropped and made anew, day after day. */
  #isGone(collection: string): boolean {
    return this.#context.collections.get(collection)?.dropped !== false;
  }

  #finish(): void {
    this.#isDone = true;
    this.#context.logger.info('Every document has been compared; following the changes');
    this.#context.onChange();
  }

  async #scanAll(ranges: readonly VerifyRange[], signal: AbortSignal): Promise<void> {
    const { logger, startScanner, parallelRanges } = this.#context;
    logger.info('Comparing the documents of both sides', { ranges: ranges.length });
    const documents = ranges.reduce((sum, range) => sum + range.estimatedDocuments, 0);
    const bytes = ranges.reduce((sum, range) => sum + range.estimatedBytes, 0);
    const scanner = await startScanner({ documents, bytes }, signal);
    try {
      await mapLimit(ranges, parallelRanges, (range, inner) => this.#scanOne(scanner, range, inner), signal);
    } finally {
      await scanner.close();
    }
  }

  #hasNoRoom(): boolean {
    return this.#queue.newcomers > MAX_NEWCOMERS || this.#queue.newcomerBytes > MAX_NEWCOMER_BYTES;
  }

  async #scanOne(scanner: RangeScanner, range: VerifyRange, signal: AbortSignal): Promise<void> {
    let sourceDocuments = 0;
    let destinationDocuments = 0;
    const events = {
      onRead: (source: number, destination: number) => {
        sourceDocuments += source;
        destinationDocuments += destination;
        // What a range that begins again has counted is taken back; a counter only grows.
        if (source > 0) metrics.documentsHashed.add(source, { side: 'source' });
        if (destination > 0) metrics.documentsHashed.add(destination, { side: 'destination' });
        this.progress.read(range.collection, source, destination);
      },
      onDiffering: async (ids: Buffer[]) => {
        this.#queue.add(range.collection, ids);
        while (this.#hasNoRoom()) await sleep(WAIT_MS, signal);
      },
    };
    await scanRange(this.#context, scanner, range, events, signal);
    await this.#queue.store(signal);
    await this.#context.store.saveRanges([{ ...range, done: true, sourceDocuments, destinationDocuments }], signal);
    this.progress.rangeDone(range.collection);
  }
}

/**
 * Has a verification that another process has begun, and one will go on with, compare a collection as a whole again. One
 * that has not been begun compares everything.
 */
export async function storeForLater(
  context: RangesContext,
  collection: MigratedCollection,
  signal: AbortSignal,
): Promise<void> {
  if ((await context.store.load(signal)) !== undefined) await storeRanges(context, collection, signal);
}

/** Whether a range belongs to a collection that was copied again, not to the first plan. */
export function isOfCopyAgain({ id, collection }: VerifyRange): boolean {
  return id.startsWith(AGAIN, collection.length + 1);
}

/** What the planning of ranges needs. */
export type RangesContext = Pick<VerifyContext, 'source' | 'filter' | 'store'>;

/** Stores that a collection is to be compared as a whole (again). */
async function storeRanges(context: RangesContext, collection: MigratedCollection, signal: AbortSignal): Promise<void> {
  // One that is not followed is compared at the commit.
  if (!isFollowed(collection, context)) return;
  const series = `${AGAIN}${Date.now()}-`;
  await context.store.saveRanges(await planRanges(context.source, [collection], series, signal), signal);
}
