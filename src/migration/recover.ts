import type { Cluster } from '../cluster/cluster.js';
import { AppError } from '../errors.js';
import type { MigrationRecord } from '../metadata/records.js';
import { MetadataStore } from '../metadata/store.js';

/** A migration that an earlier process began, and which cluster is which in it. */
export interface Found {
  readonly record: MigrationRecord;
  readonly source: Cluster;
  readonly destination: Cluster;
}

/**
 * Looks for a migration's metadata on both clusters: it is always on the destination, and which one that is was the
 * starter's choice. Errors: ClustersChanged when it belongs to other clusters than these (by replica set id, so new
 * hosts and passwords do not matter); ForeignMetadata; MetadataUnreadable.
 */
export async function findMigration(
  clusters: readonly [Cluster, Cluster],
  db: string,
  signal: AbortSignal,
): Promise<Found | undefined> {
  const [cluster0, cluster1] = clusters;
  for (const [destination, source] of [
    [cluster1, cluster0],
    [cluster0, cluster1],
  ] as const) {
    const store = new MetadataStore(destination, db);
    const record = await store.loadMigration(signal);
    if (record === undefined) continue;
    refuseOtherClusters(record, source, destination);
    return { record, source, destination };
  }
  return undefined;
}

function refuseOtherClusters(record: MigrationRecord, source: Cluster, destination: Cluster): void {
  const changed = [
    ...(record.sourceId !== '' && source.facts.setId !== record.sourceId
      ? [`${source.name} is not the source it began with`]
      : []),
    ...(record.destinationId !== '' && destination.facts.setId !== record.destinationId
      ? [`${destination.name} is not the destination it began with`]
      : []),
    ...(record.options['destination'] === destination.name ? [] : [`cluster0 and cluster1 have changed places`]),
  ];
  if (changed.length > 0) {
    throw new AppError(
      'ClustersChanged',
      `the migration on ${destination.label} belongs to other clusters: ${changed.join('; ')}. Restart with the same --cluster0 and --cluster1`,
    );
  }
}
