import { idText } from '../cluster/bson.js';
import { Cluster } from '../cluster/cluster.js';
import type { Logger } from '../lib/logger.js';
import { MetadataStore } from '../metadata/store.js';
import { VerificationStore } from '../metadata/verification-store.js';
import type { ConnectConfig } from './connect.js';
import type { Mismatch } from './control.js';

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
  for (const name of ['cluster1', 'cluster0'] as const) {
    const cluster = await Cluster.connect({ name, uri: config[name], logger, maxPoolSize: 2 });
    try {
      const store = new MetadataStore(cluster, db);
      const record = await store.loadMigration(signal);
      if (record !== undefined && record.moved !== true)
        return await readMismatches(store, page.after, page.limit, signal);
    } finally {
      await cluster.close();
    }
  }
  return [];
}

const READ_MS = 30_000;
