/** Writes that a proxy keeps, and delivers after their retry, after another process has taken over, or after the handover. */
import type { Document } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { assertEqualClusters } from '../support/compare-clusters.js';
import type { HeldMessage, MessageMatch } from '../support/fault-rule.js';
import { withClient } from '../support/ferry-client.js';
import { FerryProcess } from '../support/ferry-process.js';
import { MigrationHarness } from '../support/migration-harness.js';
import { proxiedPair } from '../support/proxied-pair.js';
import { METADATA_DB, storedMigration } from '../support/stored-migration.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 120_000;
const APP = 'mongoferry';
const TRANSACTION_TOO_OLD = 225;

const { proxy, pair, from, to } = await proxiedPair(test);

interface Item {
  _id: number;
  n: number;
}
const items = from.db('shop').collection<Item>('items');
const copies = to.db('shop').collection<Item>('items');

test.before.each(async () => {
  await from.db('shop').dropDatabase();
  await to.db('shop').dropDatabase();
  await to.db(METADATA_DB).dropDatabase();
  await items.insertMany(Array.from({ length: 500 }, (_, _id) => ({ _id, n: 0 })));
  await items.createIndex({ n: 1 });
});

test.after.each(() => proxy.clear());

/** Which number a request has in its session; refused ones are told by the server's answer. */
function assertRefused(answer: Document | undefined, what: string): void {
  assert.is(answer?.['code'], TRANSACTION_TOO_OLD, `${what} was answered ${JSON.stringify(answer)}`);
}

/** A migration that can commit, and a write of it that the proxy keeps while `change` is applied by a later one. */
async function heldWhileSyncing(
  match: MessageMatch,
  change: () => Promise<unknown>,
): Promise<[MigrationHarness, HeldMessage]> {
  const harness = await MigrationHarness.open(pair);
  await harness.sync();
  const rule = proxy.hold({ appName: APP, ...match });
  await change();
  const held = await rule.held();
  await harness.caughtUp();
  return [harness, held];
}

const KINDS: readonly {
  readonly name: string;
  readonly match: MessageMatch;
  readonly change: () => Promise<unknown>;
}[] = [
  {
    name: 'an update',
    match: { command: 'update', db: 'shop' },
    change: () => items.updateOne({ _id: 1 }, { $set: { n: 1 } }),
  },
  {
    name: 'an insert',
    match: { command: 'insert', db: 'shop' },
    change: () => items.insertOne({ _id: 1000, n: 1 }),
  },
  {
    name: 'a delete',
    match: { command: 'delete', db: 'shop' },
    change: () => items.deleteOne({ _id: 2 }),
  },
];

for (const { name, match, change } of KINDS) {
  test(`${name} that arrives after its retry, and after the handover, is refused by the server`, async () => {
    const late = async (): Promise<void> => {
      const [harness, held] = await heldWhileSyncing(match, change);
      await using _ = harness;
      // Later states of the same documents, which the late write would undo.
      await items.updateMany({ _id: { $in: [1, 1000] } }, { $set: { n: 2 } });
      await items.deleteOne({ _id: 1000 });
      await items.insertOne({ _id: 2, n: 7 }).catch(() => undefined);
      await harness.commit();
      await copies.updateOne({ _id: 3 }, { $set: { n: 99 } });
      assertRefused(await held.deliver(), name);
      await copies.updateOne({ _id: 3 }, { $set: { n: 0 } });
      await assertEqualClusters(from, to);
    };
    await within(TEST_MS, late(), 'the late write');
  });
}

test('an insert of the copy that arrives late is refused, and so is one of the metadata', async () => {
  const late = async (): Promise<void> => {
    const rules = [
      proxy.hold({ appName: APP, command: 'insert', db: 'shop' }),
      proxy.hold({ appName: APP, command: 'update', db: METADATA_DB, collection: 'partitions', nth: 2 }),
      proxy.hold({ appName: APP, command: 'update', db: METADATA_DB, collection: 'checkpoint' }),
    ];
    await using harness = await MigrationHarness.open(pair);
    await harness.sync();
    const held = await Promise.all(rules.map((rule) => rule.held()));
    await items.deleteMany({ _id: { $lt: 100 } });
    await harness.commit();
    for (const each of held) assertRefused(await each.deliver(), each.message.collection ?? '');
    await assertEqualClusters(from, to);
  };
  await within(TEST_MS, late(), 'the late writes');
});

