import type { OrderedDoc } from '../cluster/bson.js';
import { type CatalogEntry, listCollections, listDatabases, listIndexes } from '../cluster/catalog.js';
import type { Cluster } from '../cluster/cluster.js';
import { comparableOptions } from '../cluster/collection-spec.js';
import { comparableIndex, indexName } from '../cluster/index-spec.js';
import { nsText } from '../cluster/namespace.js';
import { uuidText } from '../cluster/raw-writes.js';
import { AppError } from '../errors.js';
import { mapLimit } from '../lib/limit.js';
import type { CollectionMap } from '../metadata/collections.js';

const PARALLEL = 8;
const MAX_NAMED = 20;

/**
 * Compares the source's catalog with what the migration recorded from the catalog and the DDL events. A difference means
 * that something changed without an event, so the destination cannot be right. Errors: CatalogDiffers, with what differs.
 */
export async function checkCatalog(source: Cluster, collections: CollectionMap, signal: AbortSignal): Promise<void> {
  const databases = await listDatabases(source, signal);
  const entries = (
    await mapLimit(databases, PARALLEL, (db, inner) => listCollections(source, db, inner), signal)
  ).flat();
  const found = await mapLimit(
    entries,
    PARALLEL,
    (entry, inner) => differencesOf(source, collections, entry, inner),
    signal,
  );
  const onSource = new Set(entries.map((entry) => nsText(entry.ns)));
  const missing = [...collections.live(), ...collections.views()]
    .map((each) => nsText(each.ns))
    .filter((ns) => !onSource.has(ns));
  const differences = [...found.flat(), ...missing.map((ns) => `${ns} is not on the source`)];
  if (differences.length > 0) {
    const more = differences.length > MAX_NAMED ? `; and ${differences.length - MAX_NAMED} more` : '';
    throw new AppError(
      'CatalogDiffers',
      `the catalog of the source is not what its change events told: ${differences.slice(0, MAX_NAMED).join('; ')}${more}`,
    );
  }
}

async function differencesOf(
  source: Cluster,
  collections: CollectionMap,
  entry: CatalogEntry,
  signal: AbortSignal,
): Promise<string[]> {
  const ns = nsText(entry.ns);
  if (entry.type === 'view') {
    const view = collections.view(entry.ns);
    if (view === undefined) return [`the view ${ns} is new`];
    return comparableOptions(view.options) === comparableOptions(entry.options)
      ? []
      : [`the view ${ns} is defined otherwise`];
  }
  const collection = entry.uuid === undefined ? undefined : collections.get(uuidText(entry.uuid));
  if (collection === undefined || collection.dropped || nsText(collection.ns) !== ns)
    return [`${ns} is another collection`];
  const differences: string[] = [];
  if (comparableOptions(collection.options) !== comparableOptions(entry.options))
    differences.push(`${ns} has other options`);
  const names = differingIndexes(collection.indexes, await listIndexes(source, entry.ns, signal));
  if (names.length > 0) differences.push(`${ns} has other indexes (${names.join(', ')})`);
  return differences;
}

function differingIndexes(recorded: readonly OrderedDoc[], actual: readonly OrderedDoc[]): string[] {
  const inRecord = new Set(recorded.map(comparableIndex));
  const onSource = new Set(actual.map(comparableIndex));
  const differing = [
    ...actual.filter((spec) => !inRecord.has(comparableIndex(spec))),
    ...recorded.filter((spec) => !onSource.has(comparableIndex(spec))),
  ];
  return [...new Set(differing.map(indexName))];
}
