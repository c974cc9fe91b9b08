/** Tests that a change stream of a quiet cluster waits long at the server, and tells where it is as soon as it is asked. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Position } from '../../src/bson/position.js';
import { Cluster } from '../../src/cluster/cluster.js';
import { writeOplogNote } from '../../src/cluster/oplog-note.js';
import type { ChangeBatch } from '../../src/documents/change-source.js';
import { readChanges } from '../../src/documents/change-stream.js';
import { StreamPace } from '../../src/documents/stream-pace.js';
import { deferred, runWith } from '../../src/lib/tasks.js';
import { sharedSet } from '../support/shared-servers.js';
import { silentLogger } from '../support/silent-logger.js';
import { within } from '../support/within.js';

const set = await sharedSet(test);
const client = await set.connect();
/** Longer than the test may take: a wait ends by an event, or because it is ended. */
const FOR_EVER = { afterMs: 0, waitMs: 600_000 };

test('an idle stream waits for an event, and tells its position only when somebody asks', () =>
  within(30_000, asksAndWrites, 'the stream'));

async function asksAndWrites(signal: AbortSignal): Promise<void> {
  await client.db('quiet').collection('items').insertOne({ n: 0 });
  const cluster = await Cluster.connect({ name: 'cluster0', uri: set.uri, logger: silentLogger, maxPoolSize: 4 });
  try {
    const start = Position.startAt(await writeOplogNote(cluster, 'begin', signal));
    const pace = new StreamPace(FOR_EVER);
    const options = { start, rawDeltas: false, logger: silentLogger, awaitMs: 50, pace };
    const batches: ChangeBatch[] = [];
    let got = deferred<void>();
    const follow = async (inner: AbortSignal): Promise<void> => {
      for await (const batch of readChanges(cluster, options, inner)) {
        batches.push(batch);
        got.resolve();
        got = deferred();
      }
    };
    const until = async (isThere: (batch: ChangeBatch) => boolean): Promise<void> => {
      while (!batches.some(isThere)) await got.promise;
    };
    await runWith(
      async () => {
        await until(() => batches.length >= 2);
        await waitsAtServer(signal);
        const note = await writeOplogNote(cluster, 'asked', signal);
        const isPast = ({ position }: ChangeBatch): boolean => position.time.greaterThanOrEqual(note);
        assert.not.ok(batches.some(isPast));
        await pace.during(() => until(isPast));
        await waitsAtServer(signal);
        await client.db('quiet').collection('items').insertOne({ n: 1 });
        await until(({ events }) => events.length === 1);
        assert.is(batches.flatMap(({ events }) => events).length, 1, 'nothing is told twice');
      },
      [follow],
      signal,
    );
  } finally {
    await cluster.close();
  }
}

/** Resolves once the server holds a getMore that may wait for minutes. */
async function waitsAtServer(signal: AbortSignal): Promise<void> {
  const held = {
    ...{ 'command.getMore': { $exists: true }, 'command.maxTimeMS': FOR_EVER.waitMs },
    killPending: { $ne: true },
  };
  for (;;) {
    signal.throwIfAborted();
    const pipeline = [{ $currentOp: { allUsers: true, idleCursors: false } }, { $match: held }];
    if ((await client.db('admin').aggregate(pipeline).toArray()).length > 0) return;
  }
}

test.run();
