import { type Document, Double, Int32, Long } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { LaneApplier } from '../../src/apply/lane-applier.js';
import type { Operation } from '../../src/apply/operation.js';
import type { AppError } from '../../src/errors.js';
import { MigrationHarness } from '../support/migration-harness.js';
import { sharedPair } from '../support/shared-servers.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 90_000;

const { pair, source, destination } = await sharedPair(test);

/** Somebody who passes the write block writes to the destination. */
async function foreign(command: Document): Promise<void> {
  const reply = await destination.db('shop').command({ ...command, mayBypassWriteBlocking: true });
  assert.is(reply['writeErrors'], undefined);
}

const change = (coll: string, q: Document, u: Document | Document[]) =>
  foreign({ update: coll, updates: [{ q, u, upsert: false }] });

/** What is planted in a document of a collection of its own, and the kind under which it must be found. */
const DOCUMENT_FAULTS: readonly [what: string, kind: string, plant: (coll: string) => Promise<void>][] = [
  ['a document is missing', 'missing', (coll) => foreign({ delete: coll, deletes: [{ q: { _id: 7 }, limit: 1 }] })],
  ['there is a document more', 'extra', (coll) => foreign({ insert: coll, documents: [{ _id: 'more' }] })],
  ['one byte is another', 'content', (coll) => change(coll, { _id: 7 }, { $set: { text: 'somf' } })],
  ['an int stands for a long', 'type', (coll) => change(coll, { _id: 7 }, { $set: { long: new Int32(1) } })],
  ['0.0 stands for -0.0', 'type', (coll) => change(coll, { _id: 7 }, { $set: { zero: new Double(0) } })],
  [
    'the fields stand in another order',
    'fieldOrder',
    (coll) =>
      change(coll, { _id: 7 }, [
        { $replaceWith: { _id: '$_id', zero: '$zero', long: '$long', text: '$text', date: '$date' } },
      ]),
  ],
];

async function seed(coll: string): Promise<void> {
  const documents = Array.from({ length: 50 }, (_, n) => ({
    _id: n,
    text: 'some',
    long: Long.fromNumber(1),
    zero: new Double(-0),
    date: new Date(0),
  }));
  await source.db('shop').collection<{ _id: number }>(coll).insertMany(documents);
}

test('each kind of difference in a document is found while the sync runs, and named', async () => {
  for (const index of DOCUMENT_FAULTS.keys()) await seed(`c${index}`);
  const work = async () => {
    await using harness = await MigrationHarness.open(pair);
    await harness.sync();
    for (const [index, [, , plant]] of DOCUMENT_FAULTS.entries()) await plant(`c${index}`);
    const all = () => mismatchesOf(harness).size === DOCUMENT_FAULTS.length;
    await eventually(30_000, async () => all(), 'all of them being found');
    assert.not.ok(harness.snapshot.canCommit);
    assert.match(harness.snapshot.commitObstacle ?? '', /6 documents differ/);
    const rows = harness.migration.namespaces().map((each) => [each.documentsHashed, each.mismatchCount]);
    assert.equal(rows, new Array(DOCUMENT_FAULTS.length).fill([50, 1]));
    assert.match(harness.snapshot.warnings.join(), /6 documents differ: shop\.c0 1/);
    const stored = await destination
      .db('mongosync_reserved_for_internal_use')
      .collection('mismatches')
      .find()
      .toArray();
    const kinds = new Map(stored.map((each) => [each['namespace'], each['kind']]));
    for (const [index, [what, kind]] of DOCUMENT_FAULTS.entries()) assert.is(kinds.get(`shop.c${index}`), kind, what);
  };
  await within(TEST_MS, work(), 'the migration');
});

test('a difference that is put right is no mismatch any more', async () => {
  await seed('c');
  const work = async () => {
    await using harness = await MigrationHarness.open(pair);
    await harness.sync();
    await change('c', { _id: 7 }, { $set: { text: 'else' } });
    await eventually(30_000, async () => mismatchesOf(harness).get('shop.c') === 1, 'the mismatch');
    await change('c', { _id: 7 }, { $set: { text: 'some' } });
    await harness.commit();
    assert.is(mismatchesOf(harness).size, 0);
  };
  await within(TEST_MS, work(), 'the migration');
});

function mismatchesOf(harness: MigrationHarness): ReadonlyMap<string, number> {
  return harness.snapshot.verification?.mismatches ?? new Map();
}

/** Synced, then planted, then committed: resolves with what ended it. */
async function commitWith(plant: () => Promise<void>, hooks = {}): Promise<AppError> {
  const work = async () => {
    await using harness = await MigrationHarness.open(pair, {}, hooks);
    await harness.sync();
    await plant();
    await harness.migration.commit();
    const error = await harness.failure();
    assert.not.ok(harness.snapshot.canWrite);
    return error;
  };
  return within(TEST_MS, work(), 'the failing commit');
}

