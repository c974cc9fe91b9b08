import { idText } from '../cluster/bson.js';
import { Cluster } from '../cluster/cluster.js';
import type { Logger } from '../lib/logger.js';
import type { MigrationRecord } from '../metadata/records.js';
import { MetadataStore } from '../metadata/store.js';
import { VerificationStore } from '../metadata/verification-store.js';
import type { ConnectConfig } from './connect.js';
import type { Mismatch } from './control.js';
import { generationOf } from './recover.js';

/** Mismatches in the order of their ids, from after `after` ('' for the first). */
export async function readMismatches(
  store: MetadataStore,
  after: string,
  limit: number,
  signal: AbortSignal,
): Promise<readonly Mismatch[]> {
  const found = await new VerificationStore(store).mismatches(after, limit, signal);
  return found.map(({ key, namespace, id, kind, foundAt }) => ({
    id: key,
    namespace,
    documentId: idText(id),
    kind,
    foundAt,
  }));
}

/** The same of a migration that has failed, and whose connections are closed. The record tells which cluster has them. */
export async function readLeftMismatches(
  config: ConnectConfig,
  db: string,
  logger: Logger,
  page: { readonly after: string; readonly limit: number },
): Promise<readonly Mismatch[]> {
  const signal = AbortSignal.timeout(READ_MS);
  const clusters: Cluster[] = [];
  try {
    const looks = await Promise.allSettled(
      (['cluster1', 'cluster0'] as const).map(async (name) => {
        const cluster = await Cluster.connect({ name, uri: config[name], logger, maxPoolSize: 2 });
        clusters.push(cluster);
        const store = new MetadataStore(cluster, db);
        return { store, record: await store.loadMigration(signal) };
      }),
    );
    // Of two records the later generation's counts, as at a start.
    const [found] = looks
      .flatMap((look) => (look.status === 'fulfilled' && look.value.record !== undefined ? [look.value] : []))
      .filter(({ record }) => record?.moved !== true)
      .sort((a, b) => generationIn(b) - generationIn(a));
    if (found !== undefined) return await readMismatches(found.store, page.after, page.limit, signal);
    for (const look of looks) if (look.status === 'rejected') throw look.reason;
    return [];
  } finally {
    await Promise.all(clusters.map((each) => each.close()));
  }
}

function generationIn({ record }: { readonly record: MigrationRecord | undefined }): number {
  return record === undefined ? -1 : generationOf(record);
}

const READ_MS = 30_000;
