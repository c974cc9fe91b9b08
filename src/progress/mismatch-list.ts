/** Reads the stored mismatches page by page. */
import { idText } from '../bson/bson.js';
import { Cluster } from '../cluster/cluster.js';
import type { Logger } from '../lib/logger.js';
import { MetadataReader } from '../metadata/reader.js';
import type { MigrationRecord } from '../metadata/records.js';
import { readMismatchPage } from '../metadata/verification-store.js';
import type { ConnectConfig } from '../start/connect.js';
import { generationOf } from '../start/recover.js';
import { MISMATCH_PAGE_BYTES, type Mismatch } from './control.js';

/**
 * Mismatches in the order of their ids, from after `after` ('' for the first): as many as `limit`, or one more than
 * there is room for in an answer.
 */
export async function readMismatches(
  store: MetadataReader,
  after: string,
  limit: number,
  signal: AbortSignal,
): Promise<readonly Mismatch[]> {
  const found: Mismatch[] = [];
  let bytes = 0;
  for (let page = await readMismatchPage(store, after, limit, signal); page.length > 0; ) {
    for (const { key, namespace, id, kind, field, foundAt } of page) {
      found.push({ id: key, namespace, documentId: idText(id), kind, field, foundAt });
      bytes += found.at(-1)?.documentId.length ?? 0;
      if (found.length === limit || bytes > MISMATCH_PAGE_BYTES) return found;
    }
    page = await readMismatchPage(store, found.at(-1)?.id ?? after, limit - found.length, signal);
  }
  return found;
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
        const store = new MetadataReader(cluster, db);
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
