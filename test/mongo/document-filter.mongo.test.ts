/** Migrations of a part of the documents; more and larger ones with kills are in document-filter.long.test.ts. */
import { type Db, type Document, Long } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { commitHeld } from '../support/commit-points.js';
import { compareClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS, holdCommands, holdStreams, refuseCommands } from '../support/fail-points.js';
import { DEFAULT_START, MigrationHarness } from '../support/migration-harness.js';
import { sharedPair } from '../support/shared-servers.js';
import { resetClusters, storedMigration, storedWhen } from '../support/stored-migration.js';
import { migrateTenantWithKills } from '../support/tenant-migration.js';
import { within } from '../support/within.js';

const TEST_MS = 120_000;
const HOLD_MS = 1500;
/** Longer than a commit takes to come to its time, and a change after it. */
const READ_HOLD_MS = 5000;
const RED = { documentFilter: { field: 'tenant', matchValues: ['red'] } } as const;
const FOUND = { documentFilter: { tenant: { $in: ['red'] } } } as const;

const { pair, source, destination } = await sharedPair(test, { setParameters: FAIL_POINTS });

test('documents that move in and out of the filter, over kills (-9), end as the filter has them', async () => {
  assert.equal(
    await within(TEST_MS, migrateTenantWithKills(pair, { seed: 1, kills: 2, perTenant: 4000 }), 'the migration'),
    [],
  );
});

test('progress has no total; capped and clustered collections, conversions and large documents pass the filter', async () => {
  const migrate = async () => {
    const db = source.db('kinds');
    const doc = (n: number): Document => ({ _id: (n * 37) % 101, tenant: n % 2 === 0 ? 'red' : 'blue', n });
    await db.createCollection('capped', { capped: true, size: 100_000 });
    await db.createCollection('clustered', { clusteredIndex: { key: { _id: 1 }, unique: true } });
    for (const name of ['capped', 'clustered', 'plain', 'moved'])
      await db.collection(name).insertMany(Array.from({ length: 100 }, (_, n) => doc(n)));
    await using harness = await MigrationHarness.open(pair);
    await harness.sync({ ...RED, copyInNaturalOrder: [{ database: 'kinds', collections: ['plain'] }] });
    assert.is(harness.snapshot.copy?.totalBytes, undefined);
    assert.ok((harness.snapshot.copy?.copiedBytes ?? 0) > 0);
    // One that comes into the filter among older ones: its place is where it was inserted.
    await db.collection('capped').updateOne({ n: 3 }, { $set: { tenant: 'red' } });
    await db.collection('capped').insertMany([200, 201].map((n) => ({ ...doc(n), _id: n }) as never));
    await db.command({ convertToCapped: 'moved', size: 100_000 });
    await db.command({ cloneCollectionAsCapped: 'plain', toCollection: 'cloned', size: 100_000 });
    const large = (tenant: string): Document => ({ tenant, pad: 'x'.repeat(16_000_000) });
    await db.collection('plain').insertMany([large('red'), large('blue')]);
    await db.collection('plain').updateOne({ tenant: 'blue', pad: { $exists: true } }, { $set: { tenant: 'red' } });
    await db.collection('clustered').updateMany({ n: { $lt: 10 } }, { $set: { tenant: 'blue' } });
    await db
      .collection('clustered')
      .updateMany({ n: { $gte: 90 } }, [{ $set: { tenant: { $cond: [{ $gte: ['$n', 95] }, ['red'], null] } } }]);
    await harness.commit();
    assert.equal(await compareClusters(source, destination, FOUND), []);
    assert.ok((await destination.db('kinds').collection('cloned').countDocuments()) > 0);
  };
  await within(TEST_MS, migrate(), 'the migration');
});

async function seedLate(): Promise<Db> {
  const db = source.db('late');
  await db.collection<{ _id: number; tenant: unknown }>('c').insertMany([
    { _id: 1, tenant: 'red' },
    { _id: 2, tenant: 'red' },
    { _id: 3, tenant: 'blue' },
    { _id: 4, tenant: 'blue' },
    { _id: 5, tenant: Long.fromInt(7) },
  ]);
  // Its restoring is where the commit is held.
  await db.collection('c').createIndex({ unused: 1 }, { hidden: true });
  return db;
}

