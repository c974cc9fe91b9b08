/** What it costs the destination that every write of documents carries a number: see docs/02-lifecycle.md. */
import { BSON } from 'mongodb';
import { deleteStatement } from '../../src/bson/raw-statements.js';
import { Cluster } from '../../src/cluster/cluster.js';
import { writeSessions } from '../../src/cluster/write-sessions.js';
import { RawWriter } from '../../src/documents/raw-writes.js';
import { cpuSeconds } from '../../test/support/cpu-seconds.js';
import { ReplicaSet } from '../../test/support/replica-set.js';
import { silentLogger } from '../../test/support/silent-logger.js';
import { writableAlone } from '../../test/support/writable.js';
import { type Figure, percentile, progress } from '../figures.js';

const { signal } = new AbortController();
const DB = 'numbers';
const REPETITIONS = 5;
const BATCH = 2000;

type Kind = 'insert' | 'update' | 'delete';
const KINDS: readonly { readonly kind: Kind; readonly bar: number }[] = [
  { kind: 'insert', bar: 1.05 },
  { kind: 'update', bar: 1.1 },
  { kind: 'delete', bar: 1.1 },
];

/**
 * The same small documents are inserted, updated and deleted by plain commands and by numbered ones, in turn; the CPU
 * time of the server is what counts, in the median of the repetitions.
 */
export async function numberRows(documents: number): Promise<Figure[]> {
  await using set = await ReplicaSet.start();
  const client = await set.connect();
  const connect = () => Cluster.connect({ name: 'cluster1', uri: set.uri, logger: silentLogger, maxPoolSize: 8 });
  const [first, second] = [await connect(), await connect()];
  const plain = writableAlone(first);
  const numbered = writableAlone(second, { sessions: writeSessions(second, DB) });
  try {
    const writers = [await RawWriter.create(plain, DB, signal), await RawWriter.create(numbered, DB, signal)] as const;
    const pid = set.members[0]?.pid ?? 0;
    const seconds: Record<Kind, [number[], number[]]> = { insert: [[], []], update: [[], []], delete: [[], []] };
    for (let repetition = 0; repetition < REPETITIONS; repetition++) {
      progress(`numbers, ${documents} documents: ${repetition + 1} of ${REPETITIONS}`);
      for (const way of [0, 1] as const) {
        await client.db(DB).collection('items').drop();
        await client.db(DB).collection('items').createIndex({ a: 1 });
        for (const { kind } of KINDS) {
          const before = cpuSeconds(pid);
          await writeAll(writers[way], kind, documents);
          seconds[kind][way].push(cpuSeconds(pid) - before);
        }
      }
    }
    return KINDS.map(({ kind, bar }) => ({
      what: `destination CPU, numbered ${kind}s`,
      value: medianOf(seconds[kind][1]),
      unit: 's',
      floor: { what: 'plain', value: medianOf(seconds[kind][0]) },
      bar,
    }));
  } finally {
    await Promise.all([plain.close(), numbered.close()]);
  }
}

async function writeAll(writer: RawWriter, kind: Kind, documents: number): Promise<void> {
  for (let from = 0; from < documents; from += BATCH) {
    const ids = Array.from({ length: Math.min(BATCH, documents - from) }, (_, n) => from + n);
    const statements = ids.map((id) => STATEMENT[kind](id));
    await writer.write({ db: DB, coll: 'items', kind, statements, ordered: false, uuid: undefined }, signal);
  }
}

const STATEMENT: Record<Kind, (id: number) => Buffer> = {
  insert: (_id) => bson({ _id, a: _id % 1000, pad: 'x'.repeat(100) }),
  update: (_id) => bson({ q: { _id }, u: { $set: { b: _id } } }),
  delete: (_id) => deleteStatement(bson({ _id })),
};

function bson(document: object): Buffer {
  return Buffer.from(BSON.serialize(document));
}

function medianOf(values: readonly number[]): number {
  return percentile(values, 50);
}
