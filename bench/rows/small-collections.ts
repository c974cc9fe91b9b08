/** Measures many small collections, and what a migration costs that has next to nothing to copy. */
import type { MongoClient } from 'mongodb';
import { type ReplicaSet, startPair } from '../../test/support/replica-set.js';
import { type Figure, progress, timed } from '../figures.js';
import { drain } from '../floors.js';
import { figure, synchronise } from './copies.js';

const WIDE = 8;
const DOCUMENTS = 20;
const WRITE_CONCERN = { w: 'majority', j: true } as const;

/** Collections of 20 documents with one index: the floor is a plain loop over them, 8 wide. */
export async function smallCollectionsRows(collections: number): Promise<Figure[]> {
  await using pair = await startPair();
  progress(`${collections} collections: the plain loop`);
  const floor = await plainLoop(pair.source, collections);
  const synced = await synchronise(pair.source, pair.destination, false);
  return [figure('initial sync', synced, { what: 'plain loop', value: floor }, 1.4)];
}

/** What is the same for every migration, however little there is. */
export async function fixedCostRows(documents: number): Promise<Figure[]> {
  await using pair = await startPair();
  const collections = 4;
  const floor = await plainLoop(pair.source, collections, documents / collections);
  const synced = await synchronise(pair.source, pair.destination, false);
  return [{ ...figure('initial sync', synced, { what: 'plain loop', value: floor }, 0.35), absolute: true }];
}

/** Seconds to make collections of so many documents with one index in the database `small`, 8 at a time. */
export async function plainLoop(set: ReplicaSet, collections: number, documents = DOCUMENTS): Promise<number> {
  const client = await set.connect({ maxPoolSize: WIDE });
  const names = Array.from({ length: collections }, (_, index) => `c${index}`);
  return (await timed(() => drain(names, (name) => create(client, name, documents), WIDE))).seconds;
}

async function create(client: MongoClient, name: string, count: number): Promise<void> {
  const db = client.db('small');
  const indexes = [{ key: { n: 1 }, name: 'n' }];
  await db.command({ createIndexes: name, indexes, writeConcern: WRITE_CONCERN });
  const documents = Array.from({ length: count }, (_, n) => ({ _id: n, n, text: `document ${n} of ${name}` }));
  await db.command({ insert: name, documents, writeConcern: WRITE_CONCERN });
}
