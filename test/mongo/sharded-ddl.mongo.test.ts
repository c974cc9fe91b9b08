/** Changes of the catalog of a sharded source while it is migrated: shardCollection, movePrimary, addShard, DDL of every kind. */
import type { Document } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { compareDatabase } from '../support/compare-sharded.js';
import { holdCommands, releaseCommands } from '../support/fail-points.js';
import { withClient } from '../support/ferry-client.js';
import {
  emptySide,
  type MigrationSteps,
  migrateDatabase,
  type Side,
  shardedSide,
  shardInTwo,
  startProcess,
} from '../support/sharded-migration.js';
import { sharedShardedCluster } from '../support/shared-servers.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 120_000;
/** Of an insert, while a process is killed. */
const HOLD_MS = 5000;

const [from, to] = await Promise.all([
  sharedShardedCluster(test, { name: 'from', routers: 2 }).then(shardedSide),
  sharedShardedCluster(test, { name: 'to' }).then(shardedSide),
]);
/** Of another router than the migration's, whose cache does not know what the other has done. */
const other: Side = { uri: from.cluster.routerUri(1), client: await from.cluster.client({ router: 1 }) };

const many = (): Document[] => Array.from({ length: 100 }, (_, _id) => ({ _id: _id as never, a: _id }));
const collection = (db: string, name: string) => from.client.db(db).collection<Document>(name);
const byA = { key: { a: 1 }, middle: { a: 50 } };

async function seed(db: string, ...names: readonly string[]): Promise<void> {
  for (const name of names) {
    await shardInTwo(from, `${db}.${name}`, byA);
    await collection(db, name).insertMany(many());
  }
}

async function migrate(db: string, steps: MigrationSteps): Promise<void> {
  assert.equal(await migrateDatabase({ source: from, destination: to, db }, steps), []);
}

test('collections that are sharded meanwhile, new ones and copied ones, are sharded by the same key (through the router double)', async () => {
  const run = async () => {
    const db = 'sharding';
    await seed(db, 'first');
    for (const name of ['copied', 'late']) await collection(db, name).insertMany(many());
    const shard = async (name: string) => {
      await collection(db, name).createIndex({ a: 1 });
      await shardInTwo(from, `${db}.${name}`, byA);
      await collection(db, name).updateMany({ a: { $mod: [3, 0] } }, { $inc: { n: 1 } });
      await collection(db, name).updateOne({ _id: 7 as never, a: 7 }, { $set: { a: 77 } });
      await collection(db, name).deleteMany({ a: { $mod: [10, 0] } });
    };
    await migrate(db, {
      during: async () => {
        await shard('copied');
        await seed(db, 'new1');
      },
      after: async () => {
        await shard('late');
        await seed(db, 'new2');
        await from.cluster.admin({ shardCollection: `${db}.hashed`, key: { _id: 'hashed' } });
        await collection(db, 'hashed').insertMany(many());
      },
    });
  };
  await within(TEST_MS, run(), 'the migration');
});

test('what comes once for every shard is done once: indexes, collMod, renames, drops (through the router double)', async () => {
  const run = async () => {
    const db = 'perShard';
    await seed(db, 'a', 'b', 'c', 'd', 'target');
    const change = async () => {
      await collection(db, 'a').createIndexes([{ key: { x: 1 } }, { key: { y: 1 } }]);
      await collection(db, 'a').dropIndex('x_1');
      await from.client.db(db).command({ collMod: 'a', validator: { a: { $gte: 0 } }, validationAction: 'warn' });
      await collection(db, 'a').createIndex({ x: -1 }, { sparse: true });
      await collection(db, 'b').rename('b2');
      await collection(db, 'b2').updateMany({}, { $inc: { n: 1 } });
      await collection(db, 'b2').rename('b');
      await collection(db, 'c').drop();
      await seed(db, 'c');
      await collection(db, 'd').rename('target', { dropTarget: true });
      await collection(db, 'target').deleteMany({ a: { $gt: 80 } });
      await seed(db, 'd');
    };
    await migrate(db, { during: change, after: change });
  };
  await within(TEST_MS, run(), 'the migration');
});

test('a database that is dropped on all shards, and comes again under its name, is what it is then (through the router double)', async () => {
  const run = async () => {
    const db = 'dropped';
    await seed(db, 'a', 'b');
    await migrate(db, {
      after: async () => {
        await from.client.db(db).dropDatabase();
        await seed(db, 'a');
        await collection(db, 'plain').insertMany(many());
      },
    });
  };
  await within(TEST_MS, run(), 'the migration');
});

