/** Compares the catalogs of two clusters, one of which is to be a copy of the other. */
import type { OrderedDoc } from '../bson/bson.js';
import { uuidText } from '../bson/uuid.js';
import { type CatalogEntry, listCollectionsOf, listDatabases } from '../catalog/catalog.js';
import { carriedOptions, comparableOptions, isCapped, isCollated } from '../catalog/collection-spec.js';
import { indexDifferences } from '../catalog/index-comparison.js';
import { listIndexesOf } from '../catalog/index-listing.js';
import { comparableIndex } from '../catalog/index-spec.js';
import { describeNs, nsText } from '../catalog/namespace.js';
import type { Scope } from '../catalog/scope.js';
import { sameKey } from '../catalog/shard-key-index.js';
import type { Cluster } from '../cluster/cluster.js';
import { confirmed } from '../cluster/confirmed.js';
import { keyPathsOf, type MigratedCollection } from '../metadata/collections.js';
import type { Pair } from './compare-ids.js';

/** A namespace that is not the same in both catalogs. */
export interface CatalogDifference {
  readonly namespace: string;
  readonly kind: 'missing' | 'extra' | 'type' | 'options' | 'index' | 'unverified';
  readonly detail: string;
}

/** Two catalogs: the collections that both have, paired by name, and all that differs. */
export interface CatalogComparison {
  readonly collections: readonly MigratedCollection[];
  readonly differences: readonly CatalogDifference[];
}

/** What the destination is taken to be a copy of. */
export interface CopiedPart {
  /** Which of the source's namespaces, and under which names. */
  readonly scope: Scope;
  /** Which of their indexes. */
  readonly isBuilt: (spec: OrderedDoc) => boolean;
}

/**
 * Compares collections, views, options and indexes of two clusters, the second of which is taken to be a complete copy
 * of a part of the first. A namespace is named as on the source; one more on the destination as it is there.
 */
export async function compareCatalogs(pair: Pair, part: CopiedPart, signal: AbortSignal): Promise<CatalogComparison> {
  const compare = (): Promise<CatalogComparison> => compareAsTheyAre(pair, part, signal);
  const onSource = async (): Promise<CatalogComparison> => (await confirmed(pair.source, signal, compare)).value;
  return (await confirmed(pair.destination, signal, onSource)).value;
}

async function compareAsTheyAre(pair: Pair, part: CopiedPart, signal: AbortSignal): Promise<CatalogComparison> {
  const { scope } = part;
  const [source, copies] = await Promise.all([
    listSource(pair.source, scope, signal),
    listCopies(pair.destination, scope, signal),
  ]);
  const differences: CatalogDifference[] = [];
  const wanted = new Set(source.map(({ ns }) => nsText(scope.target(ns))));
  for (const [namespace, entry] of copies)
    if (!wanted.has(namespace))
      differences.push({ namespace, kind: 'extra', detail: `the ${entry.type} exists only on the destination` });
  const pairs = source.flatMap((entry) => {
    const other = copies.get(nsText(scope.target(entry.ns)));
    if (other !== undefined) return [{ source: entry, destination: other }];
    differences.push({
      namespace: nsText(entry.ns),
      kind: 'missing',
      detail: `the ${entry.type} exists only on the source`,
    });
    return [];
  });
  const comparable = pairs.filter(
    (each) => each.source.type === 'collection' && each.destination.type === 'collection',
  );
  const [indexes, others] = await Promise.all([
    listIndexesOf(
      pair.source,
      comparable.map((each) => each.source),
      signal,
    ),
    listIndexesOf(
      pair.destination,
      comparable.map((each) => each.destination),
      signal,
    ),
  ]);
  const collections = pairs.flatMap((each) => {
    const listed: TwoListings = {
      source: indexes.get(nsText(each.source.ns)) ?? [],
      destination: others.get(nsText(each.destination.ns)) ?? [],
    };
    return compareOne(pair, part, each, listed, differences);
  });
  return { collections, differences };
}

async function listSource(cluster: Cluster, scope: Scope, signal: AbortSignal): Promise<CatalogEntry[]> {
  const databases = await scope.databases(await listDatabases(cluster, signal), signal);
  const entries = await listCollectionsOf(cluster, databases, signal);
  return (await scope.select(entries, signal)).filter((entry) => isCopied(entry, scope));
}

/** What the destination has in the places of what is, or could be, copied. */
async function listCopies(cluster: Cluster, scope: Scope, signal: AbortSignal): Promise<Map<string, CatalogEntry>> {
  const entries = await listCollectionsOf(cluster, await listDatabases(cluster, signal), signal);
  const found: [string, CatalogEntry][] = [];
  for (const entry of entries) {
    if (isCopied(entry, scope) && (await scope.isTarget(entry.ns, signal))) found.push([nsText(entry.ns), entry]);
  }
  return new Map(found);
}

function isCopied({ type }: CatalogEntry, scope: Scope): boolean {
  return type !== 'view' || scope.migratesViews;
}

function sameKeys(a: OrderedDoc | undefined, b: OrderedDoc | undefined): boolean {
  return a === undefined || b === undefined ? a === b : sameKey(a, b);
}

/** The indexes of one collection on both clusters. */
interface TwoListings {
  readonly source: readonly OrderedDoc[];
  readonly destination: readonly OrderedDoc[];
}

function compareOne(
  pair: Pair,
  { isBuilt }: CopiedPart,
  { source, destination }: { readonly source: CatalogEntry; readonly destination: CatalogEntry },
  listed: TwoListings,
  differences: CatalogDifference[],
): MigratedCollection[] {
  const namespace = nsText(source.ns);
  if (source.type !== destination.type) {
    differences.push({
      namespace,
      kind: 'type',
      detail: `a ${source.type} on the source, a ${destination.type} on the destination`,
    });
    return [];
  }
  const options = carriedOptions(source.options);
  if (comparableOptions(options) !== comparableOptions(destination.options))
    differences.push({ namespace, kind: 'options', detail: 'the options differ' });
  const keys = [source.sharding?.key, destination.sharding?.key];
  // Where one side is a replica set, nothing is to be compared.
  if (pair.source.isSharded && pair.destination.isSharded && !sameKeys(keys[0], keys[1]))
    differences.push({ namespace, kind: 'options', detail: 'the shard keys differ' });
  if (source.type === 'timeseries')
    differences.push({
      namespace,
      kind: 'unverified',
      detail: 'the measurements of a time-series collection are not compared',
    });
  if (source.type !== 'collection' || source.uuid === undefined || destination.uuid === undefined) return [];
  const { source: indexes, destination: others } = listed;
  for (const { name } of indexDifferences(indexes, others, { textOf: comparableIndex, isRequired: isBuilt }))
    differences.push({ namespace, kind: 'index', detail: name });
  return [
    {
      id: uuidText(source.uuid),
      ns: destination.ns,
      sourceNs: source.ns,
      name: describeNs(source.ns, destination.ns),
      destinationUuid: destination.uuid,
      options,
      indexes,
      dropped: false,
      copy: { status: 'none', estimatedDocuments: 0, estimatedBytes: 0 },
      shardKeys: { source: source.sharding, destination: destination.sharding },
      keyPaths: keyPathsOf({ source: source.sharding, destination: destination.sharding }),
      capped: isCapped(options),
      collated: isCollated(options),
    },
  ];
}
