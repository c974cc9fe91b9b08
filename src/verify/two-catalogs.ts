import type { OrderedDoc } from '../cluster/bson.js';
import { type CatalogEntry, listCollections, listDatabases, listIndexes } from '../cluster/catalog.js';
import type { Cluster } from '../cluster/cluster.js';
import { carriedOptions, comparableOptions, isCapped, isCollated } from '../cluster/collection-spec.js';
import { comparableIndex, indexName } from '../cluster/index-spec.js';
import { nsText } from '../cluster/namespace.js';
import { uuidText } from '../cluster/raw-writes.js';
import { mapLimit } from '../lib/limit.js';
import type { MigratedCollection } from '../metadata/collections.js';
import type { Pair } from './compare-ids.js';

const PARALLEL = 8;

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

/** Compares all collections, views, options and indexes of two clusters that are taken to be complete copies. */
export async function compareCatalogs(pair: Pair, signal: AbortSignal): Promise<CatalogComparison> {
  const [source, destination] = await Promise.all([listAll(pair.source, signal), listAll(pair.destination, signal)]);
  const differences: CatalogDifference[] = [];
  for (const [namespace, entry] of destination)
    if (!source.has(namespace)) differences.push({ namespace, kind: 'extra', detail: `a ${entry.type} more` });
  const collections = await mapLimit(
    [...source],
    PARALLEL,
    async ([namespace, entry], inner) => {
      const other = destination.get(namespace);
      if (other === undefined) {
        differences.push({ namespace, kind: 'missing', detail: `a ${entry.type} is missing` });
        return [];
      }
      return compareOne(pair, entry, other, differences, inner);
    },
    signal,
  );
  return { collections: collections.flat(), differences };
}

async function listAll(cluster: Cluster, signal: AbortSignal): Promise<Map<string, CatalogEntry>> {
  const databases = await listDatabases(cluster, signal);
  const entries = await mapLimit(databases, PARALLEL, (db, inner) => listCollections(cluster, db, inner), signal);
  return new Map(entries.flat().map((entry) => [nsText(entry.ns), entry]));
}

async function compareOne(
  pair: Pair,
  source: CatalogEntry,
  destination: CatalogEntry,
  differences: CatalogDifference[],
  signal: AbortSignal,
): Promise<MigratedCollection[]> {
  const namespace = nsText(source.ns);
  if (source.type !== destination.type) {
    differences.push({ namespace, kind: 'type', detail: `a ${source.type} there, a ${destination.type} here` });
    return [];
  }
  const options = carriedOptions(source.options);
  if (comparableOptions(options) !== comparableOptions(destination.options))
    differences.push({ namespace, kind: 'options', detail: 'the options differ' });
  if (source.type === 'timeseries')
    differences.push({
      namespace,
      kind: 'unverified',
      detail: 'the measurements of a time-series collection are not compared',
    });
  if (source.type !== 'collection' || source.uuid === undefined || destination.uuid === undefined) return [];
  const [indexes, others] = await Promise.all([
    listIndexes(pair.source, source.ns, signal),
    listIndexes(pair.destination, destination.ns, signal),
  ]);
  for (const name of differingIndexes(indexes, others)) differences.push({ namespace, kind: 'index', detail: name });
  return [
    {
      id: uuidText(source.uuid),
      ns: source.ns,
      sourceNs: source.ns,
      name: namespace,
      destinationUuid: destination.uuid,
      options,
      indexes,
      dropped: false,
      copy: { status: 'none', estimatedDocuments: 0, estimatedBytes: 0 },
      capped: isCapped(options),
      collated: isCollated(options),
    },
  ];
}

function differingIndexes(source: readonly OrderedDoc[], destination: readonly OrderedDoc[]): string[] {
  const a = new Set(source.map(comparableIndex));
  const b = new Set(destination.map(comparableIndex));
  return [
    ...new Set([
      ...source.filter((spec) => !b.has(comparableIndex(spec))).map(indexName),
      ...destination.filter((spec) => !a.has(comparableIndex(spec))).map(indexName),
    ]),
  ];
}
