/** Measures what a migration takes of processors that has nothing to do. */
import { setTimeout as sleep } from 'node:timers/promises';
import { ReplicaSet, startPair } from '../../test/support/replica-set.js';
import { seedBulk } from '../../test/support/seed-data-bulk.js';
import { type Figure, progress } from '../figures.js';
import { Migration } from '../migration.js';

/** From ten seconds without an event on, streams are idle. */
const SETTLE_MS = 25_000;

/** Per cent of a core in the steady state, without and with verification, over so many seconds. */
export async function idleRows(seconds: number): Promise<Figure[]> {
  await using pair = await startPair();
  await using third = await ReplicaSet.start({ name: 'third' });
  await seedBulk(await pair.source.connect(), { collections: 4, documents: 2000, documentBytes: 400, indexes: 2 });
  return [await idle(pair.source, pair.destination, seconds, false), await idle(pair.source, third, seconds, true)];
}

async function idle(source: ReplicaSet, destination: ReplicaSet, seconds: number, verified: boolean): Promise<Figure> {
  await using migration = await Migration.open(source, destination);
  await migration.sync(verified);
  await sleep(SETTLE_MS);
  progress(`idle for ${seconds} s`);
  const { seconds: taken, cpu } = await migration.measure(() => sleep(seconds * 1000));
  const what = verified ? 'idle, verified' : 'idle';
  return { what, value: (cpu.own / taken) * 100, unit: '%', bar: 0.5, cpu };
}
