/** Refuses what DDL may not do where names meet a border: of the filter, of a remap, or of others' data. */
import { type CatalogEntry, findCollection } from '../catalog/catalog.js';
import { describeNs, isRenameTemporary, type Namespace, nsText, sameNs } from '../catalog/namespace.js';
import type { Scope } from '../catalog/scope.js';
import type { Cluster } from '../cluster/cluster.js';
import { confirmed } from '../cluster/confirmed.js';
import { AppError } from '../errors.js';
import type { CollectionMap } from '../metadata/collections.js';
import type { Attempt } from './context.js';

/**
 * What DDL may not do where names meet a border: of the filter, of two databases that are one on the destination, or of
 * what others have there. Source: docs/options.md.
 */
interface BorderContext {
  readonly destination: Cluster;
  readonly scope: Scope;
  readonly collections: CollectionMap;
}

/**
 * Makes sure that the name on the destination is free for a collection or view that appeared on the source; a replay may
 * find what it has made itself. Errors: DestinationModified when somebody else created one of that name;
 * UnsupportedChange as `requireNoClash`.
 */
export async function requireFreeName(
  context: BorderContext,
  sourceNs: Namespace,
  { isReplay }: Attempt,
  signal: AbortSignal,
): Promise<void> {
  requireNoClash(context, sourceNs);
  const ns = context.scope.target(sourceNs);
  if (isReplay) return;
  const look = (): Promise<CatalogEntry | undefined> => findCollection(context.destination, ns, signal);
  // What a primary has alone may go again.
  if ((await look()) !== undefined && (await confirmed(context.destination, signal, look)).value !== undefined) {
    throw new AppError(
      'DestinationModified',
      `someone else created ${nsText(ns)} on the destination during the migration`,
    );
  }
}

/**
 * Makes sure that no two namespaces of the source get the same name on the destination, nor names of databases that
 * differ only in case, which servers refuse. Errors: UnsupportedChange.
 */
export function requireNoClash({ collections, scope }: BorderContext, sourceNs: Namespace): void {
  if (scope.keepsNames) return;
  const ns = scope.target(sourceNs);
  const there = [...collections.live(), ...collections.views()];
  const inCase = there.find(({ ns: { db } }) => db !== ns.db && db.toLowerCase() === ns.db.toLowerCase());
  if (inCase !== undefined) {
    throw new AppError(
      'UnsupportedChange',
      `${describeNs(sourceNs, ns)} appeared on the source during the migration, but the destination has ${nsText(inCase.ns)}, whose database name differs only in case. Rename or drop one of them, and start a new migration`,
    );
  }
  const other = there.find((each) => sameNs(each.ns, ns) && !sameNs(each.sourceNs, sourceNs));
  if (other === undefined) return;
  throw new AppError(
    'UnsupportedChange',
    `${describeNs(sourceNs, ns)} appeared on the source during the migration, but ${nsText(other.sourceNs)} already has that name on the destination. Rename or drop one of them, and start a new migration`,
  );
}

/** The error of a rename that would bring in a collection whose documents were not followed. */
export function entersFilter(from: Namespace, to: Namespace): AppError {
  const what = isRenameTemporary(from.coll)
    ? `a collection of another database was renamed to ${nsText(to)} on the source during the migration. Its documents were not followed, because ${to.db} is not wholly included`
    : `${nsText(from)}, which the filter does not include, was renamed to ${nsText(to)} on the source during the migration`;
  return new AppError(
    'UnsupportedChange',
    `${what}. A collection can enter the filter only by a rename into a wholly included database. Start a new migration, if needed with the whole database ${to.db} included`,
  );
}

/** The error of a rename that takes a collection out of the filter. */
export function leavesFilter(from: Namespace, to: Namespace): AppError {
  return new AppError(
    'UnsupportedChange',
    `${nsText(from)} was renamed to ${nsText(to)} on the source during the migration, and the filter does not include the new name. Start a new migration with a filter that includes both names or the whole database`,
  );
}
