/** Guards reads from servers before 6.0, whose change events tell of few catalog changes. */
import type { Binary } from '../bson/bson.js';
import type { Cluster } from '../cluster/cluster.js';
import { AppError } from '../errors.js';
import { findCollection } from './catalog.js';
import { sameUuid } from './collection-spec.js';
import { type Namespace, nsText } from './namespace.js';

/**
 * The failure of a migration from a server before 6.0 whose catalog changed: its change events do not tell enough to
 * follow that. `what`: e.g. "rename of shop.orders".
 */
export function catalogChanged(what: string): AppError {
  return new AppError(
    'UnsupportedChange',
    `${what} on the source during the migration: before 6.0, change events do not describe that well enough to follow it. Do not change collections, indexes or options of such a source until the commit`,
  );
}

/**
 * Makes sure that a name still holds the collection it did. Servers before 6.0 take no UUID with a find, and answer OK
 * and empty on a name that is gone: so this is asked before and after reading. Does nothing on later ones.
 */
export async function assertInPlace(source: Cluster, ns: Namespace, uuid: Binary, signal: AbortSignal): Promise<void> {
  if (source.isAtLeast(6)) return;
  const found = await findCollection(source, ns, signal);
  if (!sameUuid(found?.uuid, uuid)) throw catalogChanged(`${nsText(ns)} was dropped, renamed or recreated`);
}
