/** Measures the copy with one, two and four instances. */
import { Instances } from '../../test/support/instances.js';
import { startPair } from '../../test/support/replica-set.js';
import { seedBulk } from '../../test/support/seed-data-bulk.js';
import { type Figure, progress, timed } from '../figures.js';

const WAIT_MS = 20 * 60_000;
const COUNTS = [1, 2, 4];
/** With the processes and both servers on one machine more instances cannot be faster than its cores: they must not be slower. */
const BAR = 1.25;

/** From `start` until everything is copied, against one instance. The load level lets one instance not fill the servers. */
export async function instanceRows(documents: number): Promise<Figure[]> {
  const seconds: number[] = [];
  for (const count of COUNTS) seconds.push(await copySeconds(documents, count));
  const [alone = 0] = seconds;
  return COUNTS.map((count, index) => ({
    what: `copy by ${count} instance${count === 1 ? '' : 's'}`,
    value: seconds[index] ?? 0,
    unit: 's',
    floor: { what: 'one instance', value: alone },
    bar: BAR,
  }));
}

async function copySeconds(documents: number, count: number): Promise<number> {
  await using pair = await startPair();
  const source = await pair.source.connect();
  await seedBulk(source, { collections: 16, documents, documentBytes: 826 });
  progress(`the copy of ${documents} documents by ${count} instances`);
  await using instances = new Instances(pair);
  const flags = ['--loadLevel', '2', '--coordinated'];
  for (let number = 1; number <= count; number++) await instances.add(`i${number}`, flags);
  const [first] = instances.all;
  if (first === undefined) throw new Error('there is no instance');
  const { seconds } = await timed(async () => {
    await instances.start({ verification: { enabled: false } });
    await first.client.waitFor('the end of the copy', ({ info }) => info === 'change event application', WAIT_MS);
  });
  return seconds;
}
