/** Chooses what to do for a DDL event, by its kind. */
import { dropEmptyDatabase } from '../catalog/empty-database.js';
import { type ChangeEvent, namespaceOf } from '../documents/change-event.js';
import { AppError } from '../errors.js';
import { shardingChanged } from '../layout/source-sharding.js';
import { addCollection, changeIndexes, modifyCollection, removeCollection, shardLikeSource } from './collections.js';
import type { Attempt, DdlContext } from './context.js';
import { isOfCollection, sameDatabase } from './event.js';
import { followRename } from './renames.js';
import { addView, modifyView, removeView } from './views.js';

/** Commands that change how a collection is sharded. Source: MongoDB manual, "Change Events" (6.1 to 8.0). */
const SHARDING_EVENTS = new Set([
  'reshardCollection',
  'refineCollectionShardKey',
  'moveCollection',
  'unshardCollection',
]);

/**
 * Carries out one DDL event on the destination. A replay finds some or all of it done, and completes it by comparing
 * UUIDs. Errors: UnsupportedChange when a migration cannot follow it, ShardingChanged, DestinationModified.
 */
export async function carryOut(
  context: DdlContext,
  event: ChangeEvent,
  { isReplay }: Attempt,
  signal: AbortSignal,
): Promise<void> {
  switch (event.operation) {
    case 'create':
      return isOfCollection(event)
        ? addCollection(context, event, { isReplay }, signal)
        : addView(context, event, { isReplay }, signal);
    case 'drop':
      return drop(context, event, signal);
    case 'rename':
      return followRename(context, event, { isReplay }, signal);
    case 'dropDatabase':
      return dropDatabase(context, event, signal);
    case 'modify':
      return isOfCollection(event) ? modifyCollection(context, event, signal) : modifyView(context, event, signal);
    case 'shardCollection':
      return isOfCollection(event) ? shardLikeSource(context, event, signal) : undefined;
    case 'createIndexes':
    case 'dropIndexes':
      return changeIndexes(context, event, signal);
    default:
      throw unsupported(event);
  }
}

async function drop(context: DdlContext, event: ChangeEvent, signal: AbortSignal): Promise<void> {
  const { collections } = context;
  if (event.collection === undefined) return removeView(context, collections.view(namespaceOf(event)), signal);
  const collection = collections.get(event.collection);
  if (collection !== undefined && !collection.dropped) await removeCollection(context, event, collection, signal);
}

/**
 * Drops the collections one by one: the command dropDatabase would also drop what is not ours. Its event tells of no views, so all that the map has go. What is
 * left of the database then is dropped, too, or its name would stay taken for another one that differs in case only.
 */
async function dropDatabase(context: DdlContext, event: ChangeEvent, signal: AbortSignal): Promise<void> {
  const { collections } = context;
  for (const each of collections.live())
    if (sameDatabase(each.sourceNs, event.db)) await removeCollection(context, event, each, signal);
  for (const view of collections.views())
    if (sameDatabase(view.sourceNs, event.db)) await removeView(context, view, signal);
  await dropRest(context, event, signal);
}

/** Nothing is dropped where others may create collections meanwhile: what is created next says if the name is in the way. */
async function dropRest({ destination, scope, onWarning }: DdlContext, event: ChangeEvent, signal: AbortSignal) {
  if (scope.sharesDestination) return;
  const { db } = scope.target(namespaceOf(event));
  if ((await dropEmptyDatabase(destination, db, signal)) !== 'notPermitted') return;
  onWarning(
    `the source dropped the database ${event.db}, but the destination keeps ${db} as an empty database, because the user of ${destination.name} lacks the privilege dropDatabase`,
  );
}

function unsupported(event: ChangeEvent): AppError {
  if (SHARDING_EVENTS.has(event.operation)) return shardingChanged([`${event.operation} of ${event.db}.${event.coll}`]);
  return new AppError(
    'UnsupportedChange',
    `${event.operation} of ${event.db}.${event.coll} was run on the source during the migration: this version of mongoferry cannot follow it`,
  );
}
