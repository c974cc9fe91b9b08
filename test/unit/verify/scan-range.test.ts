import { mock } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { Long, Timestamp } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encode } from '../../../src/bson/bson.js';
import type { Cluster } from '../../../src/cluster/cluster.js';

import { AppError } from '../../../src/errors.js';
import { deferred } from '../../../src/lib/tasks.js';
import type { RangeScanner } from '../../../src/matching/range-scanner.js';
import type { MigratedCollection } from '../../../src/metadata/collections.js';
import type { VerifyRange } from '../../../src/metadata/verification-store.js';
import type { VerifyContext } from '../../../src/verify/context.js';
import { InitialHashing } from '../../../src/verify/initial-hashing.js';
import { MemoryVerificationState } from '../../../src/verify/memory-state.js';
import { RecheckQueue } from '../../../src/verify/recheck-queue.js';
import { scanRange } from '../../../src/verify/scan-range.js';
import { answeringCluster } from '../../support/answering-cluster.js';
import { migratedCollection } from '../../support/migrated-collection.js';
import { rawCursor } from '../../support/raw-replies.js';
import { verifyContext } from '../../support/verify-context.js';
import { eventually } from '../../support/within.js';

const { signal } = new AbortController();
const NOW = new Timestamp({ t: 100, i: 1 });
const ID = 'a'.repeat(32);
const RANGE: VerifyRange = {
  id: `${ID}:0`,
  collection: ID,
  lower: undefined,
  upper: undefined,
  estimatedDocuments: 1,
  estimatedBytes: 100,
  batchDocuments: 1,
  done: false,
  sourceDocuments: 0,
  destinationDocuments: 0,
};
const COLLECTION = migratedCollection({ id: ID });
const EVENTS = { onRead: () => undefined, onDiffering: () => Promise.resolve() };

/** A cluster without documents; `names`: what listCollections finds. */
async function clusterOf(names: readonly string[]): Promise<Cluster> {
  const cluster = await answeringCluster((command) => {
    if ('find' in command || 'aggregate' in command) return { cursor: rawCursor({ batch: [] }) };
    if (!('listCollections' in command)) return {};
    return { cursor: { id: Long.ZERO, ns: 'shop.x', firstBatch: names.map(rawName) } };
  });
  cluster.saw(NOW);
  return cluster;
}

function rawName(name: string): Buffer {
  const value = Buffer.from(`\x02name\0${String.fromCharCode(name.length + 1)}\0\0\0${name}\0`, 'latin1');
  const length = Buffer.alloc(4);
  length.writeInt32LE(value.length + 5);
  return Buffer.concat([length, value, Buffer.alloc(1)]);
}

/** A verification of one collection; `names`: what the destination's listCollections finds. */
async function contextOf(names: readonly string[], changes: Partial<VerifyContext>): Promise<VerifyContext> {
  const [source, destination] = [await clusterOf([]), await clusterOf(names)];
  const collections = { get: () => COLLECTION, live: () => [COLLECTION], views: () => [] };
  return verifyContext({ source, destination, collections, ...changes });
}

/** A scanner that finds the collection moved so many times. */
function moving(times: number): RangeScanner & { scans: number } {
  return {
    scans: 0,
    async scan() {
      return this.scans++ < times ? 'moved' : 'compared';
    },
    close: () => Promise.resolve(),
  };
}

// None of the fakes waits for anything but a timer or for what a test resolves, so one turn of the event loop does all
// that can be done.

/** Lets an hour pass on the fake clock, and all be done that can be done before and after it. */
async function passAnHour(): Promise<void> {
  await turn();
  mock.timers.tick(3_600_000);
  await turn();
}

test('a collection that is not in its place is awaited until the applier has got there', async () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  const applied = deferred<void>();
  const scanner = moving(1);
  const context = await contextOf(['items'], { applied: () => applied.promise });
  const scanned = scanRange(context, scanner, RANGE, EVENTS, signal);
  await passAnHour();
  assert.is(scanner.scans, 1);
  applied.resolve();
  await passAnHour();
  assert.is(await scanned, 'compared');
});

test.after.each(() => mock.timers.reset());

test('it was taken away only when the destination has its UUID no more although the applier is there', async () => {
  const error = await scanRange(await contextOf([], {}), moving(99), RANGE, EVENTS, signal).catch(
    (cause: unknown) => cause,
  );
  assert.ok(error instanceof AppError && error.code === 'DestinationModified');
});

test('one that somebody has renamed on the destination is not waited for', async () => {
  const renamed = await contextOf(['goods'], {});
  const error = await scanRange(renamed, moving(99), RANGE, EVENTS, signal).catch((cause: unknown) => cause);
  assert.ok(error instanceof AppError && error.code === 'DestinationModified');
});

