import { MongoServerError, UUID } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decodeOrdered, encode } from '../../../src/bson/bson.js';
import { TransientError } from '../../../src/cluster/errors.js';
import type { WritableCluster } from '../../../src/cluster/writable-cluster.js';
import { IndexBuilder } from '../../../src/indexes/builder.js';
import { sleep } from '../../../src/lib/signals.js';
import { deferred } from '../../../src/lib/tasks.js';
import type { CollectionMap, MigratedCollection } from '../../../src/metadata/collections.js';
import { silentLogger } from '../../support/silent-logger.js';
import { eventually } from '../../support/within.js';

const COLLECTIONS = 3000;

/** A server whose collections have their one index, and which counts what it is asked. */
function servedCluster(): { cluster: WritableCluster; listed: string[] } {
  const listed: string[] = [];
  const index = encode({ v: 2, key: { a: 1 }, name: 'a_1' });
  const cluster = destinationOf(() => [], {
    command: async (_db: string, command: { listIndexes: string }) => {
      listed.push(command.listIndexes);
      return { cursor: { id: { isZero: () => true }, ns: '', firstBatch: [index] } };
    },
  });
  return { cluster, listed };
}

/** A destination that does nothing by itself; `built` gives what listIndexes finds. */
function destinationOf(built: () => readonly Buffer[], others: object): WritableCluster {
  return {
    name: 'cluster1',
    retryLimitMs: 60_000,
    isAtLeast: () => true,
    attempt: (_what: string, _signal: AbortSignal, work: () => Promise<unknown>) => work(),
    startSession: () => ({ endSession: async () => undefined }),
    tellOutage: () => undefined,
    resolveLostStructure: async () => undefined,
    command: async () => ({ cursor: { id: { isZero: () => true }, ns: '', firstBatch: built() } }),
    ...others,
  } as unknown as WritableCluster;
}

const INDEX = { v: 2, key: { a: 1 }, name: 'a_1' };

/** A map of one collection, which a test may change. */
function mapOf(indexes: readonly object[]) {
  const collection = {
    id: 'c',
    name: 'db.c',
    ns: { db: 'db', coll: 'c' },
    options: new Map(),
    indexes: indexes.map((each) => decodeOrdered(encode(each as Record<string, unknown>))),
    dropped: false,
    copy: { status: 'done', estimatedDocuments: 1, estimatedBytes: 1 },
  };
  const collections = { version: 1, get: () => collection, live: () => [collection] } as unknown as CollectionMap;
  return { collection, collections };
}

/** A builder that has begun; `stop` ends it. */
function begun(destination: WritableCluster, collections: CollectionMap) {
  const builder = new IndexBuilder({
    destination,
    collections,
    logger: silentLogger,
    wants: () => true,
    parallelBuilds: 1,
    onWarning: () => undefined,
  });
  const caller = new AbortController();
  const running = builder.run(() => Promise.resolve(), caller.signal).catch(() => 'stopped');
  builder.open();
  const stop = async (): Promise<void> => {
    caller.abort();
    assert.is(await running, 'stopped');
  };
  return { builder, stop };
}

test('thousands of collections are looked at largest first, each a few times, however often progress is asked for', async () => {
  const all = new Map<string, MigratedCollection>();
  for (let n = 0; n < COLLECTIONS; n++) {
    const collection = {
      id: `c${n}`,
      name: `db.c${n}`,
      ns: { db: 'db', coll: `c${n}` },
      options: new Map(),
      indexes: [decodeOrdered(encode({ v: 2, key: { a: 1 }, name: 'a_1' }))],
      dropped: false,
      copy: { status: 'done', estimatedDocuments: 1, estimatedBytes: (n * 7919) % COLLECTIONS },
    } as unknown as MigratedCollection;
    all.set(collection.id, collection);
  }
  let looks = 0;
  let walks = 0;
  const collections = {
    version: 1,
    get: (id: string) => {
      looks++;
      return all.get(id);
    },
    live: () => {
      walks++;
      return [...all.values()];
    },
  } as unknown as CollectionMap;
  const { cluster, listed } = servedCluster();
  const { builder, stop } = begun(cluster, collections);
  await eventually(20_000, () => builder.isComplete, 'all being looked at');
  assert.is(listed.length, COLLECTIONS);
  const sizes = listed.map((coll) => all.get(coll)?.copy.estimatedBytes ?? 0);
  assert.ok(
    sizes.every((bytes, index) => index === 0 || bytes <= (sizes[index - 1] as number)),
    'the largest first',
  );
  assert.ok(looks < 10 * COLLECTIONS, `${looks} look-ups`);
  walks = 0;
  const { progress } = builder;
  assert.equal([progress.built, progress.total, progress.collectionsFinished], [COLLECTIONS, COLLECTIONS, COLLECTIONS]);
  for (let times = 0; times < 100; times++) assert.is(builder.progress, progress);
  assert.is(walks, 1);
  await stop();
});

