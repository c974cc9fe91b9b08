/** Records the source's catalog and creates its collections on the destination: the work of the first phase. */

import type { Binary } from '../bson/bson.js';
import { uuidText } from '../bson/uuid.js';
import { listCollections } from '../catalog/catalog.js';
import { carriedOptions } from '../catalog/collection-spec.js';
import { createCollection, sendCreate, sendCreateWithIndexes } from '../catalog/destination-catalog.js';
import { nsText } from '../catalog/namespace.js';
import type { Scope } from '../catalog/scope.js';
import type { Cluster } from '../cluster/cluster.js';
import { confirmed } from '../cluster/confirmed.js';
import { codeOf, describeError } from '../cluster/errors.js';
import type { WritableCluster } from '../cluster/writable-cluster.js';
import { type CollectionSize, collectionSize } from '../documents/partition.js';
import { AppError } from '../errors.js';
import type { Layout } from '../layout/layout.js';
import { readDatabaseSizes } from '../layout/primaries.js';
import { mapLimit } from '../lib/limit.js';
import type { Logger } from '../lib/logger.js';
import type { CollectionMap, MigratedCollection, MigratedView, NewCollection } from '../metadata/collections.js';
import type { MetadataStore } from '../metadata/store.js';
import type { StoredRecord } from '../metadata/stored-record.js';
import { type EarlyIndexes, earlyIndexes } from './early-indexes.js';
import { type ListedNamespace, readStableCatalog } from './stable-catalog.js';

const PARALLEL_CREATES = 8;

/** What the initialisation works with. */
export interface InitialiseContext extends EarlyIndexes {
  readonly source: Cluster;
  readonly destination: WritableCluster;
  readonly scope: Scope;
  /** Judges the catalog before anything of it is created; rejects when the destination cannot take it. */
  readonly requireFit: (namespaces: readonly ListedNamespace[], signal: AbortSignal) => Promise<void>;
  readonly store: MetadataStore;
  readonly record: StoredRecord;
  readonly collections: CollectionMap;
  readonly layout: Layout;
  readonly logger: Logger;
}

/**
 * Reads the source's catalog, records it with T0, and creates every collection and view on the destination. Repeatable:
 * `startTime` is stored after the last collection record, so a run that finds it set goes on with what is not created.
 */
export async function initialise(context: InitialiseContext, signal: AbortSignal): Promise<void> {
  if (context.record.value.startTime === undefined) await recordCatalog(context, signal);
  await createCollections(context, signal);
  await createViews(context, signal);
}

async function recordCatalog(context: InitialiseContext, signal: AbortSignal): Promise<void> {
  const { store, record, collections, scope, layout, logger } = context;
  // Records of a run that did not come to T0 are of no use: the catalog may have changed since.
  const stale = (await store.loadCollections(signal)).map((record) => record.id);
  if (stale.length > 0) await store.deleteCollections(stale, signal);
  for (const view of await store.loadViews(signal)) await store.deleteView(view, signal);
  await collections.load(signal);
  const catalog = await readStableCatalog(context.source, scope, logger, signal);
  refuseTimeSeries(catalog.namespaces);
  await context.requireFit(catalog.namespaces, signal);
  const found = catalog.namespaces.filter((each) => each.uuid !== undefined);
  await collections.add(
    found.map((each) => toCollection(each, scope, layout)),
    signal,
  );
  const views = catalog.namespaces.filter((each) => each.type === 'view');
  if (scope.migratesViews) {
    for (const { ns, options } of views)
      await collections.putView({ ns: scope.target(ns), sourceNs: ns, options: carriedOptions(options) }, signal);
  }
  const before = record.value.warnings;
  const warnings = scope.migratesViews || views.length === 0 ? before : [...before, viewsSkipped(views)];
  await record.update({ startTime: catalog.time, warnings }, signal);
  logger.info('Recorded the catalog of the source', { namespaces: catalog.namespaces.length });
}

function refuseTimeSeries(namespaces: readonly ListedNamespace[]): void {
  const found = namespaces.filter((each) => each.type === 'timeseries').map((each) => nsText(each.ns));
  if (found.length > 0) {
    throw new AppError(
      'TimeSeriesCollection',
      `time-series collections cannot be migrated: ${found.join(', ')}. Drop them, or migrate them by other means, and start again`,
    );
  }
}

function viewsSkipped(views: readonly ListedNamespace[]): string {
  const names = views.slice(0, 5).map((each) => nsText(each.ns));
  const more = views.length > names.length ? ', …' : '';
  return `${views.length} views are not migrated, because preExistingDestinationData is set: ${names.join(', ')}${more}. Create them on the destination after the commit.`;
}

function toCollection(each: ListedNamespace, scope: Scope, layout: Layout): NewCollection {
  return {
    id: uuidText(each.uuid as Binary),
    ns: scope.target(each.ns),
    sourceNs: each.ns,
    destinationUuid: undefined,
    options: carriedOptions(each.options),
    indexes: each.indexes,
    shardKeys: layout.keysOf(each.ns, each.sharding),
    dropped: false,
    copy: { status: 'pending', estimatedDocuments: 0, estimatedBytes: 0 },
  };
}

