/** Measures what verification costs. */
import { FerryClient } from '../test/support/ferry-client.js';
import { FerryProcess } from '../test/support/ferry-process.js';
import { ReplicaSet, startPair } from '../test/support/replica-set.js';
import { type Dataset, indexFloor, insertFloor } from './floors.js';
import { peakMemoryMiB } from './memory.js';
import { progress, type Row, timed } from './report.js';

const MEMORY = 'peak memory, with verification';
const WAIT_MS = 40 * 60_000;

interface Measured {
  /** From start to canCommit. */
  readonly syncSeconds: number;
  /** From the call of commit to canWrite. */
  readonly commitSeconds: number;
  readonly memoryMiB: number;
}

/**
 * What verification costs: the same data is migrated without and with it, to a fresh destination each, until a commit
 * would succeed, and committed.
 */
export async function verificationRows(documents: number): Promise<Row[]> {
  const data: Dataset = { db: 'bulk', collections: 4, documents, documentBytes: 826, indexes: 2 };
  await using pair = await startPair();
  const source = await pair.source.connect();
  progress(`verification, ${documents} documents: seeding`);
  await insertFloor(source, data);
  await indexFloor(source, data);
  progress('without');
  const without = await migrate(pair.source.uri, pair.destination.uri, false);
  await pair.destination.remove();
  progress('with');
  await using third = await ReplicaSet.start({ name: 'third' });
  const verified = await migrate(pair.source.uri, third.uri, true);
  return [
    {
      name: 'verification',
      what: 'initial sync with verification',
      size: documents,
      value: verified.syncSeconds,
      unit: 's',
      floor: { what: 'without', value: without.syncSeconds },
      bar: 1.6,
      perItem: true,
    },
    {
      name: 'verification',
      what: 'commit to canWrite, more than without',
      size: documents,
      value: Math.max(0, verified.commitSeconds - without.commitSeconds),
      unit: 's',
      bar: 2,
    },
    {
      name: 'verification',
      what: MEMORY,
      size: documents,
      value: verified.memoryMiB,
      unit: 'MiB',
      bar: 400,
    },
  ];
}

/** Memory at the larger size against that at the smaller one: it must not grow with the data. */
export function memoryGrowth(rows: readonly Row[]): Row[] {
  const [smaller, larger] = rows.filter(({ what }) => what === MEMORY);
  if (smaller === undefined || larger === undefined) return [];
  const floor = { what: `with ${smaller.size.toLocaleString('en-US')}`, value: smaller.value };
  return [{ ...larger, what: `${MEMORY}, larger against smaller`, floor, bar: 1.1 }];
}

async function migrate(cluster0: string, cluster1: string, enabled: boolean): Promise<Measured> {
  await using ferry = await FerryProcess.start({ cluster0, cluster1 });
  using client = new FerryClient(ferry.grpcTarget);
  await client.waitUntilInitialized();
  const sync = await timed(async () => {
    await client.start({ verification: { enabled } });
    await client.waitForCanCommit(WAIT_MS);
  });
  const memoryMiB = await peakMemoryMiB(ferry.pid);
  const commit = await timed(async () => {
    await client.commit();
    await client.waitFor('canWrite', ({ canWrite }) => canWrite, WAIT_MS);
  });
  return { syncSeconds: sync.seconds, commitSeconds: commit.seconds, memoryMiB };
}
