/** Names the metadata database of a migration, and lists those of all migrations. */
import type { Cluster } from '../cluster/cluster.js';

/** The metadata database of a migration: mongosync's own name, or one of the migration's name. */
export function metadataDatabase(migrationName: string | undefined): string {
  return migrationName === undefined ? 'mongosync_reserved_for_internal_use' : `mongosync_internal_${migrationName}`;
}

/** The metadata databases of all migrations on a cluster, whichever tool's. */
export async function metadataDatabases(cluster: Cluster, signal: AbortSignal): Promise<string[]> {
  const command = {
    listDatabases: 1,
    nameOnly: true,
    filter: { name: /^mongosync_(reserved_for_internal_use$|internal_)/ },
  };
  const reply = await cluster.read('listing metadata databases', 'admin', command, signal);
  return (reply['databases'] as { name: string }[]).map((each) => each.name);
}
