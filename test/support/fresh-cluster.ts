import type { MongoClient } from 'mongodb';

const SYSTEM = new Set(['admin', 'local', 'config']);

/** Makes a destination of 6.0 or later as new: lifts its write block and drops every database, metadata included. */
export async function clearCluster(client: MongoClient): Promise<void> {
  const admin = client.db('admin');
  const { repl } = await admin.command({ serverStatus: 1, repl: 1 });
  if (repl?.userWriteBlockMode === 2) await admin.command({ setUserWriteBlockMode: 1, global: false });
  await dropDatabases(client);
}

/** Drops every database that is not the server's own. */
export async function dropDatabases(client: MongoClient): Promise<void> {
  const { databases } = await client.db('admin').command({ listDatabases: 1, nameOnly: true });
  for (const { name } of databases as { name: string }[]) if (!SYSTEM.has(name)) await client.db(name).dropDatabase();
}
