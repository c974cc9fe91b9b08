/** Brings the indexes of one collection to what they should be. */
import type { OrderedDoc } from '../bson/bson.js';
import { listIndexesAndBuilds } from '../catalog/catalog.js';
import { changeCatalog } from '../catalog/destination-catalog.js';
import { listManyIndexes } from '../catalog/index-listing.js';
import { builtText, type IndexTwin, indexName, relaxedIndex, splitTwins } from '../catalog/index-spec.js';
import { nsText } from '../catalog/namespace.js';
import { Code, TransientError } from '../cluster/errors.js';
import { unlessAborted } from '../lib/signals.js';
import type { MigratedCollection } from '../metadata/collections.js';
import { metrics } from '../metrics.js';
import type { IndexContext } from './context.js';
import type { IndexCounts } from './index-counts.js';
import { compareIndexes } from './index-difference.js';
import type { RunningBuilds } from './running-builds.js';

/** What bringing one collection's indexes to what they should be works with. */
export interface ReconcilerContext
  extends Pick<IndexContext, 'destination' | 'collections' | 'logger' | 'wants' | 'onWarning'> {
  readonly builds: RunningBuilds;
  readonly counts: IndexCounts;
}

/**
 * Brings one collection's indexes to what the map wants: what is not wanted is dropped, what is missing is built, all in
 * one scan. Knows nothing of other collections, nor of when it is done.
 */
export class IndexReconciler {
  readonly #context: ReconcilerContext;
  readonly #warned = new Set<string>();
  /** Collections that are looked at again although nothing of theirs was outstanding. */
  readonly #rechecked = new Set<string>();

  constructor(context: ReconcilerContext) {
    this.#context = context;
  }

  /** Nothing of this collection is outstanding: what is found to differ at the next look, somebody else has changed. */
  expectUnchanged(id: string): void {
    this.#rechecked.add(id);
  }

