import { MongoNetworkError } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Doc } from '../../src/bson/bson.js';
import { Position } from '../../src/bson/position.js';
import type { Cluster } from '../../src/cluster/cluster.js';
import type { ReadOptions } from '../../src/cluster/commands.js';
import { writeOplogNote } from '../../src/cluster/oplog-note.js';
import { readChanges } from '../../src/documents/change-stream.js';
import { AppError } from '../../src/errors.js';
import { sharedCluster, sharedSet } from '../support/shared-servers.js';
import { silentLogger } from '../support/silent-logger.js';
import { within } from '../support/within.js';

const { signal } = new AbortController();
const set = await sharedSet(test);
const cluster = await sharedCluster(test, 'cluster0', set);

async function readUntilEnd(of: Cluster, time: Awaited<ReturnType<typeof writeOplogNote>>): Promise<AppError> {
  const options = { start: Position.startAt(time), rawDeltas: false, logger: silentLogger, awaitMs: 100 };
  try {
    for await (const batch of readChanges(of, options, signal)) assert.ok(batch.events.length < 1000);
    throw new Error('the stream has ended');
  } catch (error) {
    return AppError.from(error);
  }
}

for (const megabytes of [6, 7.5]) {
  test(`an _id of ${megabytes} MB, whose event fits into no reply, is named, and never retried for ever`, async () => {
    await within(
      60_000,
      async () => {
        const client = await set.connect();
        const time = await writeOplogNote(cluster, 'test', signal);
        await client
          .db('shop')
          .collection<{ _id: string }>(`keys${megabytes}`)
          .insertOne({ _id: `secret-${'x'.repeat(megabytes * 1024 * 1024)}` });
        const error = await readUntilEnd(cluster, time);
        assert.is(error.code, 'EventTooLarge', error.message);
        assert.match(error.message, new RegExp(`shop\\.keys${megabytes} whose _id begins with "secret-xxx`));
        assert.ok(error.message.length < 500);
      },
      'the failure',
    );
  });
}

test('connections that are lost again and again prove no event too large: the stream goes on', async () => {
  await within(
    60_000,
    async () => {
      const time = await writeOplogNote(cluster, 'test', signal);
      const client = await set.connect();
      await client.db('shop').collection<{ _id: string }>('small').insertOne({ _id: 'small' });
      let lost = 0;
      /** Loses the connection of every read, eight times. */
      const losing = new Proxy(cluster, {
        get(target, name) {
          const value: unknown = Reflect.get(target, name, target);
          if (name !== 'command') return typeof value === 'function' ? value.bind(target) : value;
          return async (db: string, command: Doc, options: ReadOptions) => {
            if ((!('getMore' in command) && !('aggregate' in command && command['aggregate'] === 1)) || lost >= 8)
              return target.command(db, command, options);
            lost++;
            throw new MongoNetworkError('connection closed');
          };
        },
      });
      const options = { start: Position.startAt(time), rawDeltas: false, logger: silentLogger, awaitMs: 100 };
      for await (const { events } of readChanges(losing, options, signal)) if (events.length > 0) break;
      assert.is(lost, 8);
      assert.is(cluster.outage, undefined);
    },
    'the event',
  );
});

test.run();
