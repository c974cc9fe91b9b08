import { Long, MongoServerError, UUID } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Doc, decodeOrdered, encode, type OrderedDoc } from '../../../src/bson/bson.js';
import { TransientError } from '../../../src/cluster/errors.js';
import type { WritableCluster } from '../../../src/cluster/writable-cluster.js';
import { IndexBuilder } from '../../../src/indexes/builder.js';
import type { IndexedCollections } from '../../../src/indexes/context.js';
import { deferred } from '../../../src/lib/tasks.js';
import type { CollectionMap, MigratedCollection } from '../../../src/metadata/collections.js';
import { type Answer, answeringCluster } from '../../support/answering-cluster.js';
import { migratedCollection } from '../../support/migrated-collection.js';
import { silentLogger } from '../../support/silent-logger.js';
import { eventually } from '../../support/within.js';
import { writableAlone } from '../../support/writable.js';

const COLLECTIONS = 3000;

const INDEX = { v: 2, key: { a: 1 }, name: 'a_1' };
const SPEC = decodeOrdered(encode(INDEX));

/** The reply to listIndexes. */
const listed = (indexes: readonly Buffer[]): Doc => ({ cursor: { id: Long.ZERO, ns: '', firstBatch: indexes } });

/** What a test does itself of a destination. */
type Done = Partial<Pick<WritableCluster, 'attempt' | 'resolveLostStructure' | 'tellOutage'>>;

/** A destination that has these indexes; `write` answers what changes them. */
async function destinationOf(built: () => readonly Buffer[], write: Answer, done: Done = {}): Promise<WritableCluster> {
  const answer: Answer = (command, db) => ('listIndexes' in command ? listed(built()) : write(command, db));
  return Object.assign(writableAlone(await answeringCluster(answer, { name: 'cluster1' })), done);
}

/** A map of one collection, which a test may change. */
function mapOf(indexes: readonly OrderedDoc[]) {
  let collection = migratedCollection({ id: 'c', indexes });
  const change = (changes: Partial<MigratedCollection>): void => {
    collection = { ...collection, ...changes };
  };
  const collections: IndexedCollections = {
    version: 1,
    get: () => collection,
    live: () => [collection],
    update: unchanged,
  };
  return { change, collections };
}

/** Only kept indexes are changed by the builder, and there are none. */
const unchanged: CollectionMap['update'] = () => Promise.reject(new Error('a collection was to be changed'));

/** A builder that has begun; `stop` ends it. */
function begun(destination: WritableCluster, collections: IndexedCollections) {
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
    const copy = { status: 'done', estimatedDocuments: 1, estimatedBytes: (n * 7919) % COLLECTIONS } as const;
    all.set(`c${n}`, migratedCollection({ id: `c${n}`, ns: { db: 'db', coll: `c${n}` }, indexes: [SPEC], copy }));
  }
  let looks = 0;
  let walks = 0;
  const collections: IndexedCollections = {
    version: 1,
    get: (id) => {
      looks++;
      return all.get(id);
    },
    live: () => {
      walks++;
      return [...all.values()];
    },
    update: unchanged,
  };
  const looked: string[] = [];
  let listings = 0;
  const answer: Answer = ({ listIndexes: coll }) => {
    if (coll === undefined) {
      listings++;
      throw new MongoServerError({ code: 40324, errmsg: 'Unrecognized pipeline stage name' });
    }
    looked.push(String(coll));
    return listed([encode(INDEX)]);
  };
  const cluster = writableAlone(await answeringCluster(answer));
  const { builder, stop } = begun(cluster, collections);
  await eventually(20_000, () => builder.isComplete, 'all being looked at');
  assert.is(looked.length, COLLECTIONS);
  assert.is(listings, 1);
  const sizes = looked.map((coll) => all.get(coll)?.copy.estimatedBytes ?? 0);
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

/** Many collections that are to have one index each, and a destination that tells of all in one listing. */
async function manyCollections(atListing: (builder: IndexBuilder, all: Map<string, MigratedCollection>) => void) {
  const all = new Map<string, MigratedCollection>();
  for (let n = 0; n < 60; n++)
    all.set(`c${n}`, migratedCollection({ id: `c${n}`, ns: { db: 'db', coll: `c${n}` }, indexes: [SPEC] }));
  const collections = {
    version: 1,
    get: (id: string) => all.get(id),
    live: () => [...all.values()],
    update: unchanged,
  };
  const looked: string[] = [];
  const entry = ({ id, ns, destinationUuid: uuid }: MigratedCollection): Buffer => {
    const spec = { spec: INDEX, ready: id !== 'c7' };
    const own = { spec: { v: 2, key: { _id: 1 }, name: '_id_' }, ready: true };
    const found = id === 'c8' ? [own] : [own, spec];
    return encode({ db: ns.db, name: ns.coll, uuid: id === 'c9' ? new UUID() : uuid, md: { indexes: found } });
  };
  const answer: Answer = (command) => {
    if ('aggregate' in command) {
      const entries = [...all.values()].map(entry);
      atListing(running.builder, all);
      return listed(entries);
    }
    looked.push(String(command['listIndexes']));
    return listed([encode(INDEX)]);
  };
  const cluster = writableAlone(await answeringCluster(answer));
  const running = begun(cluster, collections);
  return { ...running, looked };
}

