/** Takes from existing collections what a destination must not have before its commit. */
import type { Doc, OrderedDoc } from '../bson/bson.js';
import { findCollection, listIndexes } from '../catalog/catalog.js';
import { holdBackCommand } from '../catalog/collection-spec.js';
import { changeCatalog } from '../catalog/destination-catalog.js';
import { heldBackChanges } from '../catalog/index-spec.js';
import { nsText } from '../catalog/namespace.js';
import type { WritableCluster } from '../cluster/writable-cluster.js';
import { AppError } from '../errors.js';
import { mapLimit } from '../lib/limit.js';
import type { CollectionMap, MigratedCollection } from '../metadata/collections.js';

const PARALLEL = 8;

/**
 * Takes from collections that are there, by collMod, what a fresh destination is made without until the commit: expiry,
 * uniqueness, hiding, capped sizes, pre-images. Compares with what is there first, so it is repeatable.
 * Errors: DestinationModified.
 */
export async function holdBack(
  destination: WritableCluster,
  collections: CollectionMap,
  isBuilt: (spec: OrderedDoc) => boolean,
  signal: AbortSignal,
): Promise<void> {
  await mapLimit(collections.live(), PARALLEL, (each, inner) => holdBackOne(destination, each, isBuilt, inner), signal);
}

async function holdBackOne(
  destination: WritableCluster,
  { ns, destinationUuid }: MigratedCollection,
  isBuilt: (spec: OrderedDoc) => boolean,
  signal: AbortSignal,
): Promise<void> {
  const change = (fields: Doc): Promise<boolean> =>
    changeCatalog(destination, ns.db, { collMod: ns.coll, collectionUUID: destinationUuid, ...fields }, signal);
  const found = await findCollection(destination, ns, signal);
  if (found === undefined) throw new AppError('DestinationModified', `${nsText(ns)} is gone from ${destination.label}`);
  const fields = holdBackCommand(found.options);
  if (Object.keys(fields).length > 0) await change(fields);
  for (const spec of (await listIndexes(destination, ns, signal)).filter(isBuilt))
    for (const index of heldBackChanges(spec)) await change({ index });
}
