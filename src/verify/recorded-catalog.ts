/** Compares the destination's indexes and views with what the migration recorded. */
import type { OrderedDoc } from '../bson/bson.js';
import { uuidText } from '../bson/uuid.js';
import { findCollection } from '../catalog/catalog.js';
import { comparableOptions } from '../catalog/collection-spec.js';
import { indexDifferences } from '../catalog/index-comparison.js';
import { listIndexesOf } from '../catalog/index-listing.js';
import { builtText, relaxedIndex, splitTwins } from '../catalog/index-spec.js';
import { describeNs, nsText } from '../catalog/namespace.js';
import { sameKey } from '../catalog/shard-key-index.js';
import { readShardedCollections } from '../catalog/shard-keys.js';
import type { Cluster } from '../cluster/cluster.js';
import { confirmed } from '../cluster/confirmed.js';
import { mapLimit } from '../lib/limit.js';
import type { MigratedCollection, MigratedView } from '../metadata/collections.js';
import type { VerifiedCollections } from './context.js';

const PARALLEL = 8;

/**
 * Compares the destination's indexes and views with what the migration recorded of the source's: those that are missing,
 * additional or otherwise. What is held back until the commit (uniqueness, expiry, hidden) does not count. Resolves with
 * one line for each difference. Collections and their options are compared by the commit.
 */
export async function compareWithRecord(
  destination: Cluster,
  collections: VerifiedCollections,
  isBuilt: (spec: OrderedDoc) => boolean,
  signal: AbortSignal,
): Promise<string[]> {
  const look = (): Promise<string[]> => differencesOf(destination, collections, isBuilt, signal);
  return (await confirmed(destination, signal, look)).value;
}

async function differencesOf(
  destination: Cluster,
  collections: VerifiedCollections,
  isBuilt: (spec: OrderedDoc) => boolean,
  signal: AbortSignal,
): Promise<string[]> {
  const live = collections.live();
  const known = live.map(({ ns, destinationUuid: uuid }) => ({ ns, uuid }));
  const actual = await listIndexesOf(destination, known, signal);
  const indexes = live.flatMap((each) => compareRecordedIndexes(each, actual.get(nsText(each.ns)) ?? [], isBuilt));
  const views = await mapLimit(
    collections.views(),
    PARALLEL,
    (each, inner) => compareView(destination, each, inner),
    signal,
  );
  return [...indexes, ...views.flat(), ...(await compareShardKeys(destination, collections, signal))];
}

function compareRecordedIndexes(
  collection: MigratedCollection,
  actual: readonly OrderedDoc[],
  isBuilt: (spec: OrderedDoc) => boolean,
): string[] {
  const wanted = [...splitTwins(collection.indexes.filter(isBuilt)).built, ...(collection.kept ?? [])];
  const textOf = (spec: OrderedDoc): string => builtText(relaxedIndex(spec, collection.options).spec);
  return indexDifferences(wanted, actual, { textOf }).map(({ name, kind }) => {
    if (kind === 'missing') return `index ${name} of ${collection.name} is missing on the destination`;
    return kind === 'extra'
      ? `index ${name} of ${collection.name} exists only on the destination`
      : `index ${name} of ${collection.name} differs`;
  });
}

/** Uniqueness is given back after the commit, with that of other indexes. */
async function compareShardKeys(
  destination: Cluster,
  collections: VerifiedCollections,
  signal: AbortSignal,
): Promise<string[]> {
  const sharded = await readShardedCollections(destination, signal);
  const byId = new Map(sharded.map(({ uuid, key }) => [uuidText(uuid), key]));
  return collections.live().flatMap(({ name, destinationUuid, shardKeys }) => {
    const actual = destinationUuid === undefined ? undefined : byId.get(uuidText(destinationUuid));
    const wanted = shardKeys?.destination?.key;
    if (wanted === undefined || actual === undefined)
      return wanted === actual
        ? []
        : [`${name} is ${actual === undefined ? 'not sharded' : 'sharded'} on the destination`];
    return sameKey(wanted, actual) ? [] : [`${name} has another shard key on the destination`];
  });
}

async function compareView(destination: Cluster, view: MigratedView, signal: AbortSignal): Promise<string[]> {
  const found = await findCollection(destination, view.ns, signal);
  if (found === undefined) return [`the view ${describeNs(view.sourceNs, view.ns)} is missing on the destination`];
  return found.type === 'view' && comparableOptions(found.options) === comparableOptions(view.options)
    ? []
    : [`the view ${describeNs(view.sourceNs, view.ns)} has a different definition`];
}
