import type { OrderedDoc } from '../cluster/bson.js';
import { findCollection, listIndexes } from '../cluster/catalog.js';
import type { Cluster } from '../cluster/cluster.js';
import { comparableOptions } from '../cluster/collection-spec.js';
import { builtText, indexName, relaxedIndex, splitTwins } from '../cluster/index-spec.js';
import { describeNs } from '../cluster/namespace.js';
import { settled } from '../cluster/settled.js';
import { mapLimit } from '../lib/limit.js';
import type { MigratedCollection, MigratedView } from '../metadata/collections.js';
import type { VerifiedCollections } from './context.js';

const PARALLEL = 8;

/**
 * Compares the destination's indexes and views with what the migration recorded of the source's: those that are missing,
 * additional or otherwise. What is held back until the commit (uniqueness, expiry, hidden) does not count. Resolves with
 * one line for each difference. Collections and their options are compared by the commit.
 */
export async function compareCatalog(
  destination: Cluster,
  collections: VerifiedCollections,
  isBuilt: (spec: OrderedDoc) => boolean,
  signal: AbortSignal,
): Promise<string[]> {
  const look = (): Promise<string[]> => differencesOf(destination, collections, isBuilt, signal);
  return (await settled(destination, signal, look)).value;
}

async function differencesOf(
  destination: Cluster,
  collections: VerifiedCollections,
  isBuilt: (spec: OrderedDoc) => boolean,
  signal: AbortSignal,
): Promise<string[]> {
  const indexes = await mapLimit(
    collections.live(),
    PARALLEL,
    (each, inner) => compareIndexes(destination, each, isBuilt, inner),
    signal,
  );
  const views = await mapLimit(
    collections.views(),
    PARALLEL,
    (each, inner) => compareView(destination, each, inner),
    signal,
  );
  return [...indexes.flat(), ...views.flat()];
}

async function compareIndexes(
  destination: Cluster,
  collection: MigratedCollection,
  isBuilt: (spec: OrderedDoc) => boolean,
  signal: AbortSignal,
): Promise<string[]> {
  const wanted = new Map(
    [...splitTwins(collection.indexes.filter(isBuilt)).built, ...(collection.kept ?? [])].map(
      (spec) => [indexName(spec), builtText(relaxedIndex(spec, collection.options).spec)] as const,
    ),
  );
  const actual = await listIndexes(destination, collection.ns, signal);
  const ns = collection.name;
  const differences: string[] = [];
  for (const spec of actual) {
    const name = indexName(spec);
    const text = wanted.get(name);
    wanted.delete(name);
    if (text === undefined) differences.push(`${ns} has an index ${name} that the source has not`);
    else if (text !== builtText(relaxedIndex(spec, collection.options).spec))
      differences.push(`${ns} has another index ${name}`);
  }
  return [...differences, ...[...wanted.keys()].map((name) => `${ns} lacks the index ${name}`)];
}

async function compareView(destination: Cluster, view: MigratedView, signal: AbortSignal): Promise<string[]> {
  const found = await findCollection(destination, view.ns, signal);
  if (found === undefined) return [`the view ${describeNs(view.sourceNs, view.ns)} is missing`];
  return found.type === 'view' && comparableOptions(found.options) === comparableOptions(view.options)
    ? []
    : [`the view ${describeNs(view.sourceNs, view.ns)} is defined otherwise`];
}