test('a collection that is dropped while its build is held up holds up nothing any more', async () => {
  const told = new Map<object, string>();
  const { collection, collections } = mapOf([INDEX]);
  const cluster = destinationOf(() => [], {
    write: () => Promise.reject(new MongoServerError({ code: 276, errmsg: 'the build was aborted' })),
    tellOutage: (task: object, text: string | undefined) =>
      text === undefined ? told.delete(task) : told.set(task, text),
  });
  const { builder, stop } = begun(cluster, collections);
  await eventually(10_000, () => told.size > 0, 'the build being told as held up');
  collection.dropped = true;
  builder.changed('c');
  await eventually(10_000, () => builder.isComplete, 'the queue being empty');
  assert.is(told.size, 0);
  await stop();
});

test('an index whose build was lost is dropped when it comes after the source has dropped it', async () => {
  const built: Buffer[] = [];
  const { collection, collections } = mapOf([INDEX]);
  let isLost = false;
  let looksForLost = 0;
  const cluster = destinationOf(() => [...built], {
    // The server has it for a while, and carries it out in the end.
    resolveLostStructure: async () => {
      if (!isLost) return;
      if (looksForLost++ < 2) throw new TransientError('the answer to a createIndexes command was lost');
      isLost = false;
      built.push(encode(INDEX));
    },
    write: async (_db: string, command: { dropIndexes?: string }) => {
      if (command.dropIndexes !== undefined) {
        built.length = 0;
        return {};
      }
      isLost = true;
      collection.indexes = [];
      throw new TransientError('connection reset');
    },
  });
  const { builder, stop } = begun(cluster, collections);
  await eventually(10_000, () => builder.isComplete, 'the indexes being as they should');
  assert.equal([isLost, looksForLost > 0, built], [false, true, []]);
  await stop();
});

test('a build that an earlier run has left to the server is ended when the source has dropped its index', async () => {
  let isBuilding = true;
  const dropped: unknown[] = [];
  const { collections } = mapOf([]);
  const cluster = destinationOf(() => (isBuilding ? [encode({ spec: INDEX, buildUUID: new UUID() })] : []), {
    write: async (_db: string, command: { index?: unknown }) => {
      dropped.push(command.index);
      isBuilding = false;
      return {};
    },
  });
  const { builder, stop } = begun(cluster, collections);
  builder.changed('c');
  await eventually(10_000, () => builder.isComplete, 'the indexes being as they should');
  assert.equal([isBuilding, dropped], [false, [['a_1']]]);
  await stop();
});

/** A destination whose build lasts until `end`, and which does not answer drops: they are tried again. */
function unansweredDrops() {
  const build = deferred<object>();
  let trying = 0;
  let builds = 0;
  const cluster = destinationOf(() => [], {
    attempt: async (what: string, signal: AbortSignal, work: () => Promise<unknown>) => {
      if (!what.startsWith('ending an index build')) return work();
      trying++;
      try {
        for (;;) {
          signal.throwIfAborted();
          try {
            return await work();
          } catch (error) {
            if (!(error instanceof TransientError)) throw error;
            await sleep(1, signal);
          }
        }
      } finally {
        trying--;
      }
    },
    write: async (_db: string, command: { dropIndexes?: string }) => {
      if (command.dropIndexes !== undefined) throw new TransientError('connection reset');
      return builds++ === 0 ? build.promise : {};
    },
  });
  return { cluster, end: () => build.resolve({}), builds: () => builds, isDropping: () => trying > 0 };
}

test('the drop of a cancelled build is not tried again once the run has ended', async () => {
  const { cluster, builds, isDropping } = unansweredDrops();
  const { collection, collections } = mapOf([INDEX]);
  const { builder, stop } = begun(cluster, collections);
  await eventually(10_000, () => builds() === 1, 'the build');
  collection.indexes = [];
  builder.changed('c');
  await eventually(10_000, isDropping, 'the drop');
  await stop();
  await eventually(10_000, () => !isDropping(), 'the end of the drop');
});

test('nor when its index is wanted again', async () => {
  const { cluster, end, builds, isDropping } = unansweredDrops();
  const { collection, collections } = mapOf([INDEX]);
  const { builder, stop } = begun(cluster, collections);
  await eventually(10_000, () => builds() === 1, 'the build');
  const { indexes } = collection;
  collection.indexes = [];
  builder.changed('c');
  await eventually(10_000, isDropping, 'the drop');
  collection.indexes = indexes;
  builder.changed('c');
  end();
  await eventually(10_000, () => builds() === 2, 'the other build');
  assert.not.ok(isDropping());
  await stop();
});

test.run();
