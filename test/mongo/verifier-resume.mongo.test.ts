import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { assertEqualClusters } from '../support/compare-clusters.js';
import { DEFAULT_START, MigrationHarness } from '../support/migration-harness.js';
import { sharedPair } from '../support/shared-servers.js';
import { METADATA_DB } from '../support/stored-migration.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 90_000;
/** Of the first test: so many that it can be stopped between two of them. The others need no more than two. */
const COLLECTIONS = 100;
const DOCUMENTS = 50;

const { pair, source, destination } = await sharedPair(test);

async function seed(collections: number): Promise<void> {
  for (let index = 0; index < collections; index++) {
    const documents = Array.from({ length: DOCUMENTS }, (_, n) => ({ _id: n, text: `${index}.${n}` }));
    await source.db('shop').collection<{ _id: number }>(`c${index}`).insertMany(documents);
  }
}

const hashed = (harness: MigrationHarness): number => harness.snapshot.verification?.source.scannedCollections ?? 0;

const rangesDone = (): Promise<number> =>
  destination.db(METADATA_DB).collection('verifyRanges').countDocuments({ done: true });

/** How many ranges the process said it would compare. */
function announced(harness: MigrationHarness): number | undefined {
  const line = harness.logLines.find((each) => each.includes('Comparing the documents of both sides'));
  return line === undefined ? undefined : Number(/"ranges":(\d+)/.exec(line)?.[1]);
}

test('a restart compares only the ranges that were not done, and counts each document once', async () => {
  await seed(COLLECTIONS);
  const work = async () => {
    let done = 0;
    {
      await using harness = await MigrationHarness.open(pair);
      await harness.migration.start(DEFAULT_START);
      await harness.until(() => hashed(harness) >= 10, 'some ranges');
      await harness.stop();
      done = await rangesDone();
    }
    await using harness = await MigrationHarness.open(pair);
    await harness.caughtUp();
    assert.is(announced(harness) ?? 0, COLLECTIONS - done);
    const { source: side } = harness.snapshot.verification ?? {};
    assert.equal(
      [side?.phase, side?.hashedDocuments, side?.scannedCollections],
      ['stream hashing', COLLECTIONS * DOCUMENTS, COLLECTIONS],
    );
    await harness.commit();
  };
  await within(TEST_MS, work(), 'the migration');
  await assertEqualClusters(source, destination);
});

test('a pause keeps what has been compared, and what changed meanwhile is compared after it', async () => {
  await seed(2);
  const work = async () => {
    await using harness = await MigrationHarness.open(pair);
    await harness.sync();
    await harness.migration.pause();
    await source
      .db('shop')
      .collection<{ _id: number }>('c0')
      .updateOne({ _id: 5 }, { $set: { text: 'new' } });
    const shop = destination.db('shop');
    const forge = { q: { _id: 6 }, u: { $set: { text: 'forged' } } };
    await shop.command({ update: 'c1', updates: [forge], mayBypassWriteBlocking: true });
    await harness.migration.resume();
    const found = () => harness.snapshot.verification?.mismatches.get('shop.c1') === 1;
    await harness.until(found, 'the forged document');
    assert.is(harness.snapshot.verification?.mismatches.size, 1);
    assert.equal(await harness.migration.repair([]), { repaired: 1, remaining: 0 });
    await harness.commit();
  };
  await within(TEST_MS, work(), 'the migration');
  await assertEqualClusters(source, destination);
});

test('without verification a migration says so, and nothing is compared', async () => {
  await seed(2);
  const work = async () => {
    await using harness = await MigrationHarness.open(pair);
    await harness.sync({ verification: { enabled: false } });
    assert.is(harness.snapshot.verification, undefined);
    assert.match(harness.snapshot.warnings.join(), /not verified/);
    await harness.commit();
  };
  await within(TEST_MS, work(), 'the migration');
});

test('a capped collection of which a process that was killed has copied a part only is copied again', async () => {
  await seed(2);
  const log = await source.db('shop').createCollection<{ _id: number }>('log', { capped: true, size: 100_000 });
  await log.insertMany([1, 2, 3, 4].map((n) => ({ _id: n })));
  const [found] = await source.db('shop').listCollections({ name: 'log' }).toArray();
  const id = Buffer.from((found as { info: { uuid: { buffer: Uint8Array } } }).info.uuid.buffer).toString('hex');
  const work = async () => {
    {
      await using harness = await MigrationHarness.open(pair);
      await harness.sync();
    }
    // As it is left in the middle of the copy: emptied, half full, and to be compared as a whole.
    const deletes = [{ q: { _id: { $gt: 2 } }, limit: 0 }];
    await destination.db('shop').command({ delete: 'log', deletes, mayBypassWriteBlocking: true });
    const ranges = destination.db(METADATA_DB).collection<{ _id: string }>('verifyRanges');
    const range = await ranges.findOne({ _id: `${id}:0` });
    const again = { ...range, _id: `${id}:again-1-0`, done: false };
    const insert = { insert: 'verifyRanges', documents: [again], mayBypassWriteBlocking: true };
    await destination.db(METADATA_DB).command(insert);
    await using harness = await MigrationHarness.open(pair);
    const isWhole = async () => {
      const [there, here] = [source, destination].map((each) => each.db('shop').collection('log').countDocuments());
      return (await there) === (await here);
    };
    await eventually(30_000, isWhole, 'the collection being copied again, before any commit');
    await harness.commit();
  };
  await within(TEST_MS, work(), 'the migration');
  await assertEqualClusters(source, destination);
});

test.run();
