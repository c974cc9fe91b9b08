import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decodeOrdered, encode } from '../../src/cluster/bson.js';
import { findCollection } from '../../src/cluster/catalog.js';
import { Cluster } from '../../src/cluster/cluster.js';
import { IndexBuilder } from '../../src/indexes/builder.js';
import { createLogger } from '../../src/lib/logger.js';
import { type Deferred, deferred } from '../../src/lib/tasks.js';
import type { CollectionMap, MigratedCollection } from '../../src/metadata/collections.js';
import { ReplicaSet } from '../support/replica-set.js';
import { eventually, within } from '../support/within.js';

const logger = createLogger({ level: 'WARN', mongosyncId: 'test', sink: { write: () => undefined } });

/** A cluster whose answers to createIndexes come only once `gate` opens: what they did has happened before. */
function withSlowAnswers(cluster: Cluster, gate: Deferred<void>, built: Deferred<void>): Cluster {
  return new Proxy(cluster, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      if (name !== 'write') return value.bind(target);
      return async (db: string, command: Record<string, unknown>, options: object) => {
        const reply = await target.write(db, command, options);
        if ('createIndexes' in command) {
          built.resolve();
          await gate.promise;
        }
        return reply;
      };
    },
  });
}

test('a build that was done in the moment it was cancelled is made again', async () => {
  await within(
    60_000,
    async (signal) => {
      await using set = await ReplicaSet.start();
      const client = await set.connect();
      await client.db('t').collection('c').insertOne({ a: 1 });
      const cluster = await Cluster.connect({ name: 'cluster1', uri: set.uri, logger, maxPoolSize: 4 });
      const [gate, built] = [deferred<void>(), deferred<void>()];
      const found = await findCollection(cluster, { db: 't', coll: 'c' }, signal);
      const collection = {
        id: 'c',
        ns: { db: 't', coll: 'c' },
        destinationUuid: found?.uuid,
        options: new Map(),
        indexes: [decodeOrdered(encode({ v: 2, key: { a: 1 }, name: 'a_1' }))],
        dropped: false,
        copy: { estimatedBytes: 0 },
      } as unknown as MigratedCollection;
      const collections = { get: () => collection, live: () => [collection] } as unknown as CollectionMap;
      const builder = new IndexBuilder({
        destination: withSlowAnswers(cluster, gate, built),
        collections,
        logger,
        wants: () => true,
        parallelBuilds: 1,
        caughtUp: () => Promise.resolve(),
        onWarning: () => undefined,
      });
      const stop = new AbortController();
      const running = builder.run(stop.signal).catch((error: unknown) => error);
      try {
        builder.open();
        await built.promise;
        const held = builder.hold(['c'], signal);
        await eventually(
          10_000,
          async () => (await client.db('t').collection('c').indexes()).length === 1,
          'the cancelling drop',
        );
        gate.resolve();
        await held;
        builder.release(['c']);
        await eventually(10_000, () => builder.settled, 'the builder being settled');
        assert.equal(
          (await client.db('t').collection('c').indexes()).map((each) => each.name),
          ['_id_', 'a_1'],
        );
      } finally {
        stop.abort();
        await running;
        await cluster.close();
      }
    },
    'the cancelled build',
  );
});

test.run();
