import type { Document, MongoClient } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { LaneApplier } from '../../src/apply/lane-applier.js';
import { MigrationHarness } from '../support/migration-harness.js';
import { sharedPair } from '../support/shared-servers.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 90_000;

const { pair, source, destination } = await sharedPair(test);

const FILTERS = {
  includeNamespaces: [
    { database: 'shop', collections: ['items', 'copy'] },
    { database: 'crm', collections: [] },
  ],
  excludeNamespaces: [{ database: 'crm', collections: ['drafts'] }],
  namespaceRemap: [{ from: 'shop', to: 'store' }],
};

/** Loses the removal of one document, in whatever collection. */
const wrapApplier = (applier: LaneApplier): LaneApplier => ({
  apply: (operations, signal) =>
    applier.apply(
      operations.filter(({ kind, id }) => kind !== 'delete' || id.indexOf('lost') < 0),
      signal,
    ),
});

async function seed(): Promise<void> {
  for (const [db, coll] of [
    ['shop', 'items'],
    ['shop', 'other'],
    ['crm', 'people'],
    ['crm', 'drafts'],
    ['far', 'away'],
  ] as const)
    await source
      .db(db)
      .collection<{ _id: string }>(coll)
      .insertMany([{ _id: 'a' }, { _id: 'lost' }]);
}

/** Makes a collection that comes into the filter by a rename, and waits until it is copied. */
async function makeCopy(): Promise<void> {
  await source
    .db('shop')
    .collection('items')
    .aggregate([{ $out: 'copy' }])
    .toArray();
  const isCopied = async () => (await destination.db('store').collection('copy').countDocuments()) === 2;
  await eventually(30_000, isCopied, 'the collection being copied');
}

async function openStreams(client: MongoClient): Promise<string> {
  const operations = client.db('admin').aggregate([{ $currentOp: { idleCursors: true } }]);
  const commands: unknown[] = [];
  for await (const each of operations) commands.push((each as Document)['cursor']?.originatingCommand);
  return JSON.stringify(commands);
}

test('under a filter with other names, what is lost or written by others is found, whatever else is written', async () => {
  await seed();
  const work = async () => {
    await using harness = await MigrationHarness.open(pair, {}, { wrapApplier });
    await harness.sync(FILTERS);
    const outside = source.db('far').collection('away');
    await outside.insertMany(Array.from({ length: 2000 }, (_, n) => ({ n })));
    await makeCopy();
    for (const [db, coll] of [
      ['shop', 'items'],
      ['shop', 'copy'],
      ['shop', 'other'],
      ['crm', 'people'],
      ['crm', 'drafts'],
      ['far', 'away'],
    ] as const)
      await source.db(db).collection<{ _id: string }>(coll).deleteOne({ _id: 'lost' });
    const forged = { insert: 'items', documents: [{ _id: 'forged' }], mayBypassWriteBlocking: true };
    await destination.db('store').command(forged);
    await harness.until(({ verification }) => verification?.mismatchCount === 4, 'the mismatches');
    assert.equal([...(harness.snapshot.verification?.mismatches ?? [])].sort(), [
      ['crm.people', 1],
      ['shop.copy', 1],
      ['shop.items', 2],
    ]);
    // The verifier's streams are the ones that leave out what the filter's names rule out.
    assert.match(await openStreams(source), /"\$literal":\["items","copy"\]/);
    assert.match(await openStreams(destination), /"\$literal":\["store","crm"\]/);
  };
  await within(TEST_MS, work(), 'the migration');
});

test('what was copied anew by a process that did not verify is compared by the next that does', async () => {
  await seed();
  const work = async () => {
    {
      await using verifying = await MigrationHarness.open(pair);
      await verifying.sync(FILTERS);
    }
    {
      await using other = await MigrationHarness.open(pair, { disableVerification: true });
      await makeCopy();
      await other.caughtUp();
    }
    await using harness = await MigrationHarness.open(pair);
    await harness.caughtUp();
    // Where a process is stopped before it has stored that it has copied it, the next one copies and compares it again.
    const rows = harness.migration.namespaces().map((each) => [each.namespace, (each.documentsHashed ?? 0) >= 2]);
    assert.equal(Object.fromEntries(rows), { 'crm.people': true, 'shop.copy': true, 'shop.items': true });
    await harness.commit();
  };
  await within(TEST_MS, work(), 'the migration');
});

test.run();
