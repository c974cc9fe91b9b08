/** Measures the copy: its time, its memory, and the restart of a killed process. */
import type { MongoClient } from 'mongodb';
import { FerryClient } from '../test/support/ferry-client.js';
import { FerryProcess } from '../test/support/ferry-process.js';
import { ReplicaSet, startPair } from '../test/support/replica-set.js';
import { eventually } from '../test/support/within.js';
import { type Dataset, indexFloor, insertFloor, naiveCopy } from './floors.js';
import { peakMemoryMiB } from './memory.js';
import { progress, type Row, timed } from './report.js';

const WAIT_MS = 20 * 60_000;

/**
 * Initial sync (start until a commit would succeed: copy and index builds) against the floors and the plain way in
 * Node; the peak memory of the process over it; and how soon a killed process applies changes again.
 */
export async function initialSyncRows(documents: number): Promise<Row[]> {
  const data: Dataset = { db: 'bulk', collections: 4, documents, documentBytes: 826, indexes: 2 };
  await using pair = await startPair();
  const source = await pair.source.connect();
  progress(`initial sync, ${documents} documents: the floors, on the source, which needs the data anyway`);
  const inserting = await insertFloor(source, data);
  const indexing = await indexFloor(source, data);
  progress('the plain way in Node');
  const naive = await onFreshServer((third) => naiveCopy(source, third, data));
  progress('mongoferry');
  const destination = await pair.destination.connect();
  await using ferry = await FerryProcess.start({ cluster0: pair.source.uri, cluster1: pair.destination.uri });
  using client = new FerryClient(ferry.grpcTarget);
  await client.waitUntilInitialized();
  const { seconds } = await timed(async () => {
    await client.start({ verification: { enabled: false } });
    await client.waitForCanCommit(WAIT_MS);
  });
  const memory = await peakMemoryMiB(ferry.pid);
  const restart = await restartSeconds(ferry, source, destination);
  const common = { size: documents, value: seconds, unit: 's' as const };
  return [
    {
      name: 'initial-sync',
      what: 'initial sync',
      ...common,
      floor: { what: 'inserts + index builds', value: inserting + indexing },
      bar: 1.3,
      perItem: true,
    },
    {
      name: 'initial-sync',
      what: 'initial sync, against plain Node',
      ...common,
      floor: { what: 'find, insertMany, index builds', value: naive },
      bar: 2,
      atLeast: true,
    },
    { name: 'memory', what: 'peak memory, initial sync', size: documents, value: memory, unit: 'MiB', bar: 400 },
    { name: 'restart', what: 'kill -9 until applying again', size: documents, value: restart, unit: 's', bar: 5 },
  ];
}

async function onFreshServer<T>(work: (client: MongoClient) => Promise<T>): Promise<T> {
  await using set = await ReplicaSet.start({ name: 'third' });
  return await work(await set.connect());
}

/** From the start of a new process, the old one having been killed, until a write it has not seen is on the destination. */
async function restartSeconds(ferry: FerryProcess, source: MongoClient, destination: MongoClient): Promise<number> {
  await ferry.kill();
  const marker = { db: 'bulk', collection: 'c0', _id: -1 };
  await source.db(marker.db).collection<{ _id: number }>(marker.collection).insertOne({ _id: marker._id });
  const { seconds } = await timed(async () => {
    await ferry.restart();
    const there = () =>
      destination.db(marker.db).collection<{ _id: number }>(marker.collection).findOne({ _id: marker._id });
    await eventually(60_000, there, 'a write applied by the new process', { everyMs: 20 });
  });
  return seconds;
}
