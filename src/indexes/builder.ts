/** Keeps the destination's indexes as the migration wants them: decides when a collection's are built. */
import type { Binary } from '../bson/bson.js';
import { sameUuid } from '../catalog/collection-spec.js';
import { indexName } from '../catalog/index-spec.js';
import { nsText, sameNs } from '../catalog/namespace.js';
import { Code, clusterError, codeOf, describeError, isIndexFault, safeText, tagExhausted } from '../cluster/errors.js';
import { AppError, ExitCode } from '../errors.js';
import { backoffDelayMs } from '../lib/backoff.js';
import { linkAbort, sleep, unlessAborted } from '../lib/signals.js';
import type { Task } from '../lib/tasks.js';
import { traced } from '../lib/trace.js';
import type { MigratedCollection } from '../metadata/collections.js';
import { metrics } from '../metrics.js';
import { BuildQueue } from './build-queue.js';
import type { IndexContext } from './context.js';
import { IndexCounts, type IndexProgress } from './index-counts.js';
import { IndexReconciler } from './index-reconciler.js';
import { Postponed } from './postponed.js';
import { RunningBuilds } from './running-builds.js';

const MAX_FAILURES = 10;
const CANCEL_MS = 30_000;
/** Queued collections that are worth a look at all of them together. */
const MANY = 50;
/** From how long on it is told what holds a build up. */
const HELD_UP_MS = 2000;

/**
 * Keeps each destination collection's secondary indexes as the map wants them: what is missing is built, all of a
 * collection in one scan, and what is not wanted is dropped. Comparing wanted and actual makes every run repeatable.
 * Largest collections first. Source: docs/05-indexes.md.
 *
 * Here is when: what is queued, held, postponed or tried again. What is done to one collection: `IndexReconciler`.
 */
export class IndexBuilder {
  readonly #context: IndexContext;
  readonly #queue: BuildQueue;
  readonly #builds: RunningBuilds;
  readonly #counts: IndexCounts;
  readonly #reconciler: IndexReconciler;
  readonly #postponed: Postponed;
  /** Attempts under way. */
  readonly #running = new Map<string, Promise<void>>();
  readonly #held = new Map<string, number>();
  readonly #failures = new Map<string, number>();
  /** Collections whose builds fail for what says nothing about the index, and since when. */
  readonly #heldUp = new Map<string, { readonly sinceMs: number }>();
  /** Cancellations under way. */
  readonly #cancels = new Map<string, { readonly ended: Promise<void>; readonly abort: () => void }>();
  /** Of the present run. */
  #runSignal = AbortSignal.abort(new Error('no index builder runs'));
  /** Of the present run; between two, nothing is applied. */
  #caughtUp: () => Promise<void> = () => Promise.resolve();
  #open = false;
  #wake: () => void = () => undefined;

  constructor(context: IndexContext) {
    this.#context = context;
    this.#queue = new BuildQueue(context.collections);
    this.#builds = new RunningBuilds(context);
    this.#counts = new IndexCounts(context);
    this.#reconciler = new IndexReconciler({ ...context, builds: this.#builds, counts: this.#counts });
    this.#postponed = new Postponed(() => this.#wake());
  }