  /**
   * One attempt. Errors are the server's; TransientError while a command whose answer was lost may still come, or while a
   * build goes on that is not wanted any more: either would leave an index that the source has no longer.
   */
  async reconcile(collection: MigratedCollection, signal: AbortSignal): Promise<void> {
    const { destination, counts } = this.#context;
    const { id, ns } = collection;
    await destination.resolveLostStructure(signal);
    const { indexes: actual, builds: underWay } = await listIndexesAndBuilds(destination, ns, signal);
    const { wanted, missing, surplus } = this.#compare(collection, actual);
    counts.set(id, wanted.length - missing.length);
    await this.#endUnwanted(collection, underWay, missing, signal);
    if (this.#rechecked.delete(id)) this.#warnOfForeign(collection, missing, surplus);
    if (surplus.length > 0) await this.#drop(collection, surplus, signal);
    if (missing.length === 0) return;
    await this.#build(collection, missing, signal);
    counts.set(id, wanted.length);
  }

  /**
   * Those of these collections that have just what they should have, and nothing under way, by one listing of all: none
   * where the server gives no such listing. Errors: as `reconcile`, tried again while they are transient.
   */
  async findSettled(collections: readonly MigratedCollection[], signal: AbortSignal): Promise<MigratedCollection[]> {
    const { destination } = this.#context;
    const known = collections.map(({ ns, destinationUuid: uuid }) => ({ ns, uuid }));
    const listed = await destination.attempt('listing the indexes of all collections', signal, async () => {
      await destination.resolveLostStructure(signal);
      return listManyIndexes(destination, known, signal);
    });
    return collections.filter((each) => {
      const found = listed?.get(nsText(each.ns));
      if (found === undefined || found.isBuilding) return false;
      const { missing, surplus } = this.#compare(each, found.indexes);
      return missing.length + surplus.length === 0;
    });
  }

  /** Nothing is left to do for a collection that `findSettled` has found. */
  accept(collection: MigratedCollection): void {
    const { counts } = this.#context;
    counts.set(collection.id, counts.of(collection).total);
    this.#rechecked.delete(collection.id);
  }

  #compare(
    collection: MigratedCollection,
    actual: readonly OrderedDoc[],
  ): ReturnType<typeof compareIndexes> & { readonly wanted: readonly OrderedDoc[] } {
    const { wants } = this.#context;
    const { indexes, kept = [] } = collection;
    const { built, twins } = splitTwins(indexes.filter(wants));
    for (const twin of twins) this.#warnOfTwin(collection, twin);
    const wanted = built.map((spec) => this.#relaxed(spec, collection));
    const expiring = new Set(indexes.filter((spec) => spec.has('expireAfterSeconds')).map(indexName));
    return { wanted, ...compareIndexes({ wanted, actual, expiring, kept, wants }) };
  }

  /** Drops all secondary indexes, because they stand in the way of a document. */
  async dropAll(collection: MigratedCollection, signal: AbortSignal): Promise<void> {
    const { ns, destinationUuid, kept = [] } = collection;
    const command = { dropIndexes: ns.coll, index: '*', collectionUUID: destinationUuid };
    await changeCatalog(this.#context.destination, ns.db, command, signal, [Code.NamespaceNotFound]);
    await this.#forgetKept(collection, kept, signal);
  }

  /**
   * None of these builds is this attempt's: an earlier run, whose process may have ended, has left them to the server.
   * Those of what is missing are joined by building it.
   */
  async #endUnwanted(
    collection: MigratedCollection,
    underWay: readonly OrderedDoc[][],
    missing: readonly OrderedDoc[],
    signal: AbortSignal,
  ): Promise<void> {
    const { wants } = this.#context;
    const texts = new Set(missing.map((spec) => builtText(spec)));
    const unwanted = underWay.filter((specs) => specs.some((spec) => wants(spec) && !texts.has(builtText(spec))));
    for (const specs of unwanted) await this.#context.builds.endNamed(collection, specs.map(indexName), signal);
    const names = unwanted.flat().map(indexName);
    if (names.length > 0)
      throw new TransientError(
        `the server still builds ${names.join(', ')} of ${nsText(collection.ns)}, which the source no longer has; the build has been cancelled`,
      );
  }

  async #drop(collection: MigratedCollection, surplus: readonly OrderedDoc[], signal: AbortSignal): Promise<void> {
    const { ns, destinationUuid } = collection;
    const command = { dropIndexes: ns.coll, index: surplus.map(indexName), collectionUUID: destinationUuid };
    await changeCatalog(this.#context.destination, ns.db, command, signal, [Code.IndexNotFound]);
    await this.#forgetKept(collection, surplus, signal);
  }

  async #build(collection: MigratedCollection, missing: readonly OrderedDoc[], signal: AbortSignal): Promise<void> {
    const { destination, builds, logger } = this.#context;
    const { ns, destinationUuid } = collection;
    const started = performance.now();
    // The default quorum is all members: one that is down would hold the migration up for as long as it is.
    const options = { collectionUUID: destinationUuid, commitQuorum: 'majority' };
    const command = { createIndexes: ns.coll, indexes: missing, ...options };
    await builds.run(collection, missing.map(indexName), () =>
      unlessAborted(destination.write(ns.db, command, { signal }), signal),
    );
    metrics.createIndexesDuration.record(performance.now() - started);
    metrics.indexesCreated.add(missing.length);
    metrics.indexBuilds.add(missing.length, { outcome: 'built' });
    logger.debug(`Built ${missing.length} indexes of ${nsText(ns)}`, { ms: Math.round(performance.now() - started) });
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
    await this.#context.collections.update(
      id,
      (current) => ({ kept: (current.kept ?? []).filter((spec) => !names.has(indexName(spec))) }),
      signal,
    );
    this.#context.onWarning(
      `the indexes ${lost.join(', ')} of ${nsText(ns)} on the destination were dropped, because they conflict with indexes that the migration builds`,
    );
  }

  /** Nothing of the migration was outstanding, so somebody else has dropped or made these. */
  #warnOfForeign(collection: MigratedCollection, missing: readonly OrderedDoc[], surplus: readonly OrderedDoc[]): void {
    const parts = [
      ...(missing.length > 0 ? [`${missing.map(indexName).join(', ')} dropped`] : []),
      ...(surplus.length > 0 ? [`${surplus.map(indexName).join(', ')} created`] : []),
    ];
    if (parts.length === 0) return;
    this.#context.onWarning(
      `someone else changed indexes of ${nsText(collection.ns)} on the destination, and the migration restores them: ${parts.join('; ')}`,
    );
  }

  #relaxed(spec: OrderedDoc, collection: MigratedCollection): OrderedDoc {
    const { spec: relaxed, warnings } = relaxedIndex(spec, collection.options);
    for (const warning of warnings) this.#warn(`index ${indexName(spec)} of ${collection.name}: ${warning}`);
    return relaxed;
  }

  #warnOfTwin(collection: MigratedCollection, { spec, of }: IndexTwin): void {
    this.#warn(
      `index ${indexName(spec)} of ${collection.name} has the same keys and options as the unique index ${of}, which is not unique on the destination before the commit; it is built after the commit`,
    );
  }

  /** Once. */
  #warn(text: string): void {
    if (this.#warned.has(text)) return;
    this.#warned.add(text);
    this.#context.onWarning(text);
  }
}
