import { BSON, Decimal128, type Document, Double, Int32, Long, MaxKey, MinKey, ObjectId, Timestamp } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decodePlain } from '../../src/bson/bson.js';
import { Position } from '../../src/bson/position.js';
import { Cluster } from '../../src/cluster/cluster.js';
import { readChanges } from '../../src/documents/change-stream.js';
import { ReplicaSet } from '../support/replica-set.js';
import { silentLogger } from '../support/silent-logger.js';
import { within } from '../support/within.js';

const IDS: readonly unknown[] = [
  new Int32(1),
  Long.fromNumber(2),
  new Double(3),
  new Double(-0.5),
  Decimal128.fromString('4'),
  Decimal128.fromString('0.1'),
  Decimal128.fromString('-0'),
  Decimal128.fromString('1E+400'),
  Decimal128.fromString('NaN'),
  'text',
  new ObjectId(),
  new Date(0),
  true,
  null,
  new MinKey(),
  new MaxKey(),
  new Timestamp({ t: 1, i: 1 }),
  { a: Decimal128.fromString('0.1'), b: Long.fromNumber(1) },
];

test('a stream resumes behind an event whatever the type of its _id', async () => {
  await within(
    60_000,
    async (signal) => {
      await using set = await ReplicaSet.start();
      const client = await set.connect();
      const cluster = await Cluster.connect({ name: 'cluster0', uri: set.uri, logger: silentLogger, maxPoolSize: 4 });
      try {
        const { operationTime } = await client.db('admin').command({ ping: 1 });
        const options = { rawDeltas: true, logger: silentLogger, awaitMs: 100 };
        for (const [index, _id] of IDS.entries()) {
          await client.db('t').command({ insert: 'c', documents: [{ _id, index }] });
        }
        const stages = [{ $match: { operationType: 'insert' } }];
        const seenAt: Position[] = [];
        let start = Position.startAt(operationTime);
        while (seenAt.length < IDS.length) {
          const seen = await nextIndexes(cluster, { ...options, stages, start }, signal);
          assert.equal(seen.indexes, [seenAt.length]);
          assert.ok(
            seenAt.every((earlier) => earlier.compare(seen.position) < 0),
            "positions have the stream's order",
          );
          seenAt.push(seen.position);
          // As a later process would.
          start = Position.fromText(seen.position.toText());
        }
      } finally {
        await cluster.close();
      }
    },
    'resuming behind every event',
  );
});

async function nextIndexes(
  cluster: Cluster,
  options: Parameters<typeof readChanges>[1],
  signal: AbortSignal,
): Promise<{ indexes: unknown[]; position: Position }> {
  for await (const batch of readChanges(cluster, options, signal)) {
    if (batch.events.length === 0) continue;
    const [first] = batch.events;
    const event = decodePlain(first as Buffer);
    return {
      indexes: [(event['fullDocument'] as Document)['index']],
      position: Position.ofResumeToken(BSON.deserialize(first as Buffer)['_id']),
    };
  }
  throw new Error('the stream ended');
}

test.run();
