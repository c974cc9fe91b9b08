/** Finds the migration that an earlier process began, and decides which cluster is which in it. */
import type { Cluster } from '../cluster/cluster.js';
import { AppError } from '../errors.js';
import { MetadataReader } from '../metadata/reader.js';
import type { MigrationRecord } from '../metadata/records.js';

/** A migration that an earlier process began, and which cluster is which in it. */
export interface Found {
  readonly record: MigrationRecord;
  readonly source: Cluster;
  readonly destination: Cluster;
}

/**
 * Looks for a migration's metadata on both clusters: it is always on the destination, and which one that is was the
 * starter's choice, until a reversal; of two records the higher generation counts. What another pair of clusters has
 * left behind, committed, on one of these is no obstacle: a destination may become the source of the next migration.
 * Errors: ClustersChanged when a migration that is not over belongs to other clusters than these (by replica set id,
 * so new hosts and passwords do not matter).
 *
 * What another tool or another version has left is told to `onUnreadable`: which cluster will be the destination is not
 * known yet, and only there it is in the way, which `check` and `start` say.
 */
export async function findMigration(
  clusters: readonly [Cluster, Cluster],
  db: string,
  onUnreadable: (error: AppError) => void,
  signal: AbortSignal,
): Promise<Found | undefined> {
  const [cluster0, cluster1] = clusters;
  const found: Found[] = [];
  for (const [destination, source] of [
    [cluster1, cluster0],
    [cluster0, cluster1],
  ] as const) {
    const record = await loadReadable(new MetadataReader(destination, db), onUnreadable, signal);
    if (record !== undefined) found.push({ record, source, destination });
  }
  const [ours] = found
    .filter((each) => each.record.moved !== true && obstacles(each).length === 0)
    .sort((a, b) => generationOf(b.record) - generationOf(a.record));
  if (ours !== undefined) return ours;
  const [other] = found.filter(
    (each) => isLive(each.record) || (each.record.moved !== true && otherIds(each).length === 0),
  );
  if (other !== undefined) throw otherClusters(other, db);
  return undefined;
}

async function loadReadable(
  store: MetadataReader,
  onUnreadable: (error: AppError) => void,
  signal: AbortSignal,
): Promise<MigrationRecord | undefined> {
  try {
    return await store.loadMigration(signal);
  } catch (error) {
    if (!isUnreadable(error)) throw error;
    onUnreadable(error);
    return undefined;
  }
}

/** Whether a metadata database holds what this program did not write, or cannot read. */
export function isUnreadable(error: unknown): error is AppError {
  return error instanceof AppError && (error.code === 'ForeignMetadata' || error.code === 'MetadataUnreadable');
}

/** How often a migration was reversed. */
export function generationOf(record: MigrationRecord): number {
  return record.generation ?? 0;
}

/** Whether a migration still works on its destination, or has failed on the way: neither committed nor moved away. */
export function isLive(record: MigrationRecord): boolean {
  return record.state !== 'COMMITTED' && record.moved !== true;
}

/** Why a record is not of the migration between these clusters, in this direction; empty when it is. */
function obstacles(found: Found): string[] {
  const { record, destination } = found;
  return [
    ...otherIds(found),
    ...(record.options['destination'] === destination.name ? [] : [`cluster0 and cluster1 are exchanged`]),
  ];
}

function otherIds({ record, source, destination }: Found): string[] {
  return [
    ...(record.sourceId !== '' && source.facts.setId !== record.sourceId
      ? [`${source.name} is not the source that it began with`]
      : []),
    ...(record.destinationId !== '' && destination.facts.setId !== record.destinationId
      ? [`${destination.name} is not the destination that it began with`]
      : []),
  ];
}

function otherClusters(found: Found, db: string): AppError {
  const { destination, record } = found;
  return new AppError(
    'ClustersChanged',
    `the migration on ${destination.label} (${db}, ${record.state}) belongs to other clusters: ${obstacles(found).join('; ')}. Restart with the same --cluster0 and --cluster1; for another migration beside it, give each a --migrationName of its own`,
  );
}