/**
 * The commands 8 wide; then one listing per database gives all UUIDs, as a majority has them: who lists may still ask a
 * primary that has been replaced, while who creates asks the next one. Errors: DestinationModified.
 */
async function createCollections(context: InitialiseContext, signal: AbortSignal): Promise<void> {
  const { destination, collections } = context;
  const missing = collections.live().filter((each) => each.destinationUuid === undefined);
  await spreadDatabases(context, missing, signal);
  const created = await mapLimit(
    missing,
    PARALLEL_CREATES,
    (each, inner) => sizeAndCreate(context, each, inner),
    signal,
  );
  const databases = [...new Set(missing.map((each) => each.ns.db))];
  const { value: uuids } = await confirmed(destination, signal, () => uuidsOf(destination, databases, signal));
  const found = missing.map((each, index) => ({ each, uuid: created[index]?.uuid ?? uuids.get(nsText(each.ns)) }));
  const lost = found.find(({ uuid }) => uuid === undefined);
  if (lost !== undefined)
    throw new AppError(
      'DestinationModified',
      `${nsText(lost.each.ns)} on the destination was dropped by someone else during the migration`,
    );
  const spread = await mapLimit(missing, PARALLEL_CREATES, (each, inner) => context.layout.spread(each, inner), signal);
  // One after the other: a shard takes part in one move at a time.
  for (const each of missing) await context.layout.fillAlike(each, signal);
  await collections.add(
    found.map(({ each, uuid }, index) => {
      const { documents = 0, bytes = 0 } = created[index]?.size ?? {};
      const copy = { ...each.copy, estimatedDocuments: documents, estimatedBytes: bytes };
      return { ...each, destinationUuid: uuid, kept: spread[index] ?? [], copy };
    }),
    signal,
  );
}

/** By what lies on their primary shards: what is sharded lies on all. */
async function spreadDatabases(
  { source, destination, scope, layout }: InitialiseContext,
  collections: readonly MigratedCollection[],
  signal: AbortSignal,
): Promise<void> {
  if (!destination.isSharded) return;
  const sizes = new Map<string, number>();
  for (const [db, bytes] of await readDatabaseSizes(source, signal)) {
    const target = scope.target({ db, coll: '' }).db;
    const own = collections.filter(({ sourceNs }) => sourceNs.db === db);
    const isWhole = own.every(({ shardKeys }) => shardKeys?.destination === undefined);
    // Only a part of it then; how large, a copy would tell.
    sizes.set(target, (sizes.get(target) ?? 0) + (isWhole ? bytes : 0));
  }
  await layout.spreadDatabases(collections, sizes, signal);
}

async function uuidsOf(
  destination: Cluster,
  databases: readonly string[],
  signal: AbortSignal,
): Promise<Map<string, Binary>> {
  const uuids = new Map<string, Binary>();
  for (const db of databases) {
    for (const entry of await listCollections(destination, db, signal)) {
      if (entry.uuid !== undefined) uuids.set(nsText(entry.ns), entry.uuid);
    }
  }
  return uuids;
}

async function sizeAndCreate(
  context: InitialiseContext,
  collection: MigratedCollection,
  signal: AbortSignal,
): Promise<{ readonly uuid: Binary | undefined; readonly size: CollectionSize }> {
  const size = await collectionSize(context.source, collection.sourceNs, signal);
  return { uuid: await createOne(context, collection, size, signal), size };
}

/** Undefined when the plain create went through; its UUID is read with the others'. */
async function createOne(
  context: InitialiseContext,
  collection: MigratedCollection,
  size: CollectionSize,
  signal: AbortSignal,
): Promise<Binary | undefined> {
  const { destination, scope } = context;
  const { ns, options, shardKeys } = collection;
  const { sharesDestination } = scope;
  const indexes = sharesDestination ? [] : earlyIndexes(context, collection, size);
  const wanted = { ns, options, sharesDestination, shardKey: shardKeys?.destination?.key, indexes };
  const isNew =
    indexes.length === 0
      ? await sendCreate(destination, wanted, signal)
      : await sendCreateWithIndexes(destination, wanted, signal);
  return isNew ? undefined : createCollection(destination, wanted, signal);
}

/** A view's collation is checked against what it is defined on, so that one must exist first: whatever is refused is tried again after the others. */
async function createViews(context: InitialiseContext, signal: AbortSignal): Promise<void> {
  let remaining: MigratedView[] = context.collections.views();
  while (remaining.length > 0) {
    const refused: MigratedView[] = [];
    let cause: unknown;
    for (const view of remaining) {
      try {
        const { sharesDestination } = context.scope;
        await sendCreate(context.destination, { ...view, sharesDestination }, signal);
      } catch (error) {
        if (codeOf(error) === undefined) throw error;
        cause = error;
        refused.push(view);
      }
    }
    if (refused.length === remaining.length) {
      throw new AppError(
        'CommandRefused',
        `the destination refuses the view ${nsText(refused[0]?.sourceNs ?? { db: '', coll: '' })}: ${describeError(cause)}`,
        { cause },
      );
    }
    remaining = refused;
  }
}
