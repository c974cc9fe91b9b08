import { MongoNetworkError } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Doc } from '../../src/cluster/bson.js';
import { readChanges } from '../../src/cluster/change-stream.js';
import type { Cluster, CommandOptions } from '../../src/cluster/cluster.js';
import { writeNote } from '../../src/cluster/notes.js';
import { AppError } from '../../src/errors.js';
import { sharedCluster, sharedSet } from '../support/shared-servers.js';
import { silentLogger } from '../support/silent-logger.js';
import { within } from '../support/within.js';

const { signal } = new AbortController();
const set = await sharedSet(test);
const cluster = await sharedCluster(test, 'cluster0', set);

async function readUntilEnd(of: Cluster, time: Awaited<ReturnType<typeof writeNote>>): Promise<AppError> {
  const options = { start: { time }, rawDeltas: false, logger: silentLogger, awaitMs: 100 };
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
        const time = await writeNote(cluster, 'test', signal);
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

test('a server that hangs up at one position is waited for while it does not answer, and not for ever when it does', async () => {
  await within(
    60_000,
    async () => {
      const time = await writeNote(cluster, 'test', signal);
      let reads = 0;
      let pings = 0;
      /** Hangs up at every second reply of a stream; is away altogether for the first three. */
      const hangingUp = new Proxy(cluster, {
        get(target, name) {
          const value: unknown = Reflect.get(target, name, target);
          if (name === 'ping')
            return async () => {
              if (++pings <= 3) throw new MongoNetworkError('away');
              return target.ping();
            };
          if (name !== 'command') return typeof value === 'function' ? value.bind(target) : value;
          return async (db: string, command: Doc, options: CommandOptions) => {
            if (!('getMore' in command)) return target.command(db, command, options);
            reads++;
            throw new MongoNetworkError('connection closed');
          };
        },
      });
      const error = await readUntilEnd(hangingUp, time);
      assert.is(error.code, 'EventTooLarge', error.message);
      assert.ok(pings > 3, 'a cluster that is away says nothing about the event');
      assert.ok(reads < 40, `${reads} reads`);
    },
    'the failure',
  );
});

test.run();
