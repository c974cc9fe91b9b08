/** Reads what a migration has stored, and resets clusters. */
import type { Document, MongoClient } from 'mongodb';
import { eventually } from './within.js';

/** The metadata database of a migration without a name. */
export const METADATA_DB = 'mongosync_reserved_for_internal_use';

/** The record of the migration as it stands on the destination; undefined when there is none. */
export async function storedMigration(destination: MongoClient): Promise<Document | undefined> {
  const found = await destination.db(METADATA_DB).collection('migration').findOne();
  return found ?? undefined;
}

/** Waits until the stored record is as wanted, and returns it. */
export async function storedWhen(
  destination: MongoClient,
  what: string,
  wanted: (record: Document) => boolean,
  ms = 20_000,
): Promise<Document> {
  return await eventually(
    ms,
    async () => {
      const record = await storedMigration(destination);
      return record !== undefined && wanted(record) ? record : undefined;
    },
    what,
    { everyMs: 10 },
  );
}

const KEPT = new Set(['admin', 'local', 'config']);

/** Makes clusters as if new: no fail points, no write block, no data and no metadata. No migration may be running. */
export async function resetClusters(...clients: readonly MongoClient[]): Promise<void> {
  await Promise.all(clients.map(resetOne));
}

async function resetOne(client: MongoClient): Promise<void> {
  const admin = client.db('admin');
  await admin.command({ configureFailPoint: 'failCommand', mode: 'off' }).catch(() => undefined);
  if (await isBlocked(client)) await admin.command({ setUserWriteBlockMode: 1, global: false });
  const { databases } = await admin.admin().listDatabases({ nameOnly: true });
  for (const { name } of databases) if (!KEPT.has(name)) await client.db(name).dropDatabase();
}

/** Whether a cluster deletes what TTL indexes let expire. */
export async function setExpiry(client: MongoClient, on: boolean): Promise<void> {
  await client.db('admin').command({ setParameter: 1, ttlMonitorEnabled: on });
}

/** Whether a cluster blocks its users' writes. */
export async function isBlocked(client: MongoClient): Promise<boolean> {
  const status = await client.db('admin').command({ serverStatus: 1 });
  return (status['repl'] as { userWriteBlockMode?: number }).userWriteBlockMode === 2;
}
