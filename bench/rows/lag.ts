/** Measures how far behind a migration is under a steady load, and what that takes of processors. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Document, MongoClient } from 'mongodb';
import { startPair } from '../../test/support/replica-set.js';
import { seedBulk } from '../../test/support/seed-data-bulk.js';
import { type Figure, percentile, progress } from '../figures.js';
import { Migration } from '../migration.js';

const TICK_MS = 10;
const MARK_EVERY = 5;
const COLLECTIONS = 4;
const DOCUMENTS = 20_000;

/**
 * So many writes a second for so many seconds: half of them updates, the others inserts and deletes. Twenty times a
 * second a mark is written, and a change stream on the destination tells when it is there.
 */
export async function lagRows(writesPerSecond: number, seconds: number): Promise<Figure[]> {
  await using pair = await startPair();
  const [source, destination] = [await pair.source.connect(), await pair.destination.connect()];
  await seedBulk(source, { collections: COLLECTIONS, documents: DOCUMENTS, documentBytes: 400, indexes: 2 });
  await source.db('bulk').createCollection('marks');
  await using migration = await Migration.open(pair.source, pair.destination);
  await migration.sync(false);
  progress(`lag at ${writesPerSecond} writes/s, ${seconds} s`);
  const arrivals = new Map<number, number>();
  const stream = destination.db('bulk').collection<{ _id: number }>('marks').watch([], { maxAwaitTimeMS: 1000 });
  stream.on('change', (event) => {
    if (event.operationType === 'insert') arrivals.set(event.documentKey._id, performance.now());
  });
  // The stream opens with its first read.
  await sleep(1000);
  const before = await writeCommands(destination);
  const { seconds: taken, cpu, result } = await migration.measure(() => write(source, writesPerSecond, seconds));
  await sleep(1500);
  const commands = (await writeCommands(destination)) - before;
  await stream.close();
  const lags = result.marks.map((at, mark) => (arrivals.get(mark) ?? Number.POSITIVE_INFINITY) - at);
  // By what was written: a busy machine keeps no pace.
  const perMinute = (value: number) => (value / result.writes) * writesPerSecond * 60;
  const more = {
    'events per command': result.writes / commands,
    'median ms': percentile(lags, 50),
    'writes/s kept': result.writes / taken,
  };
  return [
    { what: 'lag, 99 of 100', value: percentile(lags, 99), unit: 'ms', bar: 250, cpu, more },
    { what: 'own CPU', value: perMinute(cpu.own), unit: 'CPU s/min', bar: 10.5 },
    { what: 'destination CPU', value: perMinute(cpu.destination), unit: 'CPU s/min', bar: 18.5 },
  ];
}

async function writeCommands(client: MongoClient): Promise<number> {
  const { metrics } = await client.db('admin').command({ serverStatus: 1 });
  const total = (name: string) => Number(metrics.commands[name].total);
  return total('insert') + total('update') + total('delete');
}

/** Keeps to the pace by the clock: ticks that come late are made up for. */
async function write(client: MongoClient, rate: number, seconds: number): Promise<{ writes: number; marks: number[] }> {
  const marks: number[] = [];
  const begun = performance.now();
  const perTick = Math.round((rate * TICK_MS) / 1000);
  let writes = 0;
  for (let tick = 0; tick < (seconds * 1000) / TICK_MS; tick++) {
    const early = begun + tick * TICK_MS - performance.now();
    if (early > 0) await sleep(early);
    await writeTick(client, tick, perTick);
    writes += perTick;
    if (tick % MARK_EVERY !== 0) continue;
    await client.db('bulk').collection<{ _id: number }>('marks').insertOne({ _id: marks.length });
    marks.push(performance.now());
    writes++;
  }
  return { writes, marks };
}

async function writeTick(client: MongoClient, tick: number, count: number): Promise<void> {
  const db = client.db('bulk');
  const name = `c${tick % COLLECTIONS}`;
  const inserted = Math.floor(count / 4);
  const updated = count - 2 * inserted;
  const first = 1_000_000 + tick * inserted;
  const each = <T>(length: number, make: (index: number) => T) => Array.from({ length }, (_, index) => make(index));
  const updates: Document[] = each(updated, (index) => {
    const _id = ((tick * updated + index) * 7919) % (DOCUMENTS / COLLECTIONS);
    return { q: { _id }, u: { $set: { word: `changed ${tick}` }, $inc: { visits: 1 } } };
  });
  const documents = each(inserted, (index) => ({ _id: first + index, n: first + index, pad: 'x'.repeat(300) }));
  const deletes = each(inserted, (index) => ({ q: { _id: first - inserted * 4 * COLLECTIONS + index }, limit: 1 }));
  await db.command({ update: name, updates });
  await db.command({ insert: name, documents });
  if (tick >= 4 * COLLECTIONS) await db.command({ delete: name, deletes });
}
