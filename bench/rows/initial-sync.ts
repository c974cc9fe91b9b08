/** Measures the initial sync of ordinary data, its memory, and the restart of a killed process. */
import type { MongoClient } from 'mongodb';
import { ReplicaSet, startPair } from '../../test/support/replica-set.js';
import { eventually } from '../../test/support/within.js';
import { type Figure, progress, timed } from '../figures.js';
import { naiveCopy } from '../floors.js';
import { Migration } from '../migration.js';
import { figure, ordinary, seed } from './copies.js';

/**
 * Initial sync (start until a commit would succeed: copy and index builds) against the floors; the peak memory of the
 * process over it; and how soon a killed process applies changes again.
 */
export async function initialSyncRows(documents: number): Promise<Figure[]> {
  const data = ordinary(documents);
  await using pair = await startPair();
  const floor = await seed(pair.source, data);
  progress('mongoferry');
  await using migration = await Migration.open(pair.source, pair.destination);
  const synced = await migration.sync(false);
  const restart = await restartSeconds(migration, await pair.source.connect(), await pair.destination.connect());
  return [
    figure('initial sync', synced, floor, 1.25),
    { what: 'peak memory', value: synced.memoryMiB, unit: 'MiB', bar: 400 },
    { what: 'kill -9 until applying again', value: restart, unit: 's', bar: 5 },
  ];
}

/** Against `find()` and `insertMany()` in Node, all documents decoded and encoded. */
export async function plainNodeRows(documents: number): Promise<Figure[]> {
  const data = ordinary(documents);
  await using pair = await startPair();
  await seed(pair.source, data);
  progress('the plain way in Node');
  const naive = await onFreshServer(async (third) => await naiveCopy(await pair.source.connect(), third, data));
  progress('mongoferry');
  await using migration = await Migration.open(pair.source, pair.destination);
  const synced = await migration.sync(false);
  return [{ ...figure('initial sync', synced, { what: 'plain Node', value: naive }, 2), atLeast: true }];
}

async function onFreshServer<T>(work: (client: MongoClient) => Promise<T>): Promise<T> {
  await using set = await ReplicaSet.start({ name: 'third' });
  return await work(await set.connect());
}

/** From the start of a new process, the old one having been killed, until a write it has not seen is on the destination. */
async function restartSeconds({ ferry }: Migration, source: MongoClient, destination: MongoClient): Promise<number> {
  await ferry.kill();
  const of = (client: MongoClient) => client.db('bulk').collection<{ _id: number }>('c0');
  await of(source).insertOne({ _id: -1 });
  const { seconds } = await timed(async () => {
    await ferry.restart();
    const there = () => of(destination).findOne({ _id: -1 });
    await eventually(60_000, there, 'a write applied by the new process', { everyMs: 20 });
  });
  return seconds;
}
