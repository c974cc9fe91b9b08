/** Carries out the DDL events of views. */
import { carriedOptions } from '../catalog/collection-spec.js';
import { changeCatalog, dropView, sendCreate } from '../catalog/destination-catalog.js';
import { type Namespace, nsText } from '../catalog/namespace.js';
import { type ChangeEvent, namespaceOf } from '../documents/change-event.js';
import { AppError } from '../errors.js';
import type { MigratedView } from '../metadata/collections.js';
import type { Attempt, DdlContext } from './context.js';
import { descriptionOf, isTimeSeries } from './event.js';
import { requireFreeName } from './name-conflicts.js';

/** Creates a view, which must come under a free name. Errors: UnsupportedChange, DestinationModified. */
export async function addView(
  context: DdlContext,
  event: ChangeEvent,
  { isReplay }: Attempt,
  signal: AbortSignal,
): Promise<void> {
  const { collections, destination, scope } = context;
  const sourceNs = namespaceOf(event);
  const ns = scope.target(sourceNs);
  const options = carriedOptions(descriptionOf(event));
  if (isTimeSeries(event)) {
    throw new AppError(
      'UnsupportedChange',
      `the time-series collection ${nsText(sourceNs)} was created on the source during the migration; time-series collections cannot be migrated`,
    );
  }
  if (!scope.migratesViews) {
    const text = `the view ${nsText(sourceNs)} was created on the source during the migration and is not migrated, because preExistingDestinationData is set`;
    return context.onWarning(text);
  }
  await removeLostView(context, sourceNs, signal);
  await requireFreeName(context, sourceNs, { isReplay }, signal);
  await collections.putView({ ns, sourceNs, options }, signal);
  await sendCreate(destination, { ns, options, sharesDestination: scope.sharesDestination }, signal);
}

/**
 * What comes into being under the name of a view shows that the view is gone: dropping `system.views`, which a
 * dropDatabase that a failover has broken off may have done, takes all views of a database without an event.
 */
export async function removeLostView(context: DdlContext, sourceNs: Namespace, signal: AbortSignal): Promise<void> {
  await removeView(context, context.collections.view(sourceNs), signal);
}

/** Drops a view, but only what the map has: one of that name may be somebody else's. */
export async function removeView(
  context: DdlContext,
  view: MigratedView | undefined,
  signal: AbortSignal,
): Promise<void> {
  if (view === undefined) return;
  await dropView(context.destination, view.ns, signal);
  await context.collections.deleteView(view.sourceNs, signal);
}

/** Carries out a collMod of a view. */
export async function modifyView(context: DdlContext, event: ChangeEvent, signal: AbortSignal): Promise<void> {
  const { collections, destination } = context;
  const view = collections.view(namespaceOf(event));
  if (view === undefined) return;
  const { ns } = view;
  const change = descriptionOf(event);
  await changeCatalog(destination, ns.db, { collMod: ns.coll, ...Object.fromEntries(change) }, signal);
  await collections.putView({ ...view, options: new Map([...view.options, ...change]) }, signal);
}
