/** Measures other tools beside mongoferry, on the same data and the same servers. */
import type { Timestamp } from 'mongodb';
import { cpuSeconds, cpuSecondsWithChildren } from '../../test/support/cpu-seconds.js';
import { ReplicaSet, startPair } from '../../test/support/replica-set.js';
import { seedBulk } from '../../test/support/seed-data-bulk.js';
import { makeEvents } from '../events.js';
import { type Figure, progress, timed } from '../figures.js';
import type { Dataset } from '../floors.js';
import { Migration, peakMemoryMiB } from '../migration.js';
import { ClusterSync } from '../peers/clustersync.js';
import { DumpAndRestore } from '../peers/dump-and-restore.js';
import { large, ordinary, seed } from './copies.js';
import { plainLoop } from './small-collections.js';

/** What another tool took: seconds of the clock and of processors, and its memory where it is one process. */
interface Taken {
  readonly what: string;
  readonly seconds: number;
  readonly cpu: number;
  readonly memoryMiB?: number;
}

/** What is copied beside the others. */
export type PeerData = 'documents' | 'large-documents' | 'collections';

/** The initial sync until a commit would succeed, and the same copy by each other tool that runs here. */
export async function peerRows(kind: PeerData, size: number): Promise<Figure[]> {
  await using source = await ReplicaSet.start({ name: 'source' });
  progress('seeding');
  const database = await seedFor(kind, source, size);
  progress('mongoferry');
  const ours = await onFreshSet(async (destination) => {
    await using migration = await Migration.open(source, destination);
    return await migration.sync(false);
  });
  const others = [await dumpAndRestore(source, database), await clusterSync(source)].filter(
    (each) => each !== undefined,
  );
  return others.map(({ what, seconds, cpu, memoryMiB }) => ({
    ...{ what: `initial sync beside ${what}`, value: ours.seconds, unit: 's', floor: { what, value: seconds } },
    ...{ bar: 1, atLeast: true, cpu: ours.cpu },
    more: { 'its CPU s': cpu, ...(memoryMiB && { 'its MiB': memoryMiB, 'own MiB': ours.memoryMiB }) },
  }));
}

/** Draining events that piled up during a pause, as in the row `draining`. */
export async function peerDrainingRows(events: number): Promise<Figure[]> {
  const program = await ClusterSync.find();
  if (program === undefined) return [];
  const data: Dataset = { db: 'bulk', collections: 4, documents: events, documentBytes: 400, indexes: 2 };
  await using pair = await startPair();
  await using third = await ReplicaSet.start({ name: 'third' });
  const source = await pair.source.connect();
  progress('seeding');
  await seedBulk(source, data);
  await using migration = await Migration.open(pair.source, pair.destination);
  const { client } = migration;
  await migration.sync(false);
  await client.pause();
  const applied = (await client.waitForState('PAUSED')).totalEventsApplied ?? 0;
  await using sync = await ClusterSync.open(program, pair.source, third);
  await sync.sync();
  await sync.pause();
  progress('making the events');
  await makeEvents(source, data, events);
  const { operationTime } = await source.db('admin').command({ ping: 1 });
  progress('mongoferry');
  const { seconds, cpu } = await migration.measure(async () => {
    await client.resume();
    const share = ({ totalEventsApplied = 0 }) => (totalEventsApplied - applied) / events;
    await migration.until((snapshot) => share(snapshot) >= 1, share);
  });
  await migration.ferry.kill();
  progress(ClusterSync.what);
  const before = cpuSeconds(sync.pid);
  const other = await timed(() => sync.resumeUntil(operationTime as Timestamp));
  const more = { 'its CPU s': cpuSeconds(sync.pid) - before, 'its MiB': peakMemoryMiB(sync.pid) };
  const floor = { what: ClusterSync.what, value: other.seconds };
  return [
    { what: `draining beside ${floor.what}`, value: seconds, unit: 's', floor, bar: 1, atLeast: true, cpu, more },
  ];
}

/** Makes the data; gives the name of its database. */
async function seedFor(kind: PeerData, source: ReplicaSet, size: number): Promise<string> {
  if (kind === 'collections') {
    await plainLoop(source, size);
    return 'small';
  }
  const data = kind === 'documents' ? ordinary(size) : large(size);
  await seed(source, data);
  return data.db;
}

async function dumpAndRestore(source: ReplicaSet, database: string): Promise<Taken | undefined> {
  const tools = await DumpAndRestore.find();
  if (tools === undefined) return undefined;
  const { what } = DumpAndRestore;
  progress(what);
  return await onFreshSet(async (destination) => {
    const before = childrensSeconds();
    const { seconds } = await timed(() => tools.copy(source, destination, database));
    return { what, seconds, cpu: childrensSeconds() - before };
  });
}

async function clusterSync(source: ReplicaSet): Promise<Taken | undefined> {
  const program = await ClusterSync.find();
  if (program === undefined) return undefined;
  const { what } = ClusterSync;
  progress(what);
  return await onFreshSet(async (destination) => {
    await using sync = await ClusterSync.open(program, source, destination);
    const { seconds } = await timed(() => sync.sync());
    return { what, seconds, cpu: cpuSeconds(sync.pid), memoryMiB: peakMemoryMiB(sync.pid) };
  });
}

/** Of the programs that this process has run to their end. */
function childrensSeconds(): number {
  return cpuSecondsWithChildren(process.pid) - cpuSeconds(process.pid);
}

async function onFreshSet<T>(work: (set: ReplicaSet) => Promise<T>): Promise<T> {
  await using set = await ReplicaSet.start({ name: 'fresh' });
  return await work(set);
}
