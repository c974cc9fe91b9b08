/** Carries out renames of collections, also those that enter or leave the filter. */
import { renameCollection } from '../catalog/destination-catalog.js';
import { isConvertToCappedTemporary, isOutTemporary, nsText } from '../catalog/namespace.js';
import { type ChangeEvent, namespaceOf, positionOf } from '../documents/change-event.js';
import { InvariantError } from '../errors.js';
import { adoptNewcomer } from './adopt.js';
import { removeCollection } from './collections.js';
import type { Attempt, DdlContext } from './context.js';
import { dropTargetOf, targetOf } from './event.js';
import { entersFilter, leavesFilter, requireFreeName, requireNoClash } from './name-conflicts.js';
import { removeLostView } from './views.js';

/** Renames a collection, with what it replaces dropped. Errors: UnsupportedChange. */
export async function followRename(
  context: DdlContext,
  event: ChangeEvent,
  { isReplay }: Attempt,
  signal: AbortSignal,
): Promise<void> {
  const { collections, destination, indexes, scope } = context;
  const from = namespaceOf(event);
  const sourceNs = targetOf(event);
  const to = scope.target(sourceNs);
  if (!(await scope.follows(from, signal)) || !(await scope.follows(sourceNs, signal)))
    return renameAcrossFilter(context, event, { isReplay }, signal);
  const collection = event.collection === undefined ? undefined : collections.get(event.collection);
  if (collection === undefined) throw new InvariantError(`a rename of the unknown collection ${nsText(from)}`);
  if (collection.destinationUuid === undefined)
    throw new InvariantError(`${collection.name} has no UUID on the destination`);
  await removeLostView(context, sourceNs, signal);
  requireNoClash(context, sourceNs);
  const targetId = dropTargetOf(event);
  const target = targetId === undefined ? undefined : collections.get(targetId);
  const held = [collection.id, ...(target === undefined ? [] : [target.id])];
  await indexes.hold(held, signal);
  try {
    await renameCollection(
      destination,
      { from: scope.target(from), to, uuid: collection.destinationUuid, target: target?.destinationUuid },
      signal,
    );
    if (target !== undefined)
      await collections.update(target.id, { dropped: true, droppedBy: positionOf(event) }, signal);
    const renamed = await collections.update(collection.id, { ns: to, sourceNs }, signal);
    if (isConvertToCappedTemporary(event.coll)) await context.copyAgain(renamed, signal);
  } finally {
    indexes.release(held);
  }
}

/**
 * A rename by which a collection enters or leaves the filter. Only what `$out` has written into a temporary
 * collection, or convertToCapped, can enter: its documents were not followed, so it is copied.
 */
async function renameAcrossFilter(
  context: DdlContext,
  event: ChangeEvent,
  { isReplay }: Attempt,
  signal: AbortSignal,
): Promise<void> {
  const { collections, scope } = context;
  const from = namespaceOf(event);
  const to = targetOf(event);
  if (!(await scope.follows(to, signal))) throw leavesFilter(from, to);
  const isTemporary = isOutTemporary(from.coll) || isConvertToCappedTemporary(from.coll);
  if (event.collection === undefined || !isTemporary) throw entersFilter(from, to);
  const targetId = dropTargetOf(event);
  const target = targetId === undefined ? undefined : collections.get(targetId);
  if (target !== undefined && !target.dropped) await removeCollection(context, event, target, signal);
  await removeLostView(context, to, signal);
  if (collections.get(event.collection) === undefined) await requireFreeName(context, to, { isReplay }, signal);
  await adoptNewcomer(context, event.collection, to, signal);
}