const CATALOG_FAULTS: readonly [what: string, plant: () => Promise<void>, code: string, named: RegExp][] = [
  [
    'a view is defined otherwise',
    () => foreign({ collMod: 'v', viewOn: 'c', pipeline: [{ $match: { a: 2 } }] }),
    'VerificationFailed',
    /the view shop\.v has a different definition/,
  ],
  ['there is a collection more', () => foreign({ create: 'more' }), 'DestinationModified', /shop\.more was created/],
  ['a collection is gone', () => foreign({ drop: 'c' }), 'DestinationModified', /shop\.c/],
  ['an option is gone', () => foreign({ collMod: 'c', validator: {} }), 'CatalogDiffers', /shop\.c/],
  [
    'a document is written just before the commit',
    () => foreign({ insert: 'c', documents: [{ _id: 'late' }] }),
    'VerificationFailed',
    /1 document differs: shop\.c 1; among them shop\.c "late" \(extra\)/,
  ],
  [
    'a document is lost just before the commit',
    () => foreign({ delete: 'c', deletes: [{ q: { _id: 3 }, limit: 1 }] }),
    'VerificationFailed',
    /shop\.c 3 \(missing\)/,
  ],
];

for (const [what, plant, code, named] of CATALOG_FAULTS) {
  test(`${what}: the commit fails by name before writes are permitted`, async () => {
    const shop = source.db('shop');
    await shop.createCollection('c', { validator: { a: { $ne: 'never' } } });
    await seed('c');
    await shop.createCollection('v', { viewOn: 'c', pipeline: [{ $match: { a: 1 } }] });
    await shop.createCollection('log', { capped: true, size: 10_000 });
    await shop.collection<{ _id: number }>('log').insertMany([{ _id: 1 }, { _id: 2 }, { _id: 3 }]);
    const error = await commitWith(plant);
    assert.is(error.code, code, error.message);
    assert.match(error.message, named);
  });
}

test('an index that somebody dropped, and one that somebody made, are put right and named', async () => {
  await seed('c');
  await source.db('shop').collection('c').createIndex({ text: 1 });
  const work = async () => {
    await using harness = await MigrationHarness.open(pair);
    await harness.sync();
    await foreign({ dropIndexes: 'c', index: 'text_1' });
    await foreign({ createIndexes: 'c', indexes: [{ key: { long: 1 }, name: 'own' }] });
    await harness.commit();
    assert.match(harness.snapshot.warnings.join(), /indexes of shop\.c .*text_1 dropped; own created/);
  };
  await within(TEST_MS, work(), 'the migration');
  const indexes = await destination.db('shop').collection('c').indexes();
  assert.equal(indexes.map(({ name }) => name).sort(), ['_id_', 'text_1']);
});

/** An applier that treats the operations of one document as a test says. */
function faulty(apply: (operations: readonly Operation[]) => readonly Operation[]): {
  wrapApplier: (applier: LaneApplier) => LaneApplier;
} {
  return {
    wrapApplier: (applier) => ({ apply: (operations, signal) => applier.apply(apply(operations), signal) }),
  };
}

test('an event that the applier dropped is found', async () => {
  await seed('c');
  const hooks = faulty((operations) => operations.filter(({ kind }) => kind !== 'delete'));
  const work = async () => {
    await using harness = await MigrationHarness.open(pair, {}, hooks);
    await harness.sync();
    await source.db('shop').collection<{ _id: number }>('c').deleteOne({ _id: 9 });
    await eventually(30_000, async () => mismatchesOf(harness).get('shop.c') === 1, 'the mismatch');
  };
  await within(TEST_MS, work(), 'the migration');
});

test('an event that the applier carried out a second time, later, is found', async () => {
  await seed('c');
  const earlier: Operation[] = [];
  const hooks = faulty((operations) => {
    const again = operations.some(({ kind }) => kind === 'delete') ? earlier.splice(0) : [];
    earlier.push(...operations.filter(({ kind }) => kind === 'put'));
    return [...operations, ...again];
  });
  const work = async () => {
    await using harness = await MigrationHarness.open(pair, {}, hooks);
    await harness.sync();
    const c = source.db('shop').collection<{ _id: number; state?: string }>('c');
    await c.insertOne({ _id: 100, state: 'first' });
    await harness.caughtUp();
    await eventually(30_000, async () => earlier.length === 1, 'the insert being applied');
    await c.replaceOne({ _id: 100 }, { state: 'second' });
    await c.deleteMany({ _id: { $lt: 40 } });
    await eventually(30_000, async () => mismatchesOf(harness).get('shop.c') === 1, 'the mismatch');
  };
  await within(TEST_MS, work(), 'the migration');
});

test.run();