test('movePrimary is followed, during the copy and after it (through the router double)', async () => {
  const run = async () => {
    const db = 'primary';
    await seed(db, 'byA');
    await collection(db, 'plain').insertMany(many());
    await collection(db, 'plain').createIndex({ a: 1 });
    const move = async (shard: number) => {
      await collection(db, 'plain').updateMany({ a: { $lt: 50 } }, { $inc: { n: 1 } });
      await from.cluster.movePrimary(db, shard);
      await collection(db, 'plain').updateMany({ a: { $gt: 20 } }, { $inc: { n: 1 } });
      await collection(db, 'plain').deleteOne({ a: 10 + shard });
      await collection(db, 'plain').insertOne({ a: 1000 + shard });
    };
    // The second one takes the collection away while the first one's event is still to be applied.
    const thrice = async () => {
      for (const shard of [1, 0, 1]) await move(shard);
    };
    await migrate(db, { during: thrice, after: () => move(0) });
  };
  await within(TEST_MS, run(), 'the migration');
});

test('a process that is killed while it copies again what movePrimary has moved copies it once more (through the router double)', async () => {
  const run = async () => {
    const db = 'movedkill';
    await collection(db, 'plain').insertMany(many());
    await emptySide(to);
    await using ferry = await startProcess(from, to, db);
    await withClient(ferry, (client) => client.waitForCanCommit());
    await holdCommands(to.client, { commands: ['insert'], namespace: `${db}.plain` }, HOLD_MS);
    try {
      const primary = await from.client
        .db('config')
        .collection<Document>('databases')
        .findOne({ _id: db as never });
      await from.cluster.movePrimary(db, primary?.['primary'] === from.cluster.shardName(0) ? 1 : 0);
      const copied = to.client.db(db).collection('plain');
      await eventually(20_000, async () => (await copied.countDocuments()) === 0, 'the collection emptied');
      await ferry.kill();
    } finally {
      await releaseCommands(to.client);
    }
    await ferry.restart();
    await withClient(ferry, async (client) => {
      await client.waitForCanCommit();
      await client.commitAndWait();
    });
    assert.equal(await compareDatabase(from.client, to.client, db, { shardKeys: true }), []);
  };
  await within(TEST_MS, run(), 'the migration');
});

test('two routers with caches of their own, one of them stale, lead to the same (through the router double)', async () => {
  const run = async () => {
    const db = 'routers';
    await seed(db, 'byA', 'gone');
    const there = other.client.db(db);
    await there.collection('byA').countDocuments();
    await migrate(db, {
      after: async () => {
        const admin = other.client.db('admin');
        await admin.command({ split: `${db}.byA`, middle: { a: 25 } });
        await admin.command({ moveChunk: `${db}.byA`, find: { a: 25 }, to: from.cluster.shardName(1) });
        await there.collection('byA').updateMany({}, { $inc: { n: 1 } });
        await collection(db, 'byA').updateMany({ a: { $gt: 20 } }, { $inc: { n: 1 } });
        await there.collection('gone').drop();
        await admin.command({ shardCollection: `${db}.fresh`, key: { a: 1 } });
        await collection(db, 'fresh').insertMany(many());
        await there.collection('fresh').rename('renamed');
        await collection(db, 'renamed').updateMany({}, { $inc: { n: 1 } });
      },
    });
  };
  await within(TEST_MS, run(), 'the migration');
});

test('a shard that is added to the source, and is given chunks, is followed (through the router double)', async () => {
  const run = async () => {
    const db = 'added';
    await seed(db, 'byA');
    await migrate(db, {
      after: async () => {
        const index = await from.cluster.addShard();
        await from.cluster.moveChunk({ ns: `${db}.byA`, find: { a: 60 }, to: index });
        await collection(db, 'byA').updateMany({}, { $inc: { n: 1 } });
        await from.cluster.admin({ enableSharding: `${db}More`, primaryShard: from.cluster.shardName(index) });
        await collection(db, 'byA').updateOne({ a: 1 }, { $set: { late: true } });
        await collection(db, 'byA').updateOne({ _id: 2 as never, a: 2 }, { $set: { a: 90 } });
      },
    });
  };
  await within(TEST_MS, run(), 'the migration');
});

test.run();
