/** Measures what others feel of a copy at full load: callers of the control plane, and clients of the source. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { MongoClient } from 'mongodb';
import { httpJson } from '../../test/support/ferry-client.js';
import { ReplicaSet, startPair } from '../../test/support/replica-set.js';
import { type Figure, percentile, progress } from '../figures.js';
import { Migration } from '../migration.js';
import { ordinary, seed } from './copies.js';

const PAUSE_MS = 5;
const ALONE_MS = 4000;

/** How long progress takes by gRPC and by HTTP during a verified copy: by the main thread, and by one of its own. */
export async function controlPlaneRows(documents: number): Promise<Figure[]> {
  await using pair = await startPair();
  await using third = await ReplicaSet.start({ name: 'third' });
  await seed(pair.source, ordinary(documents));
  const byMain = await answers(pair.source, pair.destination, []);
  return [...byMain, ...(await answers(pair.source, third, ['--workerThreads', '1']))];
}

async function answers(source: ReplicaSet, destination: ReplicaSet, flags: readonly string[]): Promise<Figure[]> {
  await using migration = await Migration.open(source, destination, flags);
  const { client, ferry } = migration;
  progress('mongoferry, asked all the while');
  const asks = {
    gRPC: () => client.progress(),
    HTTP: () => httpJson(ferry.httpUrl, '/api/v1/progress'),
  };
  // Connections, and code that runs for the first time.
  for (let count = 0; count < 20; count++) await Promise.all([asks.gRPC(), asks.HTTP()]);
  const { latencies } = await during(migration.sync(true), asks);
  return Object.entries(latencies).map(([name, values]) => ({
    what: ['progress by', `${name},`, '99 of 100', ...flags].join(' '),
    value: percentile(values, 99),
    unit: 'ms',
    bar: 50,
    more: { 'median ms': percentile(values, 50), calls: values.length },
  }));
}

/** How long reads and writes of a client of the source take, alone and during the copy. */
export async function sourceClientsRows(documents: number): Promise<Figure[]> {
  await using pair = await startPair();
  await seed(pair.source, ordinary(documents));
  const source = await pair.source.connect();
  const asks = await clientOf(source);
  await using migration = await Migration.open(pair.source, pair.destination);
  progress('a client of the source, alone');
  const alone = await during(sleep(ALONE_MS), asks);
  progress('the same during the copy');
  const copied = await during(migration.sync(false), asks);
  const of = (name: string, percent: number): Figure => ({
    what: `source's client, ${name}, ${percent} of 100`,
    value: percentile(copied.latencies[name] ?? [], percent),
    unit: 'ms',
    floor: { what: 'alone', value: percentile(alone.latencies[name] ?? [], percent) },
  });
  const cpu: Figure = {
    what: "source's CPU for the copy",
    value: copied.result.cpu.source,
    unit: 's',
    cpu: copied.result.cpu,
  };
  return [of('read', 50), of('read', 99), of('write', 50), of('write', 99), cpu];
}

/** Reads and writes of single documents beside what is copied. */
async function clientOf(client: MongoClient): Promise<Record<string, () => Promise<unknown>>> {
  const collection = client.db('beside').collection<{ _id: number; n: number }>('items');
  const count = 1000;
  await collection.insertMany(Array.from({ length: count }, (_, _id) => ({ _id, n: 0 })));
  let n = 0;
  const next = () => ({ _id: (n++ * 7919) % count });
  return {
    read: () => collection.findOne(next()),
    write: () => collection.updateOne(next(), { $inc: { n: 1 } }),
  };
}

/** Asks in turn until the work is done; how long each answer took, in ms. */
async function during<T>(
  work: Promise<T>,
  asks: Readonly<Record<string, () => Promise<unknown>>>,
): Promise<{ result: T; latencies: Record<string, number[]> }> {
  let done = false;
  const ended = work.finally(() => {
    done = true;
  });
  ended.catch(() => undefined);
  const latencies: Record<string, number[]> = {};
  while (!done) {
    for (const [name, ask] of Object.entries(asks)) {
      const begun = performance.now();
      await ask();
      latencies[name] = [...(latencies[name] ?? []), performance.now() - begun];
      await sleep(PAUSE_MS);
    }
  }
  return { result: await ended, latencies };
}