test('one whose drop is being applied, which the map does not have yet, was not taken away', async () => {
  const context = await contextOf([], {});
  let applied = 0;
  // The map hears of it while the applier is awaited for the second time.
  const get = () => ({ ...COLLECTION, dropped: applied > 1 });
  const counted = async (): Promise<void> => {
    applied++;
  };
  const dropping = { ...context, collections: { ...context.collections, get }, applied: counted };
  assert.is(await scanRange(dropping, moving(99), RANGE, EVENTS, signal), 'gone');
});

test('where no map follows renames, one that is elsewhere is given up', async () => {
  const lost: string[] = [];
  const onTakenAway = ({ name }: MigratedCollection): void => {
    lost.push(name);
  };
  const elsewhere = await contextOf([], { followsCatalog: false, onTakenAway });
  assert.is(await scanRange(elsewhere, moving(99), RANGE, EVENTS, signal), 'gone');
  assert.equal(lost, ['shop.items']);
});

test('planning waits for what was created before the streams begin', async () => {
  const applied = deferred<void>();
  let asked = 0;
  const store = new MemoryVerificationState();
  const context = await contextOf([], {
    store,
    applied: async (time) => {
      assert.ok(time.equals(NOW));
      await applied.promise;
    },
    parallelRanges: 1,
    startScanner: async () => moving(0),
  });
  const { collections } = context;
  const live = (): MigratedCollection[] => {
    asked++;
    return collections.live();
  };
  const counting = { ...collections, live };
  const queue = new RecheckQueue(store, { documents: 10, bytes: 1000 });
  const hashing = new InitialHashing({ ...context, collections: counting }, queue);
  const stop = new AbortController();
  const plan = { sourceStart: NOW, isPlanned: false, onPlanned: () => Promise.resolve() };
  const running = hashing.run(plan, stop.signal).catch(() => undefined);
  await turn();
  assert.is(asked, 0);
  applied.resolve();
  await hashing.done(signal);
  assert.ok(asked > 0);
  stop.abort();
  await running;
});

test('while a collection is copied again hashing is not done, and afterwards it is compared', async () => {
  const store = new MemoryVerificationState();
  const scanner = moving(0);
  const context = await contextOf([], { store, parallelRanges: 1, startScanner: async () => scanner });
  const queue = new RecheckQueue(store, { documents: 10, bytes: 1000 });
  const hashing = new InitialHashing(context, queue);
  const stop = new AbortController();
  const plan = { sourceStart: NOW, isPlanned: true, onPlanned: () => Promise.resolve() };
  const running = hashing.run(plan, stop.signal).catch(() => undefined);
  await hashing.done(signal);
  const copied = deferred<void>();
  const copying = hashing.whileCopied(COLLECTION, () => copied.promise, signal);
  // The end of another copy of it has the hashing look for ranges.
  await hashing.whileCopied(COLLECTION, () => Promise.resolve(), signal);
  await turn();
  const stored = await store.loadRanges();
  assert.equal([hashing.isDone, scanner.scans, stored.some(({ done }) => done)], [false, 0, false]);
  copied.resolve();
  await copying;
  await hashing.done(signal);
  assert.ok(stored.length > 0);
  assert.is(scanner.scans, stored.length);
  stop.abort();
  await running;
});

const NO_LIMITS = { documents: 1_000_000, bytes: 1_000_000_000 };
const FLOODS: readonly [what: string, ids: () => Buffer[]][] = [
  ['many documents', () => Array.from({ length: 50_001 }, (_, n) => encode({ _id: n }))],
  [
    'documents with long ids',
    () => Array.from({ length: 17 }, (_, n) => encode({ _id: `${n}${'x'.repeat(1 << 20)}` })),
  ],
];

for (const [what, ids] of FLOODS) {
  test(`the hashing pauses while ${what} wait for their first comparison`, async () => {
    const store = new MemoryVerificationState();
    let isThrough = false;
    const startScanner = async (): Promise<RangeScanner> => ({
      scan: async (_scan, events) => {
        await events.onDiffering(ids());
        isThrough = true;
        return 'compared';
      },
      close: () => Promise.resolve(),
    });
    const context = await contextOf([], { store, parallelRanges: 1, startScanner });
    const queue = new RecheckQueue(store, NO_LIMITS);
    await store.saveRanges([RANGE]);
    const hashing = new InitialHashing(context, queue);
    const stop = new AbortController();
    const plan = { sourceStart: NOW, isPlanned: true, onPlanned: () => Promise.resolve() };
    const running = hashing.run(plan, stop.signal).catch(() => undefined);
    await eventually(20_000, () => queue.newcomers === ids().length, 'the flood');
    assert.is(isThrough, false);
    // Those that are compared are newcomers no longer, whatever came of it.
    const compared = queue.ids().get(ID) as Map<string, Buffer>;
    const differing = [...compared.values()];
    queue.note(ID, { compared, differing, changed: new Map(), readUpTo: NOW, now: NOW });
    await hashing.done(signal);
    assert.equal([isThrough, queue.newcomers, queue.newcomerBytes], [true, 0, 0]);
    stop.abort();
    await running;
  });
}

test.run();
