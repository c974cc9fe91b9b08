import type { MongoClient } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { LaneApplier } from '../../src/apply/lane-applier.js';
import { type Deferred, deferred } from '../../src/lib/tasks.js';
import { assertEqualClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS, refuseCommands } from '../support/fail-points.js';
import { FerryClient } from '../support/ferry-client.js';
import { FerryProcess } from '../support/ferry-process.js';
import { MigrationHarness } from '../support/migration-harness.js';
import { RestClient } from '../support/rest-client.js';
import { sharedPair } from '../support/shared-servers.js';
import { METADATA_DB } from '../support/stored-migration.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 120_000;
const OPLOG_LOST = 286;
const STREAM = 'admin.$cmd.aggregate';
const ANEW = /compares every document again/;

const { pair, source, destination } = await sharedPair(test, { setParameters: FAIL_POINTS });

test.before.each(async () => {
  const items = Array.from({ length: 1000 }, (_, n) => ({ _id: n, n }));
  await source.db('shop').collection<{ _id: number }>('items').insertMany(items);
});

/** An applier that waits while it is told to. */
class HeldApplier {
  #held: Deferred<void> | undefined;

  readonly hooks = {
    wrapApplier: (applier: LaneApplier): LaneApplier => ({
      apply: async (operations, signal) => {
        const stop = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
        if (this.#held !== undefined) await Promise.race([this.#held.promise, stop]);
        signal.throwIfAborted();
        await applier.apply(operations, signal);
      },
    }),
  };

  hold(): void {
    this.#held = deferred();
  }

  release(): void {
    this.#held?.resolve();
    this.#held = undefined;
  }
}

const metadata = (name: string) => destination.db(METADATA_DB).collection(name);

async function sourceToken(): Promise<string> {
  return String((await metadata('verification').findOne())?.['sourceToken'] ?? '');
}

const update = (db: MongoClient, n: number, value: unknown) =>
  db.db('shop').command({
    update: 'items',
    updates: [{ q: { _id: n }, u: { $set: { value } } }],
    ...(db === destination ? { mayBypassWriteBlocking: true } : {}),
  });

const isFound = (harness: MigrationHarness) => harness.snapshot.verification?.mismatches.get('shop.items') === 1;

test('while the applier stands still the streams are read on, and what they name is kept over a restart', async () => {
  const applier = new HeldApplier();
  const work = async () => {
    {
      await using harness = await MigrationHarness.open(pair, {}, applier.hooks);
      await harness.sync();
      applier.hold();
      await update(source, 1, 'first');
      await eventually(30_000, async () => (await metadata('verifyBacklog').countDocuments()) >= 1, 'the backlog');
      const before = await sourceToken();
      await update(source, 2, 'second');
      // Somebody else's write is among what waits.
      await update(destination, 3, 'forged');
      await eventually(30_000, async () => (await sourceToken()) > before, 'the stored position moving on');
      await eventually(30_000, async () => (await metadata('verifyBacklog').countDocuments()) >= 2, 'more of it');
      assert.is(harness.snapshot.verification?.mismatches.size, 0);
    }
    applier.release();
    await using harness = await MigrationHarness.open(pair, {}, applier.hooks);
    await eventually(30_000, async () => isFound(harness), 'the forged document');
    await eventually(30_000, async () => (await metadata('verifyBacklog').countDocuments()) === 0, 'its end');
    assert.equal(await harness.migration.repair([]), { repaired: 1, remaining: 0 });
    await harness.commit();
  };
  await within(TEST_MS, work(), 'the migration');
  await assertEqualClusters(source, destination);
});

test('a document that keeps changing while the applier is behind is no mismatch', async () => {
  const applier = new HeldApplier();
  const work = async () => {
    await using harness = await MigrationHarness.open(pair, {}, applier.hooks);
    await harness.sync();
    for (let turn = 0; turn < 4; turn++) {
      applier.hold();
      await update(source, 1, turn);
      await eventually(30_000, async () => (await metadata('verifyBacklog').countDocuments()) >= 1, 'the backlog');
      await update(source, 1, `${turn} again`);
      applier.release();
      applier.hold();
      await update(source, 1, `${turn} once more`);
      applier.release();
    }
    await harness.caughtUp();
    assert.is(harness.snapshot.verification?.mismatches.size, 0);
    assert.not.ok(harness.logLines.some((line) => line.includes('Documents differ')));
    await harness.commit();
  };
  await within(TEST_MS, work(), 'the migration');
  await assertEqualClusters(source, destination);
});

test('a position that has left the oplog: everything is compared anew, with a warning, and nothing is missed', async () => {
  const work = async () => {
    await using harness = await MigrationHarness.open(pair);
    await harness.sync();
    await harness.migration.pause();
    await update(destination, 7, 'forged');
    // Nothing but the verifier reads a stream of the destination.
    await refuseCommands(destination, { commands: ['getMore'], namespace: STREAM, times: 1 }, OPLOG_LOST);
    await harness.migration.resume();
    await eventually(30_000, async () => harness.snapshot.warnings.some((each) => ANEW.test(each)), 'the warning');
    await eventually(30_000, async () => isFound(harness), 'the forged document');
    assert.is(harness.logLines.filter((line) => line.includes('Comparing the documents of both sides')).length, 2);
    assert.equal(await harness.migration.repair([]), { repaired: 1, remaining: 0 });
    await harness.commit();
  };
  await within(TEST_MS, work(), 'the migration');
  await assertEqualClusters(source, destination);
});

test('a collection that comes into the filter is compared as a whole, since no event names its documents', async () => {
  const work = async () => {
    await using harness = await MigrationHarness.open(pair);
    await harness.sync({ includeNamespaces: [{ database: 'shop', collections: ['result'] }] });
    const items = source.db('shop').collection('items');
    for (const size of [300, 200]) {
      await items.aggregate([{ $match: { n: { $lt: size } } }, { $out: 'result' }]).toArray();
      const compared = async () => {
        const ranges = await metadata('verifyRanges').find({ done: true }).toArray();
        // Those of the one before, which the second has replaced, are not kept.
        return ranges.length === 1 && ranges[0]?.['sourceDocuments'] === size;
      };
      await eventually(30_000, compared, 'the comparison of the new collection');
    }
    await harness.commit();
    assert.is(await destination.db('shop').collection('result').countDocuments(), 200);
  };
  await within(TEST_MS, work(), 'the migration');
});

test('what waits to be compared again survives a kill (-9)', async () => {
  const work = async () => {
    await using ferry = await FerryProcess.start({ cluster0: pair.source.uri, cluster1: pair.destination.uri });
    using first = new FerryClient(ferry.grpcTarget);
    await first.start();
    await first.waitForCanCommit(60_000);
    await update(destination, 9, 'forged');
    await eventually(
      30_000,
      async () => (await metadata('verifyRecheck').countDocuments()) === 1,
      'the queue being stored',
      { everyMs: 5 },
    );
    await ferry.kill();
    assert.is(await metadata('mismatches').countDocuments(), 0, 'killed before it was judged');
    await ferry.restart();
    const rest = new RestClient(() => ferry.httpUrl);
    await rest.waitFor(
      'the warning',
      ({ warnings }) => /1 document differs: shop\.items 1/.test(String(warnings)),
      60_000,
    );
  };
  await within(TEST_MS, work(), 'the migration');
});

test.run();