const STRUCTURAL: readonly {
  readonly name: string;
  readonly match: MessageMatch;
  readonly change: () => Promise<unknown>;
}[] = [
  {
    name: 'create',
    match: { command: 'create', db: 'shop' },
    change: () => from.db('shop').createCollection('more'),
  },
  {
    name: 'drop',
    match: { command: 'drop', db: 'shop' },
    change: async () => {
      await items.drop();
      await items.insertOne({ _id: 1, n: 5 });
    },
  },
  {
    name: 'dropIndexes',
    match: { command: 'dropIndexes', db: 'shop' },
    change: async () => {
      await items.dropIndex('n_1');
      await items.createIndex({ n: 1 });
    },
  },
];

for (const { name, match, change } of STRUCTURAL) {
  test(`a ${name} whose answer is lost is waited for until it can come no more, and the wait is told`, async () => {
    const late = async (): Promise<void> => {
      await using harness = await MigrationHarness.open(pair);
      await harness.sync();
      const rule = proxy.hold({ appName: APP, ...match });
      await change();
      const held = await rule.held();
      await eventually(
        30_000,
        () => harness.snapshot.warnings.some((each) => each.includes(`the answer to a ${name} command was lost`)),
        'the warning',
      );
      assert.is((await held.deliver())?.['ok'], 1);
      await harness.until(({ canCommit }) => canCommit, 'canCommit', 60_000);
      await harness.commit();
      await assertEqualClusters(from, to);
    };
    await within(TEST_MS, late(), 'the late command');
  });
}

test('the handover waits for a collMod that may still come', async () => {
  const late = async (): Promise<void> => {
    await from.db('shop').command({ collMod: 'items', index: { name: 'n_1', hidden: true } });
    await using harness = await MigrationHarness.open(pair);
    await harness.sync();
    const rule = proxy.hold({ appName: APP, command: 'collMod', db: 'shop' });
    await harness.migration.commit();
    const held = await rule.held();
    await eventually(
      30_000,
      () => harness.snapshot.warnings.some((each) => each.includes('a collMod command')),
      'the warning',
    );
    assert.is(harness.snapshot.canWrite, false);
    await held.deliver();
    await harness.until(({ state }) => state === 'COMMITTED', 'COMMITTED', 60_000);
    await assertEqualClusters(from, to);
  };
  await within(TEST_MS, late(), 'the commit');
});

test('what a killed process had sent is refused after another one has taken over', async () => {
  const takeover = async (): Promise<void> => {
    await using ferry = await FerryProcess.between(pair);
    await withClient(ferry, async (client) => {
      await client.start();
      await client.waitForCanCommit();
    });
    // From here on a taker knows that no structural command is under way.
    await eventually(
      30_000,
      async () => {
        const lease = await to.db(METADATA_DB).collection('lease').findOne();
        return lease?.['ended'] === lease?.['begun'];
      },
      'the creation of the collections being over',
    );
    const hold = async (match: MessageMatch): Promise<HeldMessage> => {
      const rule = proxy.hold({ appName: APP, command: 'update', ...match }, { cutClient: false });
      await items.updateOne({ _id: 1 }, { $inc: { n: 1 } });
      return rule.held();
    };
    // In this order: without the data no position is stored.
    const held = [await hold({ db: METADATA_DB, collection: 'checkpoint' }), await hold({ db: 'shop' })];
    await ferry.kill();
    // The server's side of these connections stays open: nothing tells the server that their process is gone.
    for (const each of held) each.cutClient();
    await ferry.restart();
    await withClient(ferry, async (client) => {
      await client.waitForCanCommit();
      await items.updateOne({ _id: 1 }, { $set: { n: 2 } });
      await client.waitForCanCommit();
      await client.commitAndWait();
    });
    for (const each of held) assertRefused(await each.deliver(), each.message.collection ?? '');
    await assertEqualClusters(from, to);
    assert.is((await storedMigration(to))?.['state'], 'COMMITTED');
  };
  await within(TEST_MS, takeover(), 'the takeover');
});

test.run();
