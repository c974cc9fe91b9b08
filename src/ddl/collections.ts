/** Carries out the DDL events of collections: create, drop, collMod and changes of indexes. */
import { canonicalText, type OrderedDoc } from '../bson/bson.js';
import { carriedOptions, immediateChange, modifiedOptions } from '../catalog/collection-spec.js';
import { changeCatalog, createCollection, dropCollection } from '../catalog/destination-catalog.js';
import { indexName, modifiedIndex } from '../catalog/index-spec.js';
import { isConvertToCappedTemporary } from '../catalog/namespace.js';
import { type ChangeEvent, namespaceOf, positionOf } from '../documents/change-event.js';
import { refuseCollated } from '../documents/document-filter.js';
import { InvariantError } from '../errors.js';
import type { MigratedCollection } from '../metadata/collections.js';
import type { Attempt, DdlContext } from './context.js';
import { type CollectionEvent, descriptionOf } from './event.js';
import { followMove, movedFrom } from './moved-primary.js';
import { requireFreeName } from './name-conflicts.js';
import { removeLostView } from './views.js';

/** Creates a collection, which must come under a free name. Errors: UnsupportedChange, DestinationModified. */
export async function addCollection(
  context: DdlContext,
  event: CollectionEvent,
  { isReplay }: Attempt,
  signal: AbortSignal,
): Promise<void> {
  const { destination, collections, scope, layout } = context;
  const sourceNs = namespaceOf(event);
  const ns = scope.target(sourceNs);
  const known = collections.get(event.collection);
  const moved = movedFrom(context, event);
  if (moved !== undefined) return followMove(context, event, moved, signal);
  if (known?.destinationUuid !== undefined) return fillCapped(context, known, signal);
  await removeLostView(context, sourceNs, signal);
  await requireFreeName(context, sourceNs, { isReplay }, signal);
  const options = carriedOptions(descriptionOf(event));
  refuseCollated(context.filter, ns, options);
  const { sharesDestination } = scope;
  // Whether the source shards it, an event of its own tells.
  const shardKeys = layout.keysOf(sourceNs, undefined);
  const created = { ns, options, sharesDestination, shardKey: shardKeys?.destination?.key };
  const destinationUuid = await createCollection(destination, created, signal);
  const copy = { status: 'none', estimatedDocuments: 0, estimatedBytes: 0 } as const;
  const kept = await layout.spread({ ns, options, indexes: [], shardKeys }, signal);
  const [added] = await collections.add(
    [
      {
        id: event.collection,
        ns,
        sourceNs,
        destinationUuid,
        options,
        indexes: [],
        kept,
        shardKeys,
        dropped: false,
        copy,
      },
    ],
    signal,
  );
  if (added !== undefined) await fillCapped(context, added, signal);
}

/** cloneCollectionAsCapped looks just like the creation of a capped collection, and its documents emit no events. */
async function fillCapped(context: DdlContext, collection: MigratedCollection, signal: AbortSignal): Promise<void> {
  if (collection.capped && !isConvertToCappedTemporary(collection.ns.coll)) {
    await context.copyAgain(collection, signal);
  }
}

/**
 * Follows a collection that the source has sharded: its events name documents by more than their `_id` from here on. On a
 * sharded destination it is sharded by the same key, unless it is sharded by one already. What it holds stays on one shard
 * until that cluster's balancer moves it.
 */
export async function shardLikeSource(context: DdlContext, event: CollectionEvent, signal: AbortSignal): Promise<void> {
  const { collections, indexes, layout } = context;
  const collection = collections.get(event.collection);
  if (collection === undefined || collection.dropped) return;
  const description = descriptionOf(event);
  const source = { key: description.get('shardKey') as OrderedDoc, unique: description.get('unique') === true };
  const wanted = layout.keysOf(collection.sourceNs, source);
  const shardKeys = { source, destination: collection.shardKeys?.destination ?? wanted?.destination };
  await indexes.hold([collection.id], signal);
  try {
    const kept = await layout.spread({ ...collection, shardKeys }, signal);
    await collections.update(
      collection.id,
      (current) => ({ shardKeys, kept: [...(current.kept ?? []), ...kept] }),
      signal,
    );
  } finally {
    indexes.release([collection.id]);
  }
}

/** Drops a collection on the destination, and marks it dropped by this event. */
export async function removeCollection(
  context: DdlContext,
  event: ChangeEvent,
  collection: MigratedCollection,
  signal: AbortSignal,
): Promise<void> {
  const { collections, destination, indexes } = context;
  if (collection.destinationUuid === undefined)
    throw new InvariantError(`${collection.name} has no UUID on the destination`);
  await indexes.hold([collection.id], signal);
  try {
    await dropCollection(destination, collection.ns, collection.destinationUuid, signal);
    await collections.update(collection.id, { dropped: true, droppedBy: positionOf(event) }, signal);
  } finally {
    indexes.release([collection.id]);
  }
}

/** Carries out a collMod, but for what is held back until the commit: that is only noted. */
export async function modifyCollection(
  context: DdlContext,
  event: CollectionEvent,
  signal: AbortSignal,
): Promise<void> {
  const { collections, destination, indexes } = context;
  const id = event.collection;
  const collection = collections.get(id);
  if (collection === undefined || collection.dropped) return;
  const change = descriptionOf(event);
  const now = immediateChange(change);
  if (Object.keys(now).length > 0) {
    // A collMod is refused (12587) while an index of the collection is being built.
    await indexes.hold([id], signal);
    try {
      await changeCatalog(destination, collection.ns.db, { collMod: collection.ns.coll, ...now }, signal);
    } finally {
      indexes.release([id]);
    }
  }
  const index = change.get('index');
  await collections.update(
    id,
    ({ options, indexes: specs }) => ({
      options: modifiedOptions(options, change),
      indexes:
        index instanceof Map
          ? specs.map((spec) => (isNamedBy(spec, index) ? modifiedIndex(spec, index) : spec))
          : specs,
    }),
    signal,
  );
}

/** Notes which indexes the source has now: the index builder makes and drops them. */
export async function changeIndexes(context: DdlContext, event: ChangeEvent, signal: AbortSignal): Promise<void> {
  const { collections, indexes } = context;
  const collection = event.collection === undefined ? undefined : collections.get(event.collection);
  if (collection === undefined || collection.dropped) return;
  const specs = descriptionOf(event).get('indexes') as OrderedDoc[];
  const names = new Set(specs.map(indexName));
  const isCreation = event.operation === 'createIndexes';
  await collections.update(
    collection.id,
    (current) => {
      const others = current.indexes.filter((spec) => !names.has(indexName(spec)));
      return { indexes: isCreation ? [...others, ...specs] : others };
    },
    signal,
  );
  indexes.changed(collection.id);
}

/** Whether the `index` of a collMod means this one: by its name or by its key. */
function isNamedBy(spec: OrderedDoc, change: OrderedDoc): boolean {
  const name = change.get('name');
  if (name !== undefined) return indexName(spec) === String(name);
  return canonicalText(spec.get('key')) === canonicalText(change.get('keyPattern'));
}