type Late = readonly [what: string, write: (db: Db) => Promise<unknown>];
const c = (db: Db) => db.collection<{ _id: number }>('c');

const OTHERS: readonly Late[] = [
  ['insert', (db) => c(db).insertOne({ _id: 10, tenant: 'blue' } as never)],
  ['update', (db) => c(db).updateOne({ _id: 3 }, { $set: { n: 1 } })],
  ['update of the field', (db) => c(db).updateOne({ _id: 3 }, { $set: { tenant: 'green' } })],
  ['replace', (db) => c(db).replaceOne({ _id: 5 }, { tenant: 'Red' } as never)],
  ['delete', (db) => c(db).deleteOne({ _id: 4 })],
];

const OURS: readonly Late[] = [
  ['insert', (db) => c(db).insertOne({ _id: 11, tenant: ['blue', 'red'] } as never)],
  ['update', (db) => c(db).updateOne({ _id: 1 }, { $set: { n: 1 } })],
  ['update out of it', (db) => c(db).updateOne({ _id: 1 }, { $set: { tenant: 'blue' } })],
  ['update into it', (db) => c(db).updateOne({ _id: 3 }, { $set: { tenant: 'red' } })],
  ['replace into it', (db) => c(db).replaceOne({ _id: 5 }, { tenant: 'red' } as never)],
  ['delete', (db) => c(db).deleteOne({ _id: 2 })],
];

test('other tenants go on writing during the commit', async () => {
  const commit = async () => {
    const db = await seedLate();
    await using harness = await MigrationHarness.open(pair);
    await harness.sync(RED);
    await commitHeld(harness, destination, HOLD_MS);
    for (const [, write] of OTHERS) await write(db);
    await harness.until(({ state }) => state === 'COMMITTED', 'COMMITTED');
    assert.equal(await compareClusters(source, destination, FOUND), []);
  };
  await within(TEST_MS, commit(), 'the commit');
});

for (const [what, write] of OURS) {
  test(`a late ${what} of a document of the filter fails the commit`, async () => {
    const commit = async () => {
      const db = await seedLate();
      await using harness = await MigrationHarness.open(pair);
      await harness.sync(RED);
      await commitHeld(harness, destination, HOLD_MS);
      await write(db);
      assert.is((await harness.failure()).code, 'SourceModifiedAfterCommit');
      assert.not(harness.snapshot.canWrite);
    };
    await within(TEST_MS, commit(), 'the commit');
  });
}

test('a document that goes after the commit time, while an earlier change of it is read again, does not go unseen', async () => {
  const commit = async () => {
    const db = await seedLate();
    await using harness = await MigrationHarness.open(pair);
    await harness.sync(RED);
    await harness.caughtUp();
    // What is applied before the commit time waits at its read, until the document has gone.
    await holdCommands(source, { commands: ['find'], times: 1, namespace: 'late.c' }, READ_HOLD_MS);
    await c(db).replaceOne({ _id: 1 }, { tenant: 'red', n: 1 } as never);
    await harness.migration.commit();
    await storedWhen(destination, 'the commit time', ({ commit }) => commit?.time !== undefined);
    await c(db).deleteOne({ _id: 1 });
    assert.is((await harness.failure()).code, 'SourceModifiedAfterCommit');
  };
  await within(TEST_MS, commit(), 'the commit');
});

/**
 * Commits while the stream still has to give the replacement of a document that was made before; lets it go on once
 * `after` is done.
 */
async function commitBehind(harness: MigrationHarness, db: Db, after: () => Promise<unknown>): Promise<void> {
  // The verifier's reads would meet the faults that are meant for the application's.
  await harness.sync({ ...RED, verification: { enabled: false } });
  await harness.caughtUp();
  const release = await holdStreams(source);
  try {
    await c(db).replaceOne({ _id: 1 }, { tenant: 'red', n: 1 } as never);
    await harness.migration.commit();
    await storedWhen(destination, 'the commit time', ({ commit }) => commit?.time !== undefined);
    await after();
  } finally {
    await release();
  }
}

