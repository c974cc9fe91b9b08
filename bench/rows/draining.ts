/** Measures how fast a migration applies events that have piled up. */
import type { Timestamp } from 'mongodb';
import { startPair } from '../../test/support/replica-set.js';
import { seedBulk } from '../../test/support/seed-data-bulk.js';
import { makeEvents } from '../events.js';
import { type Figure, progress } from '../figures.js';
import { type Dataset, rawReadFloor } from '../floors.js';
import { Migration } from '../migration.js';

/**
 * Draining: a migration is paused once it is in its steady state, events pile up, and the time from the resume until
 * they are applied is measured against merely reading them.
 */
export async function drainingRows(events: number): Promise<Figure[]> {
  // Deletes take one in ten of the events from the last fifth of the documents.
  const data: Dataset = { db: 'bulk', collections: 4, documents: events, documentBytes: 400, indexes: 2 };
  await using pair = await startPair();
  const source = await pair.source.connect();
  progress(`draining, ${events} events: seeding`);
  await seedBulk(source, data);
  await using migration = await Migration.open(pair.source, pair.destination);
  const { client } = migration;
  await migration.sync(false);
  await client.pause();
  const paused = await client.waitForState('PAUSED');
  const applied = paused.totalEventsApplied ?? 0;
  progress('making the events');
  const { operationTime } = await source.db('admin').command({ ping: 1 });
  await makeEvents(source, data, events);
  progress('reading them raw');
  const reading = await rawReadFloor(source, operationTime as Timestamp, events);
  progress('mongoferry');
  const { seconds, cpu } = await migration.measure(async () => {
    await client.resume();
    const share = ({ totalEventsApplied = 0 }) => (totalEventsApplied - applied) / events;
    await migration.until((snapshot) => share(snapshot) >= 1, share);
  });
  return [
    { what: 'draining', value: seconds, unit: 's', floor: { what: 'raw read', value: reading }, bar: 3, cpu },
    { what: 'peak memory', value: migration.peakMemoryMiB(), unit: 'MiB', bar: 400 },
  ];
}
