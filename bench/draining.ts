/** Measures how fast a migration applies events that have piled up. */
import type { Timestamp } from 'mongodb';
import { FerryClient } from '../test/support/ferry-client.js';
import { FerryProcess } from '../test/support/ferry-process.js';
import { startPair } from '../test/support/replica-set.js';
import { seedBulk } from '../test/support/seed-data-bulk.js';
import { makeEvents } from './events.js';
import { type Dataset, rawReadFloor } from './floors.js';
import { peakMemoryMiB } from './memory.js';
import { progress, type Row, timed } from './report.js';

const WAIT_MS = 20 * 60_000;

/**
 * Draining: a migration is paused once it is in its steady state, events pile up, and the time from the resume until
 * they are applied is measured against merely reading them.
 */
export async function drainingRows(events: number): Promise<Row[]> {
  // Deletes take one in ten of the events from the last fifth of the documents.
  const data: Dataset = { db: 'bulk', collections: 4, documents: events, documentBytes: 400, indexes: 2 };
  await using pair = await startPair();
  const source = await pair.source.connect();
  progress(`draining, ${events} events: seeding`);
  await seedBulk(source, data);
  await using ferry = await FerryProcess.start({ cluster0: pair.source.uri, cluster1: pair.destination.uri });
  using client = new FerryClient(ferry.grpcTarget);
  await client.start({ verification: { enabled: false } });
  await client.waitForCanCommit(WAIT_MS);
  await client.pause();
  const paused = await client.waitForState('PAUSED', WAIT_MS);
  const applied = paused.totalEventsApplied ?? 0;
  progress('making the events');
  const { operationTime } = await source.db('admin').command({ ping: 1 });
  await makeEvents(source, data, events);
  progress('reading them raw');
  const reading = await rawReadFloor(source, operationTime as Timestamp, events);
  progress('mongoferry');
  const { seconds } = await timed(async () => {
    await client.resume();
    const all = ({ totalEventsApplied = 0 }) => totalEventsApplied - applied >= events;
    await client.waitFor(`${events} events applied`, all, WAIT_MS);
  });
  const memory = await peakMemoryMiB(ferry.pid);
  return [
    {
      name: 'draining',
      what: 'draining mixed events',
      size: events,
      value: seconds,
      unit: 's',
      floor: { what: 'raw read', value: reading },
      bar: 3,
      perItem: true,
    },
    { name: 'memory', what: 'peak memory, draining', size: events, value: memory, unit: 'MiB', bar: 400 },
  ];
}
