/** Measures how much faster several instances copy and apply changes than one, where neither server nor cores are the limit. */
import { seedBulk } from '../../test/support/seed-data-bulk.js';
import { type Figure, progress } from '../figures.js';
import { FarMigration, type Part } from '../sink/far-migration.js';
import { startFarSet } from '../sink/far-set.js';

const COUNTS = [1, 2, 4];
/** Two instances against one. */
const BAR = 1.7;
/** A round trip over an ocean: each instance waits for answers most of the time. */
const DELAY_MS = 80;
/** One range each, of 13 MB: short enough for the waits between them to be seen, and for the last one not to count. */
const DOCUMENTS_PER_COLLECTION = 15_600;
const DOCUMENT_BYTES = 826;
const EVENTS_PER_DOCUMENT = 0.25;

/** The copy of so many documents, and the application of a backlog, by one, two and four instances. */
export async function scalingRows(documents: number): Promise<Figure[]> {
  const collections = Math.max(1, Math.round(documents / DOCUMENTS_PER_COLLECTION));
  const events = Math.round(documents * EVENTS_PER_DOCUMENT);
  await using source = await startFarSet('source', { delayMs: DELAY_MS, isSink: false });
  progress(`scaling, ${documents} documents: seeding`);
  await seedBulk(source.near, { collections, documents, documentBytes: DOCUMENT_BYTES });
  const copies: Part[] = [];
  const drainings: Part[] = [];
  for (const count of COUNTS) {
    await using destination = await startFarSet('destination', { delayMs: DELAY_MS, isSink: true });
    await using migration = await FarMigration.open(source, destination, count);
    const copy = await migration.copy();
    progress(`the copy by ${instances(count)}: ${copy.seconds.toFixed(1)} s`);
    const draining = await migration.drain(events);
    progress(`${events} events by ${instances(count)}: ${draining.seconds.toFixed(1)} s`);
    copies.push(copy);
    drainings.push(draining);
  }
  return [
    ...figures('copy', documents, copies),
    ...figures(`draining ${events.toLocaleString('en-US')} events`, events, drainings),
  ];
}

function figures(what: string, items: number, parts: readonly Part[]): Figure[] {
  const [alone] = parts;
  if (alone === undefined) return [];
  return parts.map(({ seconds, cpu, sink, distance }, index) => ({
    what: `${what} by ${instances(COUNTS[index] ?? 0)}`,
    value: seconds,
    unit: 's',
    floor: { what: 'one instance', value: alone.seconds },
    atLeast: true,
    ...(COUNTS[index] === 2 && { bar: BAR }),
    cpu,
    more: {
      "sink's CPU s": sink,
      "distance's CPU s": distance,
      'own CPU µs each': (cpu.own * 1e6) / items,
      'own CPU to one instance': cpu.own / alone.cpu.own,
    },
  }));
}

function instances(count: number): string {
  return `${count} instance${count === 1 ? '' : 's'}`;
}