  /** Lets builds begin, for every collection; before, only drops of indexes are noted. */
  open(): void {
    for (const each of this.#context.collections.live()) if (each.indexes.length > 0) this.#queue.add(each.id);
    this.#open = true;
    this.#wake();
  }

  /** Has every collection compared and mended once more. */
  checkAll(): void {
    for (const { id } of this.#context.collections.live()) {
      if (this.#queue.ids.has(id) || this.#running.has(id)) continue;
      this.#queue.add(id);
      this.#reconciler.expectUnchanged(id);
    }
    this.#wake();
  }

  get isOpen(): boolean {
    return this.#open;
  }

  /** Whether every collection has what it should have. */
  get isComplete(): boolean {
    return this.#open && this.#queue.ids.size === 0 && this.#running.size === 0;
  }

  /** Whether nothing can be built now: the collections that are not as they should be wait for events to be applied. */
  get isCompleteForNow(): boolean {
    return this.#open && this.#running.size === 0 && [...this.#queue.ids].every((id) => this.#postponed.has(id));
  }

  get progress(): IndexProgress {
    return this.#counts.progress;
  }

  /** How many indexes a collection is to have, and how many it has. */
  countsOf(collection: MigratedCollection): { readonly built: number; readonly total: number } {
    return this.#counts.of(collection);
  }

  changed(id: string): void {
    this.#queue.add(id);
    const wanted = new Set(this.#context.collections.get(id)?.indexes.map(indexName));
    // A build that makes what is no longer wanted is not worth waiting for.
    if (this.#builds.namesOf(id).some((name) => !wanted.has(name))) this.#cancel(id);
    this.#wake();
  }

  /**
   * Drops what is being built. Goes on no longer than the run, and no longer than until the collection is looked at
   * again: a drop that is tried again later would take an index of that name that is wanted by then.
   */
  #cancel(id: string): void {
    this.#cancels.get(id)?.abort();
    const link = linkAbort(this.#runSignal);
    const timer = setTimeout(() => link.abort(new Error('the server does not answer')), CANCEL_MS);
    const ended = this.#builds
      .end(id, link.signal)
      .catch((error: unknown) => this.#context.logger.debug(`A build was not cancelled: ${safeText(error)}`))
      .finally(() => {
        clearTimeout(timer);
        link.dispose();
        if (this.#cancels.get(id) === cancel) this.#cancels.delete(id);
      });
    const cancel = { ended, abort: () => link.abort(new Error('the collection is looked at again')) };
    this.#cancels.set(id, cancel);
  }

  async hold(ids: readonly string[], signal: AbortSignal): Promise<void> {
    for (const id of ids) this.#held.set(id, (this.#held.get(id) ?? 0) + 1);
    for (const id of ids) {
      while (this.#running.has(id)) {
        // Cancelling a build that was done in the same moment drops its indexes: they are looked at again.
        this.#queue.add(id);
        await this.#builds.end(id, signal);
        await this.#endOthers(id, signal);
        await Promise.race([Promise.allSettled([this.#running.get(id)]), sleep(200, signal)]);
        signal.throwIfAborted();
      }
      await this.#endOthers(id, signal);
    }
  }

  /** Those of earlier tries stand in the way as well. */
  async #endOthers(id: string, signal: AbortSignal): Promise<void> {
    const collection = this.#context.collections.get(id);
    if (collection === undefined || collection.dropped) return;
    await this.#builds.endOthers(collection, () => this.#queue.add(id), signal);
  }

  release(ids: readonly string[]): void {
    for (const id of ids) {
      const left = (this.#held.get(id) ?? 1) - 1;
      if (left > 0) this.#held.set(id, left);
      else this.#held.delete(id);
    }
    this.#wake();
  }

  /** Drops all secondary indexes of a collection, because they stand in the way of a document; builds them again later. */
  async remove(uuid: Binary, signal: AbortSignal): Promise<void> {
    const collection = this.#context.collections.live().find((each) => sameUuid(each.destinationUuid, uuid));
    if (collection === undefined) return;
    const { id, ns } = collection;
    await this.hold([id], signal);
    try {
      this.#context.logger.info(
        `Indexes of ${nsText(ns)} refuse a document in its present state; building them again later`,
      );
      await this.#reconciler.dropAll(collection, signal);
      this.#queue.add(id);
      this.#postpone(id);
    } finally {
      this.release([id]);
    }
  }

  /**
   * Builds until `signal` aborts. `caughtUp` resolves once what the source has at the call, and all that was written during
   * the copy, is applied. Rejects with IndexBuildFailed after ten failures of one collection.
   */
  async run(caughtUp: Task<void>, signal: AbortSignal): Promise<void> {
    const link = linkAbort(signal);
    this.#runSignal = link.signal;
    this.#caughtUp = () => caughtUp(link.signal);
    this.#postponed.takeUp(this.#caughtUp);
    let failure: { readonly cause: unknown } | undefined;
    try {
      while (failure === undefined) {
        link.signal.throwIfAborted();
        if (this.#open) await this.#passOverSettled(link.signal);
        const id =
          this.#open && this.#running.size < this.#context.parallelBuilds
            ? this.#queue.next((each) => this.#mayBuild(each))
            : undefined;
        if (id === undefined) {
          await this.#woken(link.signal);
          continue;
        }
        const build = this.#bring(id, link.signal).catch((cause: unknown) => {
          failure ??= { cause };
        });
        this.#running.set(id, build);
        void build.finally(() => {
          this.#running.delete(id);
          this.#wake();
        });
      }
      throw failure.cause;
    } finally {
      link.abort(new Error('the index builder has stopped'));
      // None waits for the server: a build under way goes on there, and the next run's joins it.
      await Promise.allSettled(this.#running.values());
      for (const id of [...this.#heldUp.keys()]) this.#goesOn(id);
      link.dispose();
    }
  }

  /** Of many collections most have their indexes from their creation: one listing tells, instead of one for each. */
  async #passOverSettled(signal: AbortSignal): Promise<void> {
    const { collections } = this.#context;
    const fresh = this.#queue.fresh(MANY);
    const found = fresh.map((id) => collections.get(id));
    const looked = found.filter((each): each is MigratedCollection => each?.dropped === false);
    if (looked.length === 0) return;
    for (const each of await this.#reconciler.findSettled(looked, signal)) {
      const { id } = each;
      // Whatever happened to it meanwhile, the listing may not tell.
      const isStill = collections.get(id) === each && this.#mayBuild(id) && !this.#cancels.has(id);
      if (!isStill || !this.#queue.takeSettled(id)) continue;
      this.#reconciler.accept(each);
      this.#failures.delete(id);
      this.#goesOn(id);
    }
  }

  #postpone(id: string): void {
    this.#postponed.add(id, this.#caughtUp());
  }

  #mayBuild(id: string): boolean {
    return !this.#held.has(id) && !this.#running.has(id) && !this.#postponed.has(id);
  }

  #woken(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        signal.removeEventListener('abort', wake);
        resolve();
      };
      this.#wake = wake;
      signal.addEventListener('abort', wake, { once: true });
      if (signal.aborted) wake();
    });
  }

  /** One attempt to bring a collection's indexes to what they should be; queues it again when it did not end so. */
  async #bring(id: string, signal: AbortSignal): Promise<void> {
    const { collections } = this.#context;
    const collection = collections.get(id);
    if (collection === undefined || collection.dropped) return this.#goesOn(id);
    const cancel = this.#cancels.get(id);
    cancel?.abort();
    await unlessAborted(cancel?.ended ?? Promise.resolve(), signal);
    try {
      await traced('build indexes', { namespace: nsText(collection.ns) }, () =>
        this.#reconciler.reconcile(collection, signal),
      );
      this.#failures.delete(id);
      this.#goesOn(id);
    } catch (error) {
      signal.throwIfAborted();
      const code = codeOf(error);
      const now = collections.get(id);
      if (now === undefined || now.dropped) return this.#goesOn(id);
      const isMoving = this.#held.has(id) || !sameNs(now.ns, collection.ns);
      if (code === Code.CollectionUUIDMismatch && !isMoving) {
        const text = `someone else dropped, renamed or recreated ${collection.name} on the destination`;
        throw new AppError('DestinationModified', `${text} during the migration`, { cause: error });
      }
      // An index aborted by a write block, a drop or an election, or a server that has no room: nothing about the index.
      if (isMoving || code === undefined || !isIndexFault(code)) {
        if (!isMoving) this.#waitOrGiveUp(collection, error);
        metrics.indexBuilds.add(1, { outcome: 'cancelled' });
        this.#queue.add(id);
        if (!this.#held.has(id)) await sleep(backoffDelayMs(1), signal);
        return;
      }
      await this.#failed(collection, error, signal);
    }
  }

  /** Errors: IndexBuildFailed after ten of a collection's. */
  async #failed(collection: MigratedCollection, error: unknown, signal: AbortSignal): Promise<void> {
    const { destination, logger } = this.#context;
    const { id } = collection;
    const failures = (this.#failures.get(id) ?? 0) + 1;
    this.#failures.set(id, failures);
    metrics.indexBuilds.add(1, { outcome: 'failed' });
    logger.warn(`Building the indexes of ${collection.name} failed: ${safeText(error)}`, { failures });
    if (failures >= MAX_FAILURES) {
      throw new AppError(
        'IndexBuildFailed',
        `the indexes of ${collection.name} cannot be built on ${destination.name}: ${safeText(error)}`,
        { cause: error },
      );
    }
    this.#queue.add(id);
    // An empty collection has no document that a later event could explain.
    if (collection.copy.status !== 'pending') this.#postpone(id);
    await sleep(backoffDelayMs(Math.min(failures, 5)), signal);
  }

  /** Errors: that of the build, once it has been tried again for as long as anything is. */
  #waitOrGiveUp({ id, name }: MigratedCollection, error: unknown): void {
    const { destination, logger } = this.#context;
    const text = `building the indexes of ${name}`;
    const failure = clusterError(error, text);
    if (failure.code === 'Internal' || failure.row.exit !== ExitCode.retryable) throw failure;
    const task = this.#heldUp.get(id) ?? { sinceMs: performance.now() };
    this.#heldUp.set(id, task);
    const heldUpMs = performance.now() - task.sinceMs;
    if (heldUpMs > destination.retryLimitMs) {
      tagExhausted(failure);
      throw failure;
    }
    logger.info(`Trying again after a transient error: ${text}: ${describeError(error)}`);
    if (heldUpMs > HELD_UP_MS) destination.tellOutage(task, failure.message);
  }

  #goesOn(id: string): void {
    const task = this.#heldUp.get(id);
    if (task === undefined) return;
    this.#heldUp.delete(id);
    this.#context.destination.tellOutage(task, undefined);
  }
}