test('of many collections only those are looked at one by one that a listing of all does not show as they should be', async () => {
  const { builder, looked, stop } = await manyCollections(() => undefined);
  await eventually(10_000, () => builder.isComplete, 'the indexes being as they should');
  // Being built, missing, and of another collection.
  assert.equal(looked.sort(), ['c7', 'c8', 'c9']);
  const { built, total } = builder.progress;
  assert.equal([built, total], [60, 60]);
  await stop();
});

test('what is changed while all are listed is looked at by itself', async () => {
  const { builder, looked, stop } = await manyCollections((builder, all) => {
    all.set('c1', { ...(all.get('c1') as MigratedCollection) });
    builder.changed('c2');
    void builder.hold(['c3'], AbortSignal.timeout(10_000));
  });
  const others = ['c1', 'c2', 'c7', 'c8', 'c9'];
  await eventually(10_000, () => others.every((id) => looked.includes(id)), 'all that may be built');
  looked.length = 0;
  builder.release(['c3']);
  await eventually(10_000, () => builder.isComplete, 'the indexes being as they should');
  assert.equal(looked, ['c3']);
  await stop();
});

test('a collection that is dropped while its build is held up holds up nothing any more', async () => {
  const told = new Map<object, string>();
  const { change, collections } = mapOf([SPEC]);
  const abort = () => Promise.reject(new MongoServerError({ code: 276, errmsg: 'the build was aborted' }));
  const cluster = await destinationOf(() => [], abort, {
    tellOutage: (task, text) => void (text === undefined ? told.delete(task) : told.set(task, text)),
  });
  const { builder, stop } = begun(cluster, collections);
  await eventually(10_000, () => told.size > 0, 'the build being told as held up');
  change({ dropped: true });
  builder.changed('c');
  await eventually(10_000, () => builder.isComplete, 'the queue being empty');
  assert.is(told.size, 0);
  await stop();
});

test('an index whose build was lost is dropped when it comes after the source has dropped it', async () => {
  const built: Buffer[] = [];
  const { change, collections } = mapOf([SPEC]);
  let isLost = false;
  let looksForLost = 0;
  const write: Answer = (command) => {
    if ('dropIndexes' in command) {
      built.length = 0;
      return {};
    }
    isLost = true;
    change({ indexes: [] });
    throw new TransientError('connection reset');
  };
  const cluster = await destinationOf(() => [...built], write, {
    // The server has it for a while, and carries it out in the end.
    resolveLostStructure: async () => {
      if (!isLost) return;
      if (looksForLost++ < 2) throw new TransientError('the answer to a createIndexes command was lost');
      isLost = false;
      built.push(encode(INDEX));
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
  const building = () => (isBuilding ? [encode({ spec: INDEX, buildUUID: new UUID() })] : []);
  const cluster = await destinationOf(building, ({ index }) => {
    dropped.push(index);
    isBuilding = false;
    return {};
  });
  const { builder, stop } = begun(cluster, collections);
  builder.changed('c');
  await eventually(10_000, () => builder.isComplete, 'the indexes being as they should');
  assert.equal([isBuilding, dropped], [false, [['a_1']]]);
  await stop();
});

/** A destination whose build lasts until `end`, and which does not answer drops: they are tried again. */
async function unansweredDrops() {
  const build = deferred<Doc>();
  let trying = 0;
  let builds = 0;
  const write: Answer = (command) => {
    if ('dropIndexes' in command) throw new TransientError('connection reset');
    return builds++ === 0 ? build.promise : {};
  };
  const plain = await destinationOf(() => [], write);
  const attempt: WritableCluster['attempt'] = async (what, signal, work) => {
    if (!what.startsWith('ending an index build')) return plain.attempt(what, signal, work);
    trying++;
    try {
      return await plain.attempt(what, signal, work);
    } finally {
      trying--;
    }
  };
  const cluster = await destinationOf(() => [], write, { attempt });
  return { cluster, end: () => build.resolve({}), builds: () => builds, isDropping: () => trying > 0 };
}

test('the drop of a cancelled build is not tried again once the run has ended', async () => {
  const { cluster, builds, isDropping } = await unansweredDrops();
  const { change, collections } = mapOf([SPEC]);
  const { builder, stop } = begun(cluster, collections);
  await eventually(10_000, () => builds() === 1, 'the build');
  change({ indexes: [] });
  builder.changed('c');
  await eventually(10_000, isDropping, 'the drop');
  await stop();
  await eventually(10_000, () => !isDropping(), 'the end of the drop');
});

test('nor when its index is wanted again', async () => {
  const { cluster, end, builds, isDropping } = await unansweredDrops();
  const { change, collections } = mapOf([SPEC]);
  const { builder, stop } = begun(cluster, collections);
  await eventually(10_000, () => builds() === 1, 'the build');
  change({ indexes: [] });
  builder.changed('c');
  await eventually(10_000, isDropping, 'the drop');
  change({ indexes: [SPEC] });
  builder.changed('c');
  end();
  await eventually(10_000, () => builds() === 2, 'the other build');
  assert.not.ok(isDropping());
  await stop();
});

test.run();
