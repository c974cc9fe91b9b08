/** Follows movePrimary: a collection that is not sharded goes to another shard, and gets another UUID there. */
import { nsText, sameNs } from '../catalog/namespace.js';
import type { Scope } from '../catalog/scope.js';
import type { Cluster } from '../cluster/cluster.js';
import { type ChangeEvent, namespaceOf, positionOf } from '../documents/change-event.js';
import type { Logger } from '../lib/logger.js';
import type { CollectionMap, MigratedCollection } from '../metadata/collections.js';
import type { CollectionEvent } from './event.js';

/** What following a move works with. */
export interface MoveContext {
  readonly source: Cluster;
  readonly scope: Scope;
  readonly collections: CollectionMap;
  readonly copyAgain: (collection: MigratedCollection, signal: AbortSignal) => Promise<void>;
  readonly logger: Logger;
}

/**
 * The collection that an event of a sharded source creates a second time. movePrimary copies the documents of a database's
 * unsharded collections to the new primary shard, into collections of their names with UUIDs of their own, and drops the
 * old ones: `create` (new UUID), then `drop` (old UUID), and no event for a document (tried on 6.0.5; SERVER-120349). On a
 * replica set no name is created that has not been dropped or renamed before.
 */
export function movedFrom(
  { source, collections }: Pick<MoveContext, 'source' | 'collections'>,
  event: ChangeEvent,
): MigratedCollection | undefined {
  if (!source.isSharded || event.operation !== 'create' || event.collection === undefined) return undefined;
  const ns = namespaceOf(event);
  const isFrom = (each: MigratedCollection): boolean => sameNs(each.sourceNs, ns) && each.id !== event.collection;
  // An earlier run may have been ended while it copied.
  return collections.live().find(isFrom) ?? collections.droppedBy(positionOf(event)).find(isFrom);
}

/**
 * Takes the new UUID for the old one: the destination's collection stays, and the drop that follows is of one that is gone
 * already. A move may have taken the documents away from under the copy, and while events are behind, another one from under
 * this: so the collection is copied again after each. Repeatable.
 */
export async function followMove(
  context: MoveContext,
  event: CollectionEvent,
  from: MigratedCollection,
  signal: AbortSignal,
): Promise<void> {
  const { collections, logger } = context;
  const moved = collections.get(event.collection) ?? (await addMoved(collections, from, event.collection, signal));
  await collections.update(from.id, { dropped: true, droppedBy: positionOf(event) }, signal);
  logger.info(`${nsText(from.sourceNs)} has moved to another primary shard on the source`);
  if (moved !== undefined) await context.copyAgain(moved, signal);
}

async function addMoved(
  collections: CollectionMap,
  from: MigratedCollection,
  id: string,
  signal: AbortSignal,
): Promise<MigratedCollection | undefined> {
  const { name: _, capped: __, collated: ___, keyPaths: ____, ...kept } = from;
  return (await collections.add([{ ...kept, id }], signal))[0];
}
