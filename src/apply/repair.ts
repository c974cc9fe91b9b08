/** Copies single documents again that the verifier has found to differ. */

import { idDocument } from '../bson/raw-document.js';
import { deleteStatement } from '../bson/raw-statements.js';
import { uuidFrom } from '../bson/uuid.js';
import { nsText } from '../catalog/namespace.js';
import type { Cluster } from '../cluster/cluster.js';
import type { DocumentFilter } from '../documents/document-filter.js';
import { type DocumentWriter, refusedError } from '../documents/document-writer.js';

import { readByIds } from '../documents/read-by-id.js';
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
    // Deleted first: a document under an _id that is only equal must not stay.
    const [refused] = await writer.send(target, { kind: 'delete', statements: ids.map(deleteStatement) }, signal);
    if (refused !== undefined) throw refusedError(target, refused);
    for await (const documents of readByIds(source, at, ids, signal)) {
      if (documents === 'gone') return;
      await writer.putSurely(
        target,
        documents.filter((doc) => idDocument(doc) !== undefined),
        signal,
      );
    }
  });
  return ids.length;
}
