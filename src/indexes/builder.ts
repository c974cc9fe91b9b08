import type { Binary, OrderedDoc } from '../cluster/bson.js';
import { listIndexBuilds, listIndexes } from '../cluster/catalog.js';
import type { Cluster } from '../cluster/cluster.js';
import { sameUuid } from '../cluster/collection-spec.js';
import { changeCatalog } from '../cluster/destination-catalog.js';
import { Code, codeOf, isTransient, safeText } from '../cluster/errors.js';
import { builtText, indexName, relaxedIndex } from '../cluster/index-spec.js';
import { type Namespace, nsText, sameNs } from '../cluster/namespace.js';
import { AppError } from '../errors.js';
import { backoffDelayMs } from '../lib/backoff.js';
import type { Logger } from '../lib/logger.js';
import { linkAbort, sleep, unlessAborted } from '../lib/signals.js';
import { traced } from '../lib/trace.js';
import type { CollectionMap, MigratedCollection } from '../metadata/collections.js';
import { metrics } from '../metrics.js';
import { Postponed } from './postponed.js';

/** What the index builder works with. */
export interface IndexContext {
  readonly destination: Cluster;
  readonly collections: CollectionMap;
  readonly logger: Logger;
  /** Whether the migration builds an index at all; by its `buildIndexes` option. */
  readonly wants: (spec: OrderedDoc) => boolean;
  /** Collections whose indexes are built at the same time. */
  readonly parallelBuilds: number;
  /** Resolves once what the source has at the call, and all that was written during the copy, is applied. */
  readonly caughtUp: (signal: AbortSignal) => Promise<void>;
  /** Called once for each spec that had to be changed for the server to take it. */
  readonly onWarning: (warning: string) => void;
}

/** Counts for progress. */
export interface IndexProgress {
  readonly built: number;
  readonly total: number;
  readonly collectionsFinished: number;
  readonly collectionsTotal: number;
}

const MAX_FAILURES = 10;
const CANCEL_MS = 30_000;

/** Reasons to try again that say nothing about the index: aborted by a write block, a drop or an election. */
const UNCOUNTED = new Set<number>([Code.IndexBuildAborted, Code.BackgroundOperationInProgress, 13388, 279]);

/**
 * Keeps each destination collection's secondary indexes as the map wants them: what is missing is built, all of a
 * collection in one scan, and what is not wanted is dropped. Comparing wanted and actual makes every run repeatable.
 * Largest collections first. Source: docs/05-indexes.md.
 *
 * `hold` cancels a running build by dropping all of its indexes by name: one of several cannot be dropped (code 27).
 */
export class IndexBuilder {
  readonly #context: IndexContext;
  readonly #queue = new Set<string>();
  /** What is queued, the largest last; may hold what is queued no more. */
  #order: string[] = [];
  #isSorted = true;
  readonly #running = new Map<string, Promise<void>>();
  readonly #building = new Map<
    string,
    { readonly collection: MigratedCollection; readonly names: readonly string[] }
  >();
  readonly #held = new Map<string, number>();
  readonly #failures = new Map<string, number>();
  readonly #built = new Map<string, number>();
  readonly #warned = new Set<string>();
  /** Collections that are looked at again although nothing of theirs was outstanding. */
  readonly #rechecked = new Set<string>();
  /** Collections on which nothing is being built that this process did not begin or was told the end of. */
  readonly #ours = new Set<string>();
  readonly #postponed: Postponed;
  #progress: { readonly version: number; readonly value: IndexProgress } | undefined;
  #open = false;
  #wake: () => void = () => undefined;

  constructor(context: IndexContext) {
    this.#context = context;
    this.#postponed = new Postponed(context.caughtUp, () => this.#wake(), context.logger);
  }

