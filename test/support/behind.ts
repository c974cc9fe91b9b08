/** Has instances fall behind, so that they apply changes in shares. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { MongoClient } from 'mongodb';
import { compareClusters } from './compare-clusters.js';
import { holdCommands } from './fail-points.js';
import { type Instance, Instances, shownIn } from './instances.js';
import type { SharedPair } from './shared-servers.js';
import { stopProcess } from './stop-process.js';
import { METADATA_DB } from './stored-migration.js';
import { eventually } from './within.js';

/** So far behind that shares are worth their while: the engine's limit. */
const BEHIND_SECONDS = 3;
/** Of one round: some 6 MB of changes. */
const TEXT_BYTES = 20_000;
/** The documents of each collection. */
export const IDS: readonly number[] = Array.from({ length: 300 }, (_, id) => id);
const ROUNDS = 6;
const PAUSE_MS = 50;
const HOLD_MS = 2000;

/** The clients of a pair. */
export type Ends = Pick<SharedPair, 'source' | 'destination'>;

/**
 * Stops the coordinator while the source is written to, and lets it go on: far behind, by more bytes than the replies hold
 * that it had asked for. `also` runs between the writes.
 */
export async function fallBehind(
  { source, destination }: Ends,
  coordinator: Instance,
  also?: (round: number) => Promise<void>,
): Promise<void> {
  await source.db('bulk').createCollection('capped', { capped: true, size: 1024 * 1024, max: 500 });
  await source.db('bulk').createCollection('last');
  await source.db('bulk').createCollection('collated', { collation: { locale: 'en', strength: 2 } });
  await writeMany(source, 0);
  // No creation is left that would end a stretch at once.
  const last = destination.db('bulk').collection('passed');
  await source.db('bulk').collection('passed').insertOne({});
  await eventually(20_000, async () => (await last.countDocuments()) > 0, 'the creations applied');
  stopProcess(coordinator.ferry.pid);
  try {
    for (let round = 1; round <= ROUNDS; round++) {
      await writeMany(source, round);
      await also?.(round);
    }
    // The cluster's time goes on with its writes. The coordinator's lease lasts longer.
    const until = (await clusterSeconds(source)) + BEHIND_SECONDS;
    while ((await clusterSeconds(source)) < until) {
      await source.db('bulk').collection('last').insertOne({});
      await sleep(PAUSE_MS);
    }
  } finally {
    process.kill(coordinator.ferry.pid, 'SIGCONT');
  }
}

/** Changes that depend on the state before, replacements, a document that comes and goes, and collections with an order. */
async function writeMany(source: MongoClient, round: number): Promise<void> {
  const db = source.db('bulk');
  const n = { $add: [{ $ifNull: ['$n', 0] }, 1] };
  const text = 'x'.repeat(TEXT_BYTES);
  const counters = IDS.map((_id) => ({ updateOne: { filter: { _id }, update: [{ $set: { n } }], upsert: true } }));
  const texts = IDS.map((_id) => ({ replaceOne: { filter: { _id }, replacement: { text, round }, upsert: true } }));
  await db.collection<{ _id: number }>('counters').bulkWrite(counters);
  await db.collection<{ _id: number; text: string; round: number }>('texts').bulkWrite(texts);
  const passing = db.collection<{ _id: number; round: number }>('passing');
  await passing.insertMany(IDS.map((_id) => ({ _id, round })));
  await passing.deleteMany({ _id: { $gte: round } });
  await db.collection('capped').insertMany(IDS.slice(0, 40).map((id) => ({ round, id })));
  const name = round % 2 === 0 ? 'Anna' : 'anna';
  await db.collection<{ _id: string; round: number }>('collated').deleteOne({ _id: 'anna' });
  await db.collection<{ _id: string; round: number }>('collated').insertOne({ _id: name, round });
  await passing.deleteMany({});
}

async function clusterSeconds(client: MongoClient): Promise<number> {
  const { operationTime } = await client.db('admin').command({ ping: 1 });
  return operationTime.getHighBitsUnsigned();
}

/** Changes that an instance has applied, as another one shows it. */
export async function appliedBy(client: Instance['client'], id: string): Promise<number> {
  return Number(shownIn(await client.progress(), id)?.eventsApplied ?? 0);
}

/** Two instances, ready to commit; the first one coordinates. */
export async function twoRunning(instances: Instances): Promise<[Instance, Instance]> {
  const [a, b] = [await instances.add('a'), await instances.add('b')];
  await instances.start();
  await a.client.waitForCanCommit();
  await b.client.waitForCanCommit();
  return [a, b];
}

/**
 * Has `act` happen while `a`, which coordinates, and `b` apply shares that the destination holds up; `act` sees the
 * migration committed. Resolves with how the clusters differ then.
 */
export async function whileShared(
  { pair, ...ends }: SharedPair,
  act: (a: Instance, b: Instance, instances: Instances) => Promise<void>,
): Promise<string[]> {
  const { source, destination } = ends;
  await using instances = new Instances(pair);
  const [a, b] = await twoRunning(instances);
  await holdCommands(destination, { commands: ['update'], namespace: 'bulk.counters' }, HOLD_MS);
  await fallBehind(ends, a);
  const tasks = destination.db(METADATA_DB).collection('tasks');
  await eventually(20_000, async () => (await tasks.findOne({ kind: 'apply' })) !== null, 'a share given out');
  await act(a, b, instances);
  return compareClusters(source, destination);
}