for (const [what, go] of [
  ['is deleted', (db) => c(db).deleteOne({ _id: 1 })],
  ['moves out', (db) => c(db).updateOne({ _id: 1 }, { $set: { tenant: 'blue' } })],
] as const satisfies readonly Late[]) {
  test(`the same where its event is read only after the commit time, and it ${what}`, async () => {
    const commit = async () => {
      const db = await seedLate();
      await using harness = await MigrationHarness.open(pair);
      await commitBehind(harness, db, () => go(db));
      assert.is((await harness.failure()).code, 'SourceModifiedAfterCommit');
    };
    await within(TEST_MS, commit(), 'the commit');
  });
}

for (const others of [false, true]) {
  test(`a source without its state of the commit time: commits ${others ? 'not when others write' : 'when nobody writes'}`, async () => {
    const commit = async () => {
      const db = await seedLate();
      await using harness = await MigrationHarness.open(pair);
      await commitBehind(harness, db, async () => {
        // SnapshotTooOld
        await refuseCommands(source, { commands: ['find'], times: 1, namespace: 'late.c' }, 239);
        if (others) await c(db).updateOne({ _id: 3 }, { $set: { n: 1 } });
      });
      if (others) assert.is((await harness.failure()).code, 'SourceModifiedAfterCommit');
      else {
        await harness.until(({ state }) => state === 'COMMITTED', 'COMMITTED');
        assert.equal(await compareClusters(source, destination, FOUND), []);
      }
      assert.is((await storedMigration(destination))?.['readPastCommit'], true);
    };
    await within(TEST_MS, commit(), 'the commit');
  });
}

test('a collection that comes into the filter by a rename which is applied after the commit time', async () => {
  const commit = async () => {
    const db = await seedLate();
    await db.collection('wide').insertMany([{ tenant: 'red' }, { tenant: 'blue' }]);
    await using harness = await MigrationHarness.open(pair);
    await harness.sync({ ...RED, includeNamespaces: [{ database: 'late', collections: ['c', 'out'] }] });
    const release = await holdStreams(source);
    try {
      await db
        .collection('wide')
        .aggregate([{ $out: 'out' }])
        .toArray();
      await harness.migration.commit();
      await storedWhen(destination, 'the commit time', ({ commit }) => commit?.time !== undefined);
      await db.collection('out').updateOne({ tenant: 'red' }, { $set: { tenant: 'blue' } });
    } finally {
      await release();
    }
    assert.is((await harness.failure()).code, 'SourceModifiedAfterCommit');
  };
  await within(TEST_MS, commit(), 'the commit');
});

test('texts and collations do not go together: refused at the start, and when such a collection comes', async () => {
  const check = async () => {
    const db = source.db('words');
    const collation = { locale: 'en', strength: 2 } as const;
    await db.createCollection('collated', { collation });
    await db.collection('collated').insertMany([{ tenant: 'red' }, { tenant: Long.fromInt(7), s: 'A' }]);
    await using harness = await MigrationHarness.open(pair);
    const error = await harness.migration.start({ ...DEFAULT_START, ...RED }).catch((reason) => reason);
    assert.is(error.code, 'CollatedDocumentFilter');
    assert.match(error.message, /1 collections compare/);
    const numbers = { field: 'tenant', matchValues: [7] };
    await harness.sync({ documentFilter: numbers });
    await db.createCollection('another', { collation });
    await db.collection('another').insertMany([{ tenant: 7 }, { tenant: 'red' }]);
    await harness.commit();
    assert.equal(await compareClusters(source, destination, { documentFilter: { tenant: { $in: [7] } } }), []);
    await harness.stop();
    await resetClusters(source, destination);
    await source.db('words').collection('plain').insertOne({ tenant: 'red' });
    await using again = await MigrationHarness.open(pair);
    await again.sync(RED);
    await source.db('words').createCollection('collated', { collation });
    const failure = await again.failure();
    assert.is(failure.code, 'UnsupportedChange');
    assert.match(failure.message, /words\.collated has a collation/);
  };
  await within(TEST_MS, check(), 'the checks');
});

test.run();
