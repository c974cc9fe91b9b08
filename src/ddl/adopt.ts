/** Takes up a collection that comes into the filter while a migration goes on. */

import type { Binary, OrderedDoc } from '../bson/bson.js';
import { uuidFrom } from '../bson/uuid.js';
import { findByUuid, findCollection, listIndexes } from '../catalog/catalog.js';
import { carriedOptions, sameUuid } from '../catalog/collection-spec.js';
import { createCollection } from '../catalog/destination-catalog.js';
import { type Namespace, sameNs } from '../catalog/namespace.js';
import type { Scope } from '../catalog/scope.js';
import type { ShardKey } from '../catalog/shard-keys.js';
import type { Cluster } from '../cluster/cluster.js';
import { confirmed } from '../cluster/confirmed.js';
import type { WritableCluster } from '../cluster/writable-cluster.js';
import type { Layout } from '../layout/layout.js';
import type { CollectionMap, MigratedCollection } from '../metadata/collections.js';

/** What taking up a collection works with. */
export interface NewcomerContext {
  readonly source: Cluster;
  readonly destination: WritableCluster;
  readonly scope: Scope;
  readonly collections: CollectionMap;
  readonly indexes: { changed(id: string): void };
  readonly layout: Pick<Layout, 'keysOf' | 'spread'>;
  readonly copyAgain: (collection: MigratedCollection, signal: AbortSignal) => Promise<void>;
}

/**
 * Takes up a collection of the source that was not followed and has come into the filter: creates it with its options
 * and indexes as they are now, and copies it. What changed since the event that called for it is replayed over that,
 * and converges. Repeatable: it is in the map before it is copied, so a replay copies it again and creates nothing.
 *
 * One that is gone by now is made empty: the events that follow drop it.
 */
export async function adoptNewcomer(
  context: NewcomerContext,
  id: string,
  sourceNs: Namespace,
  signal: AbortSignal,
): Promise<void> {
  const { destination, scope, collections, layout } = context;
  let collection = collections.get(id);
  if (collection === undefined) {
    const ns = scope.target(sourceNs);
    const { options, indexes, sharding } = await describe(
      context.source,
      uuidFrom(Buffer.from(id, 'hex')),
      sourceNs.db,
      signal,
    );
    const { sharesDestination } = scope;
    const shardKeys = layout.keysOf(sourceNs, sharding);
    const created = { ns, options, sharesDestination, shardKey: shardKeys?.destination?.key };
    const destinationUuid = await createCollection(destination, created, signal);
    const kept = await layout.spread({ ns, options, indexes, shardKeys }, signal);
    const copy = { status: 'none', estimatedDocuments: 0, estimatedBytes: 0 } as const;
    const added = { id, ns, sourceNs, destinationUuid, options, indexes, kept, shardKeys, dropped: false, copy };
    [collection] = await collections.add([added], signal);
  }
  if (collection !== undefined) await context.copyAgain(collection, signal);
  context.indexes.changed(id);
}

/** Options and indexes of one collection: both of the same one, though it may be renamed meanwhile. */
async function describe(
  source: Cluster,
  uuid: Binary,
  db: string,
  signal: AbortSignal,
): Promise<{ options: OrderedDoc; indexes: readonly OrderedDoc[]; sharding: ShardKey | undefined }> {
  for (;;) {
    const ns = await findByUuid(source, uuid, db, signal);
    if (ns === undefined) return { options: new Map(), indexes: [], sharding: undefined };
    const look = async () => ({
      entry: await findCollection(source, ns, signal),
      indexes: await listIndexes(source, ns, signal),
    });
    const { entry, indexes } = (await confirmed(source, signal, look)).value;
    const now = await findByUuid(source, uuid, db, signal);
    if (entry !== undefined && sameUuid(entry.uuid, uuid) && now !== undefined && sameNs(now, ns))
      return { options: carriedOptions(entry.options), indexes, sharding: entry.sharding };
  }
}
