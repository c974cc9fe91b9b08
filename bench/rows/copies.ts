/** Measures initial syncs of several kinds of data, each against inserting the same documents from memory. */
import { createHash } from 'node:crypto';
import { UUID } from 'mongodb';
import { cpuSeconds } from '../../test/support/cpu-seconds.js';
import { ReplicaSet, startPair } from '../../test/support/replica-set.js';
import { type Figure, progress } from '../figures.js';
import { type Dataset, indexFloor, insertFloor } from '../floors.js';
import { Migration, type Synced } from '../migration.js';

const MEMORY_BAR = 400;

/** 826 bytes each, in 4 collections with 2 secondary indexes. */
export const ordinary = (documents: number): Dataset => {
  return { db: 'bulk', collections: 4, documents, documentBytes: 826, indexes: 2 };
};

/** Of 100 bytes in one collection: partitions, not collections, are the unit of parallel work. */
const small = (documents: number): Dataset => {
  return { db: 'bulk', collections: 1, documents, documentBytes: 100, indexes: 0 };
};

/** 2 MB each in one collection. */
export const large = (documents: number): Dataset => {
  return { db: 'bulk', collections: 1, documents, documentBytes: 2_000_000, indexes: 0 };
};

/** UUIDs as `_id`, in no order, the same ones every time. */
const randomIds = (documents: number): Dataset => ({ ...ordinary(documents), collections: 1, idOf });

function idOf(n: number): UUID {
  return new UUID(createHash('md5').update(String(n)).digest());
}

interface Kind {
  readonly data: (documents: number) => Dataset;
  readonly bar: number;
  readonly memoryBar?: number;
}

const KINDS = {
  'small-documents': { data: small, bar: 1.45 },
  'large-documents': { data: large, bar: 1.1, memoryBar: MEMORY_BAR },
  'random-ids': { data: randomIds, bar: 1.3 },
} satisfies Record<string, Kind>;

/** The floor is measured on the source, which needs the data anyway. */
export async function copyRows(name: keyof typeof KINDS, documents: number): Promise<Figure[]> {
  const { data, bar, memoryBar }: Kind = KINDS[name];
  await using pair = await startPair();
  const floor = await seed(pair.source, data(documents));
  const synced = await synchronise(pair.source, pair.destination, false);
  const memory: Figure = {
    what: 'peak memory',
    value: synced.memoryMiB,
    unit: 'MiB',
    ...(memoryBar && { bar: memoryBar }),
  };
  return [figure('initial sync', synced, floor, bar), memory];
}

/** The same data without and with verification, to a fresh destination each. */
export async function verifiedRows(documents: number): Promise<Figure[]> {
  await using pair = await startPair();
  await seed(pair.source, ordinary(documents));
  const without = await synchronise(pair.source, pair.destination, false);
  await pair.destination.remove();
  await using third = await ReplicaSet.start({ name: 'third' });
  const verified = await synchronise(pair.source, third, true);
  return [
    figure('initial sync, verified', verified, { what: 'not verified', value: without.seconds }, 1.4),
    { what: 'peak memory', value: verified.memoryMiB, unit: 'MiB', bar: MEMORY_BAR },
  ];
}

/** What inserts take, and index builds where there are any: of the clock, and of the server's processors. */
export interface Floor {
  readonly what: string;
  readonly value: number;
  readonly cpu: number;
}

/** Makes the data, and measures that. */
export async function seed(source: ReplicaSet, data: Dataset): Promise<Floor> {
  progress(`${data.documents} documents of ${data.documentBytes} bytes: the floor`);
  const client = await source.connect();
  const pid = source.members[0]?.pid ?? 0;
  const before = cpuSeconds(pid);
  const inserting = await insertFloor(client, data);
  const value = inserting + (data.indexes === 0 ? 0 : await indexFloor(client, data));
  const what = data.indexes === 0 ? 'inserts' : 'inserts, index builds';
  return { what, value, cpu: cpuSeconds(pid) - before };
}

/** A migration until a commit would succeed. */
export async function synchronise(source: ReplicaSet, destination: ReplicaSet, verified: boolean): Promise<Synced> {
  progress(verified ? 'mongoferry, verifying' : 'mongoferry');
  await using migration = await Migration.open(source, destination);
  return await migration.sync(verified);
}

/** An initial sync as a figure. */
export function figure(
  what: string,
  synced: Synced,
  floor: Omit<Floor, 'cpu'> & { cpu?: number },
  bar: number,
): Figure {
  const more = floor.cpu === undefined ? {} : { more: { "floor's CPU s": floor.cpu } };
  return { what, value: synced.seconds, unit: 's', floor, bar, cpu: synced.cpu, ...more };
}
