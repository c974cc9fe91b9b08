/** Calls whose stored answer is lost: what a caller is told is true afterwards. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { AppError } from '../../src/errors.js';
import { assertEqualClusters } from '../support/compare-clusters.js';
import type { FaultRule, MessageMatch } from '../support/fault-rule.js';
import { FerryClient } from '../support/ferry-client.js';
import { FerryProcess } from '../support/ferry-process.js';
import { DEFAULT_START, MigrationHarness } from '../support/migration-harness.js';
import { proxiedPair } from '../support/proxied-pair.js';
import { METADATA_DB, storedMigration } from '../support/stored-migration.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 120_000;

const { proxy, pair, from, to } = await proxiedPair(test);

test.before.each(async () => {
  await from.db('shop').dropDatabase();
  await to.db('admin').command({ setUserWriteBlockMode: 1, global: false });
  await to.db('shop').dropDatabase();
  await to.db(METADATA_DB).dropDatabase();
  await from
    .db('shop')
    .collection('items')
    .insertMany([{ n: 1 }, { n: 2 }]);
});

test.after.each(() => proxy.clear());

/** The change of the migration's record that a call asks for. */
function recordWrite(holds: (set: Record<string, unknown>, unset: Record<string, unknown>) => boolean): MessageMatch {
  return {
    command: 'update',
    db: METADATA_DB,
    collection: 'migration',
    where: (message) => {
      const [update] = message.body()['updates'] as {
        u: { $set?: Record<string, unknown>; $unset?: Record<string, unknown> };
      }[];
      return holds(update?.u.$set ?? {}, update?.u.$unset ?? {});
    },
  };
}
const stateWrite = (state: string): MessageMatch => recordWrite((set) => set['state'] === state);
const startWrite = recordWrite((_, unset) => 'starting' in unset);

async function codeOf(call: Promise<unknown>): Promise<string> {
  return call.then(
    () => 'ok',
    (error: unknown) => AppError.from(error).code,
  );
}

/** From this message on the destination is not to be reached. */
function vanishAt(rule: FaultRule): void {
  void (rule.fault.kind === 'loseAnswer' ? rule.answerLost() : rule.hit()).then(() => proxy.vanish());
}

for (const [call, state] of [
  ['pause', 'PAUSED'],
  ['commit', 'COMMITTING'],
] as const) {
  test(`a ${call} whose answer is lost has taken effect, and its caller is told so`, async () => {
    const lose = async (): Promise<void> => {
      await using harness = await MigrationHarness.open(pair);
      await harness.sync();
      const rule = proxy.loseAnswer(stateWrite(state));
      await harness.migration[call]();
      await rule.answerLost();
      if (call === 'pause') await harness.migration.resume();
      if (call === 'pause') await harness.commit();
      await harness.until((snapshot) => snapshot.state === 'COMMITTED', 'COMMITTED');
      await assertEqualClusters(from, to);
    };
    await within(TEST_MS, lose(), call);
  });
}

for (const isStored of [true, false]) {
  test(`a commit that ${isStored ? 'was' : 'was not'} stored before the destination vanished: unknown, and then found out`, async () => {
    const lose = async (): Promise<void> => {
      await using harness = await MigrationHarness.open(pair);
      await harness.sync();
      const match = stateWrite('COMMITTING');
      const rule = isStored ? proxy.loseAnswer(match) : proxy.hold(match);
      vanishAt(rule);
      assert.is(await codeOf(harness.migration.commit()), 'OutcomeUnknown');
      assert.ok(
        harness.snapshot.warnings.some((each) => each.includes('it is not known yet whether commit has taken effect')),
        harness.snapshot.warnings.join('; '),
      );
      assert.is(await codeOf(harness.migration.pause()), 'OutcomeUnknown');
      // All that was sent meanwhile arrives now, but for the call itself, which comes later still.
      proxy.comeBack({ deliver: true });
      if (isStored) await harness.until(({ state }) => state === 'COMMITTED', 'COMMITTED');
      else {
        await eventually(
          60_000,
          async () => (await codeOf(harness.migration.pause())) === 'ok',
          'the outcome being known',
        );
        // What a caller was told has failed, or has been seen not to have happened, never happens.
        const answer = await (await rule.held()).deliver();
        assert.is(answer?.['code'], 225, JSON.stringify(answer));
        assert.is((await storedMigration(to))?.['state'], 'PAUSED');
        await harness.migration.resume();
        await harness.commit();
      }
      await assertEqualClusters(from, to);
    };
    await within(TEST_MS, lose(), 'the commit');
  });

  test(`a start that ${isStored ? 'was' : 'was not'} stored before the destination vanished: unknown, and then found out`, async () => {
    const lose = async (): Promise<void> => {
      await using harness = await MigrationHarness.open(pair);
      const rule = isStored ? proxy.loseAnswer(startWrite) : proxy.drop(startWrite);
      vanishAt(rule);
      assert.is(await codeOf(harness.migration.start(DEFAULT_START)), 'OutcomeUnknown');
      assert.is(harness.snapshot.state, 'IDLE');
      proxy.comeBack();
      if (!isStored) {
        await eventually(
          60_000,
          async () => (await codeOf(harness.migration.check(DEFAULT_START))) === 'ok',
          'a check',
        );
        await eventually(
          60_000,
          async () => (await to.db(METADATA_DB).collection('schema').countDocuments()) === 0,
          'the start being undone',
        );
        await to.db('mine').collection('writes').insertOne({ by: 'a user' });
        await to.db('mine').dropDatabase();
        await eventually(
          60_000,
          async () => (await codeOf(harness.migration.start(DEFAULT_START))) === 'ok',
          'the second start',
        );
      }
      await harness.until(({ canCommit }) => canCommit, 'canCommit');
      await harness.commit();
      await assertEqualClusters(from, to);
    };
    await within(TEST_MS, lose(), 'the start');
  });
}

test('a start whose process is killed before it is complete is undone by the next one', async () => {
  const kill = async (): Promise<void> => {
    await using ferry = await FerryProcess.between(pair);
    const rule = proxy.hold(startWrite, { cutClient: false });
    {
      using client = new FerryClient(ferry.grpcTarget);
      await client.waitUntilInitialized();
      const starting = client.start().catch(() => undefined);
      await rule.held();
      await ferry.kill();
      await starting;
    }
    assert.is((await storedMigration(to))?.['starting'], true);
    (await rule.held()).cutClient();
    await ferry.restart();
    using client = new FerryClient(ferry.grpcTarget);
    await client.waitForState('IDLE');
    assert.is(await storedMigration(to), undefined);
    await to.db('mine').collection('writes').insertOne({ by: 'a user' });
    await to.db('mine').dropDatabase();
    const answer = await (await rule.held()).deliver();
    assert.is(answer?.['code'], 225, JSON.stringify(answer));
    await client.start();
    await client.waitForCanCommit();
    await client.commitAndWait();
    await assertEqualClusters(from, to);
  };
  await within(TEST_MS, kill(), 'the kill');
});

test.run();
