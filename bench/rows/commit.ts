/** Measures the commit: from its call until applications may write to the destination. */
import type { MongoClient } from 'mongodb';
import { startPair } from '../../test/support/replica-set.js';
import { type Figure, progress, timed } from '../figures.js';
import { drain } from '../floors.js';
import { Migration } from '../migration.js';

const WIDE = 8;
const WRITE_CONCERN = { w: 'majority', j: true } as const;
const SCRATCH = 'scratch';

/**
 * Collections with a unique and a TTL index each, caught up. Beside it stands what a server needs to make so many
 * indexes unique and to set so many times of expiry, 8 commands at once.
 */
export async function commitRows(collections: number): Promise<Figure[]> {
  await using pair = await startPair();
  const source = await pair.source.connect({ maxPoolSize: WIDE });
  const names = Array.from({ length: collections }, (_, index) => `c${index}`);
  progress(`commit, ${collections} collections: seeding`);
  await drain(names, (name) => create(source, 'shop', name, true), WIDE);
  await using migration = await Migration.open(pair.source, pair.destination);
  await migration.sync(false);
  progress('the commit');
  const { seconds, cpu } = await migration.measure(async () => {
    await migration.client.commit();
    await migration.until(({ canWrite }) => canWrite);
  });
  const server = await serverSeconds(source, names);
  const floor = { what: 'collMod alone', value: server };
  return [{ what: 'commit to canWrite', value: seconds, unit: 's', floor, absolute: true, bar: 0.7, cpu }];
}

async function create(client: MongoClient, db: string, name: string, unique: boolean): Promise<void> {
  const indexes = [
    { key: { n: 1 }, name: 'n', ...(unique && { unique }) },
    { key: { at: 1 }, name: 'at', expireAfterSeconds: 2_000_000_000 },
  ];
  await client.db(db).command({ createIndexes: name, indexes });
  const documents = Array.from({ length: 20 }, (_, n) => ({ _id: n, n, at: new Date() }));
  await client.db(db).command({ insert: name, documents });
}

async function serverSeconds(client: MongoClient, names: readonly string[]): Promise<number> {
  const db = client.db(SCRATCH);
  await drain(names, (name) => create(client, SCRATCH, name, false), WIDE);
  const change = async (name: string) => {
    for (const index of [
      { name: 'n', prepareUnique: true },
      { name: 'n', unique: true },
      { name: 'at', expireAfterSeconds: 3600 },
    ]) {
      await db.command({ collMod: name, index, writeConcern: WRITE_CONCERN });
    }
  };
  return (await timed(() => drain(names, change, WIDE))).seconds;
}
