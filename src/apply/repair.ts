/** Copies single documents again that the verifier has found to differ. */

import { uuidFrom } from '../bson/uuid.js';
import { nsText } from '../catalog/namespace.js';
import type { Cluster } from '../cluster/cluster.js';
import type { DocumentFilter } from '../documents/document-filter.js';
import type { DocumentWriter } from '../documents/document-writer.js';
import { remakeDocuments } from '../documents/remake.js';
import type { MigratedCollection } from '../metadata/collections.js';
import { targetOfCollection } from './lane-applier.js';

/** What a repair works with. */
export interface RepairContext {
  readonly source: Cluster;
  /** Which of its documents are migrated; undefined: all. */
  readonly filter: DocumentFilter | undefined;
  readonly writer: DocumentWriter;
  /** Copies a whole collection anew: the order of a capped one cannot be mended document by document. */
  readonly copyAgain: (collection: MigratedCollection, signal: AbortSignal) => Promise<void>;
}

/**
 * Makes documents of the destination what they are on the source now: copied again, or deleted where the source has
 * none. Call while nothing is applied to the collection; whatever changed since is replayed over it.
 * `ids`: raw `{_id: …}`. Resolves with how many they are.
 */
export async function repairDocuments(
  context: RepairContext,
  collection: MigratedCollection,
  ids: readonly Buffer[],
  signal: AbortSignal,
): Promise<number> {
  if (collection.capped) {
    await context.copyAgain(collection, signal);
    return ids.length;
  }
  const { source, filter, writer } = context;
  const target = targetOfCollection(collection);
  const uuid = source.isAtLeast(6) ? uuidFrom(Buffer.from(collection.id, 'hex')) : undefined;
  const at = { ns: collection.sourceNs, uuid, filter };
  await source.attempt(`reading ${nsText(collection.sourceNs)} again`, signal, async () => {
    await remakeDocuments({ source, writer }, { at, target, ids }, signal);
  });
  return ids.length;
}