  /** Lets builds begin, for every collection; before, only drops of indexes are noted. */
  open(): void {
    for (const each of this.#context.collections.live()) if (each.indexes.length > 0) this.#add(each.id);
    this.#open = true;
    this.#wake();
  }

  /** Has every collection compared and mended once more. */
  checkAll(): void {
    for (const { id } of this.#context.collections.live()) {
      if (this.#queue.has(id) || this.#running.has(id)) continue;
      this.#add(id);
      this.#rechecked.add(id);
    }
    this.#wake();
  }

  get isOpen(): boolean {
    return this.#open;
  }

  /** Whether every collection has what it should have. */
  get settled(): boolean {
    return this.#open && this.#queue.size === 0 && this.#running.size === 0;
  }

  /** Whether nothing can be built now: the collections that are not as they should be wait for events to be applied. */
  get settledForNow(): boolean {
    return this.#open && this.#running.size === 0 && [...this.#queue].every((id) => this.#postponed.has(id));
  }

  /** Counted again only after something has changed: progress is asked for many times a second. */
  get progress(): IndexProgress {
    const { version } = this.#context.collections;
    if (this.#progress === undefined || this.#progress.version !== version)
      this.#progress = { version, value: this.#count() };
    return this.#progress.value;
  }

  #count(): IndexProgress {
    const sum = { built: 0, total: 0, collectionsFinished: 0, collectionsTotal: 0 };
    for (const each of this.#context.collections.live()) {
      const { built, total } = this.countsOf(each);
      if (total === 0) continue;
      sum.built += built;
      sum.total += total;
      sum.collectionsTotal++;
      if (built === total) sum.collectionsFinished++;
    }
    return sum;
  }

  /** How many indexes a collection is to have, and how many it has. */
  countsOf(collection: MigratedCollection): { readonly built: number; readonly total: number } {
    const total = this.#wantedOf(collection).length;
    return { built: Math.min(total, this.#built.get(collection.id) ?? 0), total };
  }

  #wantedOf(collection: MigratedCollection): OrderedDoc[] {
    return collection.indexes.filter(this.#context.wants);
  }

  changed(id: string): void {
    this.#add(id);
    const running = this.#building.get(id);
    const wanted = new Set(this.#context.collections.get(id)?.indexes.map(indexName));
    // A build that makes what is no longer wanted is not worth waiting for.
    if (running?.names.some((name) => !wanted.has(name)) === true)
      void this.#cancel(id, AbortSignal.timeout(CANCEL_MS)).catch((error: unknown) =>
        this.#context.logger.debug(`A build was not cancelled: ${safeText(error)}`),
      );
    this.#wake();
  }

  async hold(ids: readonly string[], signal: AbortSignal): Promise<void> {
    for (const id of ids) this.#held.set(id, (this.#held.get(id) ?? 0) + 1);
    for (const id of ids) {
      while (this.#running.has(id)) {
        // Cancelling a build that was done in the same moment drops its indexes: they are looked at again.
        this.#add(id);
        await this.#cancel(id, signal);
        await this.#cancelOthers(id, signal);
        await Promise.race([Promise.allSettled([this.#running.get(id)]), sleep(200, signal)]);
        signal.throwIfAborted();
      }
      await this.#cancelOthers(id, signal);
    }
  }

  /** The server goes on with a build whose process has ended, or whose answer was lost. */
  async #cancelOthers(id: string, signal: AbortSignal): Promise<void> {
    const collection = this.#context.collections.get(id);
    if (collection === undefined || collection.dropped || this.#ours.has(id)) return;
    const { ns, destinationUuid } = collection;
    for (const names of await listIndexBuilds(this.#context.destination, ns, signal)) {
      this.#context.logger.info(`Ending a build of ${nsText(ns)} that an earlier try has begun`, { names });
      this.#add(id);
      await this.#drop(ns, destinationUuid, names, signal);
    }
    if (!this.#building.has(id)) this.#ours.add(id);
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
        `Indexes of ${nsText(ns)} do not take a document as it is now; building them again later`,
      );
      const command = { dropIndexes: ns.coll, index: '*', collectionUUID: uuid };
      await changeCatalog(this.#context.destination, ns.db, command, signal, [Code.NamespaceNotFound]);
      await this.#forgetKept(collection, collection.kept ?? [], signal);
      this.#add(id);
      this.#postponed.add(id, signal);
    } finally {
      this.release([id]);
    }
  }

  /** The destination's own indexes are not built again: one of them may be what does not take the document. */
  async #forgetKept(
    { id, ns, kept = [] }: MigratedCollection,
    dropped: readonly OrderedDoc[],
    signal: AbortSignal,
  ): Promise<void> {
    const names = new Set(dropped.map(indexName));
    const lost = kept.map(indexName).filter((name) => names.has(name));
    if (lost.length === 0) return;
    await this.#context.collections.update(id, { kept: kept.filter((spec) => !names.has(indexName(spec))) }, signal);
    this.#context.onWarning(
      `the indexes ${lost.join(', ')} of ${nsText(ns)} on the destination, which the migration does not build, stood in its way and were dropped`,
    );
  }

  /** Builds until `signal` aborts. Rejects with IndexBuildFailed after ten failures of one collection. */
  async run(signal: AbortSignal): Promise<void> {
    const link = linkAbort(signal);
    let failure: { readonly cause: unknown } | undefined;
    try {
      while (failure === undefined) {
        link.signal.throwIfAborted();
        const id = this.#open && this.#running.size < this.#context.parallelBuilds ? this.#next() : undefined;
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
      link.dispose();
    }
  }

  #add(id: string): void {
    if (this.#queue.has(id)) return;
    this.#queue.add(id);
    this.#order.push(id);
    this.#isSorted = false;
  }

  /** The largest collection that may be built. */
  #next(): string | undefined {
    const { collections } = this.#context;
    if (!this.#isSorted) {
      const bytes = new Map(this.#order.map((id) => [id, collections.get(id)?.copy.estimatedBytes ?? 0]));
      this.#order = [...bytes.keys()].sort((a, b) => (bytes.get(a) ?? 0) - (bytes.get(b) ?? 0));
      this.#isSorted = true;
    }
    for (let index = this.#order.length - 1; index >= 0; index--) {
      const id = this.#order[index] as string;
      if (this.#queue.has(id) && !this.#mayBuild(id)) continue;
      this.#order.splice(index, 1);
      if (!this.#queue.delete(id)) continue;
      const collection = collections.get(id);
      if (collection !== undefined && !collection.dropped) return id;
    }
    return undefined;
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
    const { destination, collections, logger } = this.#context;
    const collection = collections.get(id);
    if (collection === undefined || collection.dropped) return;
    try {
      await traced('build indexes', { namespace: nsText(collection.ns) }, () => this.#reconcile(collection, signal));
      this.#failures.delete(id);
    } catch (error) {
      signal.throwIfAborted();
      const code = codeOf(error);
      const now = collections.get(id);
      if (now === undefined || now.dropped) return;
      const isMoving = this.#held.has(id) || !sameNs(now.ns, collection.ns);
      if (code === Code.CollectionUUIDMismatch && !isMoving) {
        const text = `${collection.name} on the destination was dropped, renamed or created anew by someone else`;
        throw new AppError('DestinationModified', `${text} during the migration`, { cause: error });
      }
      if (isMoving || isTransient(error) || (code !== undefined && UNCOUNTED.has(code))) {
        if (error instanceof AppError) logger.warn(`Building the indexes of ${collection.name}: ${error.message}`);
        metrics.indexBuilds.add(1, { outcome: 'cancelled' });
        this.#add(id);
        if (!this.#held.has(id)) await sleep(backoffDelayMs(1), signal);
        return;
      }
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
      this.#add(id);
      // An empty collection has no document that a later event could explain.
      if (collection.copy.status !== 'pending') this.#postponed.add(id, signal);
      await sleep(backoffDelayMs(Math.min(failures, 5)), signal);
    }
  }

  async #reconcile(collection: MigratedCollection, signal: AbortSignal): Promise<void> {
    const { destination, logger } = this.#context;
    const wanted = this.#wantedOf(collection).map((spec) => this.#relaxed(spec, collection));
    // What the migration does not build it does not drop either: after a reversal such indexes may be there.
    const all = await listIndexes(destination, collection.ns, signal);
    const actual = all.filter(this.#context.wants);
    const expiring = new Set(collection.indexes.filter((spec) => spec.has('expireAfterSeconds')).map(indexName));
    // No collMod takes the expiry from an index: one whose successor has none is built anew.
    const isUsable = (spec: OrderedDoc): boolean => !spec.has('expireAfterSeconds') || expiring.has(indexName(spec));
    const wantedTexts = new Set(wanted.map((spec) => builtText(spec)));
    const actualTexts = new Set(actual.filter(isUsable).map(builtText));
    const missing = wanted.filter((spec) => !actualTexts.has(builtText(spec)));
    const names = new Set(missing.map(indexName));
    const surplus = all.filter((spec) =>
      this.#context.wants(spec) ? !isUsable(spec) || !wantedTexts.has(builtText(spec)) : names.has(indexName(spec)),
    );
    this.#setBuilt(collection.id, wanted.length - missing.length);
    if (this.#rechecked.delete(collection.id)) this.#warnOfForeign(collection, missing, surplus);
    const guard = { collectionUUID: collection.destinationUuid };
    if (surplus.length > 0) {
      await changeCatalog(
        destination,
        collection.ns.db,
        { dropIndexes: collection.ns.coll, index: surplus.map(indexName), ...guard },
        signal,
        [Code.IndexNotFound],
      );
      await this.#forgetKept(collection, surplus, signal);
    }
    if (missing.length === 0) return;
    this.#building.set(collection.id, { collection, names: missing.map(indexName) });
    const started = performance.now();
    this.#ours.delete(collection.id);
    const command = { createIndexes: collection.ns.coll, indexes: missing, ...guard, commitQuorum: 'majority' };
    try {
      // The default quorum is all members: one that is down would hold the migration up for as long as it is.
      await unlessAborted(destination.write(collection.ns.db, command), signal);
      this.#ours.add(collection.id);
    } finally {
      this.#building.delete(collection.id);
    }
    this.#setBuilt(collection.id, wanted.length);
    metrics.indexBuilds.add(missing.length, { outcome: 'built' });
    logger.debug(`Built ${missing.length} indexes of ${nsText(collection.ns)}`, {
      ms: Math.round(performance.now() - started),
    });
  }

  /** Nothing of the migration was outstanding, so somebody else has dropped or made these. */
  #warnOfForeign(collection: MigratedCollection, missing: readonly OrderedDoc[], surplus: readonly OrderedDoc[]): void {
    const parts = [
      ...(missing.length > 0 ? [`${missing.map(indexName).join(', ')} dropped`] : []),
      ...(surplus.length > 0 ? [`${surplus.map(indexName).join(', ')} made`] : []),
    ];
    if (parts.length === 0) return;
    this.#context.onWarning(
      `someone else changed indexes of ${nsText(collection.ns)} on the destination, which is put right: ${parts.join('; ')}`,
    );
  }

  #setBuilt(id: string, count: number): void {
    if (this.#built.get(id) !== count) this.#progress = undefined;
    this.#built.set(id, count);
  }

  async #cancel(id: string, signal: AbortSignal): Promise<void> {
    const running = this.#building.get(id);
    if (running === undefined) return;
    const { collection, names } = running;
    await this.#drop(collection.ns, collection.destinationUuid, names, signal);
  }

  async #drop(ns: Namespace, uuid: Binary | undefined, names: readonly string[], signal: AbortSignal): Promise<void> {
    const { destination } = this.#context;
    const command = { dropIndexes: ns.coll, index: names, collectionUUID: uuid };
    await destination.attempt(`ending an index build of ${nsText(ns)}`, signal, async () => {
      try {
        await destination.write(ns.db, command, { control: true });
      } catch (error) {
        // Not begun yet, or finished or dropped in the same moment: whoever holds it looks again.
        if (codeOf(error) === undefined || isTransient(error)) throw error;
      }
    });
  }

  #relaxed(spec: OrderedDoc, collection: MigratedCollection): OrderedDoc {
    const { spec: relaxed, warnings } = relaxedIndex(spec, collection.options);
    for (const warning of warnings) {
      const text = `index ${indexName(spec)} of ${collection.name}: ${warning}`;
      if (!this.#warned.has(text)) {
        this.#warned.add(text);
        this.#context.onWarning(text);
      }
    }
    return relaxed;
  }
}
