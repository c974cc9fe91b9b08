/** Between sharded clusters: shards that are down for a while, pauses, and processes that are killed. */
import type { Document } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { compareDatabase } from '../support/compare-sharded.js';
import { holdCommands, releaseCommands } from '../support/fail-points.js';
import { withClient } from '../support/ferry-client.js';
import type { MigrationHarness } from '../support/migration-harness.js';
import {
  emptySide,
  openBetween,
  outcomeOf,
  shardedSide,
  shardInTwo,
  startOf,
  startProcess,
} from '../support/sharded-migration.js';
import { sharedShardedCluster } from '../support/shared-servers.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 180_000;
const HOLD_MS = 500;

const [from, to] = await Promise.all([
  sharedShardedCluster(test, { name: 'from' }).then(shardedSide),
  sharedShardedCluster(test, { name: 'to' }).then(shardedSide),
]);

const collection = (db: string) => from.client.db(db).collection<Document>('byA');

async function seed(db: string): Promise<void> {
  await shardInTwo(from, `${db}.byA`, { key: { a: 1 }, middle: { a: 100 } });
  await collection(db).insertMany(Array.from({ length: 200 }, (_, _id) => ({ _id: _id as never, a: _id })));
}

async function write(db: string, n: number): Promise<void> {
  await collection(db).updateMany({ a: { $mod: [3, n % 3] } }, { $inc: { n: 1 } });
  await collection(db).updateOne({ _id: n as never, a: n }, { $set: { a: 150 + n } });
  await collection(db).insertMany([
    { a: n, late: true },
    { a: 150 + n, late: true },
  ]);
  await collection(db).deleteOne({ _id: (150 + n) as never });
}

/** The first time one half of the keys, the second time the other: none goes back to a shard that must still clean up. */
async function moveOut(db: string, time: number): Promise<void> {
  await from.cluster.moveChunk({ ns: `${db}.byA`, find: { a: time === 1 ? 1 : 150 }, to: time === 1 ? 1 : 0 });
}

function isCopying({ logLines }: MigrationHarness): boolean {
  return logLines.some((line) => line.includes('Starting collection copy phase'));
}

test('a shard of either side that is stopped and started again, in the copy and afterwards, costs time only (through the router double)', async () => {
  const run = async () => {
    const db = 'outages';
    await seed(db);
    const bounce = async ({ cluster }: typeof from, index: number, meanwhile: () => Promise<unknown>) => {
      await cluster.stopShard(index);
      await meanwhile();
      await cluster.startShard(index);
    };
    await using harness = await openBetween(from, to, db);
    await holdCommands(to.client, { commands: ['insert'] }, HOLD_MS);
    await harness.migration.start(startOf(db));
    await eventually(20_000, () => isCopying(harness), 'the copy');
    await bounce(from, 1, async () => undefined);
    await releaseCommands(to.client);
    await harness.caughtUp();
    await bounce(to, 0, () => write(db, 1));
    await bounce(from, 0, async () => undefined);
    await write(db, 2);
    await harness.commit();
    assert.equal(await outcomeOf({ source: from, destination: to, db }, harness), []);
  };
  await within(TEST_MS, run(), 'the migration');
});

test('a pause in the copy, and one in the application, lose nothing of what happens meanwhile (through the router double)', async () => {
  const run = async () => {
    const db = 'pauses';
    await seed(db);
    await using harness = await openBetween(from, to, db);
    const pause = async (n: number) => {
      await harness.migration.pause();
      await harness.until(({ state }) => state === 'PAUSED', 'PAUSED');
      await write(db, n);
      await moveOut(db, n);
      await write(db, n + 10);
      await harness.migration.resume();
    };
    await holdCommands(to.client, { commands: ['insert'] }, HOLD_MS);
    await harness.migration.start(startOf(db));
    await eventually(20_000, () => isCopying(harness), 'the copy');
    await pause(1);
    await releaseCommands(to.client);
    await harness.caughtUp();
    await pause(2);
    await harness.commit();
    assert.equal(await outcomeOf({ source: from, destination: to, db }, harness), []);
  };
  await within(TEST_MS, run(), 'the migration');
});

test('a process that is killed in the copy, and in the application, is taken up where it was (through the router double)', async () => {
  const run = async () => {
    const db = 'kills';
    await seed(db);
    await emptySide(to);
    await holdCommands(to.client, { commands: ['insert'] }, HOLD_MS);
    await using ferry = await startProcess(from, to, db);
    const copies = () => ferry.log.some(({ message }) => message.startsWith('Starting collection copy phase'));
    await eventually(20_000, copies, 'the copy');
    await ferry.kill();
    await write(db, 3);
    await ferry.restart();
    await releaseCommands(to.client);
    await withClient(ferry, (client) => client.waitForCanCommit(60_000));
    for (const n of [4, 5]) {
      await write(db, n);
      await ferry.kill();
      await moveOut(db, n - 3);
      await write(db, n + 10);
      await ferry.restart();
    }
    await withClient(ferry, async (client) => {
      await client.waitForCanCommit(60_000);
      await client.commitAndWait(60_000);
    });
    assert.equal(await compareDatabase(from.client, to.client, db, { shardKeys: true }), []);
  };
  await within(TEST_MS, run(), 'the migration');
});

test.run();
