/** Acceptance tests of the router: the catalog, administration, refusals, transactions and stale routing. */
import { type Document, MongoClient } from 'mongodb';
import type { Test } from 'uvu';
import * as assert from 'uvu/assert';
import { MONGOS } from './router-process.js';
import {
  admin,
  codeOf,
  fill,
  freshDatabase,
  type RouterBed,
  type Row,
  range,
  ranged,
  through,
} from './router-suite.js';

/** Registers them. */
export function adminTests(test: Test, bed: RouterBed): void {
  shardingTests(test, bed);
  ddlTests(test, bed);
  serverTests(test, bed);
  refusalTests(test, bed);
  transactionTests(test, bed);
  staleTests(test, bed);
}

function shardingTests(test: Test, bed: RouterBed): void {
  test(through(bed, 'collections are sharded, and what cannot be is refused'), async () => {
    const db = await freshDatabase(bed, 'sharding');
    const shard = (collection: string, key: Document, options: Document = {}) =>
      admin(bed, { shardCollection: `sharding.${collection}`, key, ...options });
    assert.is(await codeOf(admin(bed, { enableSharding: 'sharding', primaryShard: bed.cluster.shardName(1) })), 48);
    await shard('r', { a: 1 });
    await shard('h', { _id: 'hashed' });
    await shard('u', { a: 1, b: 1 }, { unique: true });
    await shard('ch', { a: 1, b: 'hashed' });
    assert.is(await codeOf(shard('hu', { a: 'hashed' }, { unique: true })), 72);
    assert.is(await codeOf(shard('r', { b: 1 })), 23);
    await shard('r', { a: 1 });
    await db.createCollection('cap', { capped: true, size: 100_000 });
    assert.is(await codeOf(shard('cap', { _id: 1 })), 72);
    assert.is(await bed.client.db('config').collection<Row>('collections').countDocuments({ _id: 'sharding.r' }), 1);
    await admin(bed, { renameCollection: 'sharding.ch', to: 'sharding.ch2' });
    await db.collection('ch2').createIndex({ a: 1, b: 'hashed', c: 1 });
    await admin(bed, { refineCollectionShardKey: 'sharding.ch2', key: { a: 1, b: 'hashed', c: 1 } });
    await db.collection('u').drop();
    await db.dropDatabase();
    const left = { _id: { $regex: '^sharding\\.' } } as Document;
    assert.is(await bed.client.db('config').collection('collections').countDocuments(left), 0);
  });

  test(through(bed, 'the balancer, zones and migrations are administered'), async () => {
    await ranged(bed, await freshDatabase(bed, 'zones'));
    assert.is((await admin(bed, { balancerStatus: 1 })).mode, 'off');
    await admin(bed, { balancerCollectionStatus: 'zones.r' });
    const shard = bed.cluster.shardName(1);
    await admin(bed, { addShardToZone: shard, zone: 'z' });
    await admin(bed, { updateZoneKeyRange: 'zones.r', min: { a: 100 }, max: { a: 200 }, zone: 'z' });
    const config = bed.client.db('config');
    assert.is(await config.collection('tags').countDocuments({ ns: 'zones.r' }), 1);
    await admin(bed, { updateZoneKeyRange: 'zones.r', min: { a: 100 }, max: { a: 200 }, zone: null });
    await admin(bed, { removeShardFromZone: shard, zone: 'z' });
    await admin(bed, { setAllowMigrations: 'zones.r', allowMigrations: false });
    const entry = () => config.collection<Row>('collections').findOne({ _id: 'zones.r' });
    assert.is((await entry())?.permitMigrations, false);
    await admin(bed, { setAllowMigrations: 'zones.r', allowMigrations: true });
    assert.is((await entry())?.permitMigrations, undefined);
  });

  test(through(bed, 'databases get another primary shard, and their collections stay readable'), async () => {
    const db = await freshDatabase(bed, 'primaries');
    await db.collection<Row>('c').insertMany(range(0, 50).map((_id) => ({ _id })));
    await bed.cluster.movePrimary('primaries', 1);
    assert.is(await db.collection('c').countDocuments(), 50);
    assert.is((await db.collection<Row>('c').insertOne({ _id: 50 })).insertedId, 50);
    const entry = await bed.client.db('config').collection<Row>('databases').findOne({ _id: 'primaries' });
    assert.is(entry?.primary, bed.cluster.shardName(1));
  });
}

function ddlTests(test: Test, bed: RouterBed): void {
  test(through(bed, 'indexes and options change on all shards that have the collection'), async () => {
    const r = await ranged(bed, await freshDatabase(bed, 'ddl'));
    await fill(r);
    const { db } = r;
    await r.createIndex({ x: 1 });
    const made = await db.command({ createIndexes: 'r', indexes: [{ key: { y: 1 }, name: 'y_1' }] });
    assert.is(Object.keys(made.raw).length, 2);
    assert.is(await codeOf(r.createIndex({ x: 1 }, { unique: true, name: 'xu' })), 67);
    await r.createIndex({ a: 1, _id: 1 }, { unique: true, name: 'axu' });
    assert.equal(Object.keys(await r.indexInformation()).sort(), ['_id_', 'a_1', 'axu', 'x_1', 'y_1']);
    assert.ok('raw' in (await db.command({ collMod: 'r', index: { name: 'x_1', hidden: true } })));
    assert.is(await codeOf(db.command({ collMod: 'r', index: { name: 'x_1', prepareUnique: true } })), 72);
    await r.dropIndex('y_1');
    await r.dropIndex('a_1');
    assert.is(await codeOf(r.dropIndex('axu')), 370);
    await db.createCollection('v', { viewOn: 'r', pipeline: [] });
    const names = (await db.listCollections().toArray()).map(({ name }) => name);
    assert.ok(names.includes('r') && names.includes('system.views'));
    const databases = (await bed.client.db().admin().listDatabases({ nameOnly: true })).databases.map(
      ({ name }) => name,
    );
    assert.ok(databases.includes('ddl') && databases.includes('config') && !databases.includes('local'));
    const some = await bed.client
      .db()
      .admin()
      .listDatabases({ filter: { name: 'ddl' } });
    assert.is(some.databases.length, 1);
  });

  test(through(bed, 'an index can be built on one shard and fail on the other'), async () => {
    const r = await ranged(bed, await freshDatabase(bed, 'uneven'));
    await r.insertMany([
      { _id: 1, a: 1 },
      { _id: 2, a: 150 },
      { _id: 3, a: 150 },
    ]);
    assert.is(await codeOf(r.createIndex({ a: 1, u: 1 }, { unique: true, name: 'au' })), 11000);
    const on = async (index: number): Promise<boolean> => {
      const shard = await bed.cluster.shardClient(index);
      return (await shard.db('uneven').collection('r').indexes()).some(({ name }) => name === 'au');
    };
    assert.equal([await on(0), await on(1)], [true, false]);
  });

  test(through(bed, 'an unsharded collection is renamed across databases of one primary shard'), async () => {
    const db = await freshDatabase(bed, 'renames');
    await bed.client.db('renames2').dropDatabase();
    await db.collection<Row>('c').insertOne({ _id: 1 });
    await admin(bed, { renameCollection: 'renames.c', to: 'renames2.c' });
    assert.is(await bed.client.db('renames2').collection('c').countDocuments(), 1);
  });
}

function serverTests(test: Test, bed: RouterBed): void {
  test(through(bed, 'it presents itself as a mongos with its shards'), async () => {
    const hello = await admin(bed, { hello: 1 });
    assert.is(hello.msg, 'isdbgrid');
    assert.is(hello.setName, undefined);
    assert.is((await admin(bed, { listShards: 1 })).shards.length, 2);
    assert.is((await admin(bed, { serverStatus: 1 })).process, 'mongos');
    assert.is((await admin(bed, { serverStatus: 1 })).repl, undefined);
    assert.is(Object.keys((await admin(bed, { getShardMap: 1 })).map).length >= 3, true);
    const version = bed.client.db('admin').collection<Row>('system.version');
    assert.is((await version.findOne({ _id: 'featureCompatibilityVersion' }))?.version, '6.0');
    assert.is(await bed.client.db('local').collection('oplog.rs').findOne(), null);
    await admin(bed, { connectionStatus: 1, showPrivileges: true });
  });

  test(through(bed, 'notes, operations and the write block reach all shards'), async () => {
    const db = await freshDatabase(bed, 'blocks');
    const c = db.collection<Row>('c');
    await c.insertOne({ _id: 0 });
    assert.is(Object.keys((await admin(bed, { appendOplogNote: 1, data: { x: 1 } })).raw).length, 2);
    const operations = await bed.client
      .db('admin')
      .aggregate([{ $currentOp: {} }])
      .toArray();
    assert.ok(operations.length > 0 && operations.every((each) => 'shard' in each && String(each.opid).includes(':')));
    await admin(bed, { killOp: 1, op: `${bed.cluster.shardName(0)}:999999` });
    assert.is(await codeOf(admin(bed, { killOp: 1, op: 5 })), 2);
    await admin(bed, { setUserWriteBlockMode: 1, global: true });
    try {
      const sections = bed.client.db('config').collection('user_writes_critical_sections');
      assert.is((await sections.findOne())?.blockUserWrites, true);
      // Root passes a write block; without access control nobody does.
      if (bed.cluster.username === undefined) assert.is(await codeOf(c.insertOne({ _id: 1 })), 371);
      else assert.is((await c.insertOne({ _id: 1 })).insertedId, 1);
    } finally {
      await admin(bed, { setUserWriteBlockMode: 1, global: false });
    }
    assert.is((await c.insertOne({ _id: 2 })).insertedId, 2);
  });
}

function refusalTests(test: Test, bed: RouterBed): void {
  test(through(bed, 'it refuses what a mongos refuses'), async () => {
    const db = await freshDatabase(bed, 'refusals');
    await db.collection<Row>('c').insertOne({ _id: 1 });
    const natural = { find: 'c', hint: { $natural: 1 }, $_requestResumeToken: true, batchSize: 2 };
    assert.is(await codeOf(db.command(natural)), 2);
    assert.is(await codeOf(db.command({ aggregate: 'c', pipeline: [], cursor: {}, fromMongos: true })), 51089);
    const status = await admin(bed, { replSetGetStatus: 1 }).catch((error: Error) => error);
    assert.ok(status instanceof Error && status.message.includes('not supported through mongos'));
    for (const command of [{ replSetGetConfig: 1 }, { applyOps: [] }, { noSuchThing: 1 }]) {
      assert.is(await codeOf(admin(bed, command)), 59);
    }
    assert.is(await codeOf(admin(bed, { getParameter: 1, featureCompatibilityVersion: 1 })), 72);
    assert.is(await codeOf(bed.client.db('local').createCollection('c')), 72);
    assert.is(await codeOf(db.command({ listShards: 1 })), 13);
    if (MONGOS === undefined) {
      const { routerDouble } = await admin(bed, { serverStatus: 1 });
      assert.ok(routerDouble['refused noSuchThing'] >= 1);
    }
  });

  test(through(bed, 'who is not logged in, or may not, is refused'), async () => {
    const { username } = bed.cluster;
    if (username === undefined) return;
    const [router] = bed.cluster.routers;
    await using stranger = new MongoClient(`mongodb://${router?.host}/`);
    assert.is(await codeOf(stranger.db('users').collection('c').findOne()), 13);
    const db = await freshDatabase(bed, 'users');
    await db.collection<Row>('c').insertOne({ _id: 1 });
    await admin(bed, { createUser: 'reader', pwd: 'pw', roles: [{ role: 'read', db: 'users' }] });
    await using reader = new MongoClient(`mongodb://reader:pw@${router?.host}/?authSource=admin`);
    assert.is((await reader.db('users').collection('c').findOne())?._id, 1);
    assert.is(await codeOf(reader.db('users').collection<Row>('c').insertOne({ _id: 2 })), 13);
    assert.is(await codeOf(reader.db('other').collection('c').findOne()), 13);
    assert.is(await codeOf(reader.db('admin').command({ balancerStop: 1 })), 13);
    const seen = await reader.db().admin().listDatabases({ nameOnly: true });
    assert.equal(
      seen.databases.map(({ name }) => name),
      ['users'],
    );
    await using ofAll = reader.watch();
    assert.is(await codeOf(ofAll.tryNext()), 13);
    const out = [{ $match: {} }, { $out: 'copy' }];
    assert.is(await codeOf(reader.db('users').collection('c').aggregate(out).toArray()), 13);
    const roles = [{ role: 'readWrite', db: 'users' }];
    await admin(bed, { createUser: 'writer', pwd: 'pw', roles });
    await using writer = new MongoClient(`mongodb://writer:pw@${router?.host}/?authSource=admin`);
    await writer.db('users').collection('c').aggregate(out).toArray();
    assert.is(await reader.db('users').collection('copy').countDocuments(), 1);
    await admin(bed, { setUserWriteBlockMode: 1, global: true });
    try {
      assert.is(await codeOf(writer.db('users').collection<Row>('c').insertOne({ _id: 3 })), 371);
    } finally {
      await admin(bed, { setUserWriteBlockMode: 1, global: false });
    }
    const wrong = new MongoClient(`mongodb://reader:wrong@${router?.host}/?authSource=admin`);
    assert.is(await codeOf(wrong.connect()), 18);
    await wrong.close();
  });
}

function transactionTests(test: Test, bed: RouterBed): void {
  test(through(bed, 'a transaction over two shards commits as a whole, or not at all'), async () => {
    const r = await ranged(bed, await freshDatabase(bed, 'transactions'));
    const plain = r.db.collection<Row>('plain');
    await plain.insertOne({ _id: 1 });
    await r.insertMany([
      { _id: 'x', a: 3 },
      { _id: 'y', a: 203 },
    ]);
    const inside = await bed.client.withSession(async (session) =>
      session.withTransaction(async () => {
        await r.insertOne({ _id: 't1', a: 1 }, { session });
        await r.insertOne({ _id: 't2', a: 250 }, { session });
        await plain.updateOne({ _id: 1 }, { $set: { t: 1 } }, { session });
        const groups = await r.aggregate([{ $group: { _id: null, n: { $sum: 1 } } }], { session }).toArray();
        return [await r.countDocuments({ _id: { $in: ['t1', 't2'] } }, { session }), groups[0]?.n];
      }),
    );
    assert.equal(inside, [2, 4]);
    assert.is(await r.countDocuments({ _id: { $in: ['t1', 't2'] } }), 2);
    assert.is((await plain.findOne({ _id: 1 }))?.t, 1);
    await bed.client.withSession(async (session) => {
      session.startTransaction();
      await r.insertOne({ _id: 't3', a: 1 }, { session });
      await r.insertOne({ _id: 't4', a: 250 }, { session });
      await session.abortTransaction();
    });
    assert.is(await r.countDocuments({ _id: { $in: ['t3', 't4'] } }), 0);
  });
}

function staleTests(test: Test, bed: RouterBed): void {
  test(through(bed, 'routing that has gone stale behind its back is noticed and renewed'), async () => {
    const r = await ranged(bed, await freshDatabase(bed, 'stale'));
    await fill(r);
    const other = await bed.cluster.client({ router: bed.cluster.routers.length - 1 });
    const stale = async () => Number((await other.db('admin').command({ serverStatus: 1 })).routerDouble?.stale ?? 0);
    assert.is(await other.db('stale').collection('r').countDocuments(), 300);
    const before = await stale();
    await bed.cluster.moveChunk({ ns: 'stale.r', find: { a: 150 }, to: 0 });
    const theirs = other.db('stale').collection<Row>('r');
    assert.is((await theirs.find({ a: { $gte: 100, $lt: 200 } }).toArray()).length, 100);
    assert.is((await theirs.insertOne({ _id: 'stale', a: 120 })).insertedId, 'stale');
    assert.is((await r.findOne({ a: 120, _id: 'stale' }))?._id, 'stale');
    if (MONGOS === undefined) assert.ok((await stale()) > before);
  });

  test(
    through(bed, 'what another router has done to the catalog is found out, whichever of the two did it'),
    async () => {
      const clients = [bed.client, await bed.cluster.client({ router: bed.cluster.routers.length - 1 })] as const;
      for (const [doer, other] of [clients, [clients[1], clients[0]]] as const) {
        await freshDatabase(bed, 'two');
        const run = (command: Document) => doer.db('admin').command(command);
        const theirs = (name: string) => other.db('two').collection<Row>(name);
        const insert = async (name: string, ...as: number[]) => {
          await theirs(name).insertMany(as.map((a) => ({ _id: a, a })));
          return (await doer.db('two').collection(name).find().toArray()).length;
        };
        assert.is(await insert('r', 1, 150), 2);
        await doer.db('two').collection('r').createIndex({ a: 1 });
        await run({ shardCollection: 'two.r', key: { a: 1 } });
        assert.is(await insert('r', 2, 151), 4);
        await run({ split: 'two.r', middle: { a: 100 } });
        await run({ moveChunk: 'two.r', find: { a: 150 }, to: bed.cluster.shardName(1) });
        assert.is(await insert('r', 3, 152), 6);
        assert.is((await theirs('r').updateMany({}, { $set: { z: 1 } })).modifiedCount, 6);
        await run({ renameCollection: 'two.r', to: 'two.r2' });
        assert.is(await theirs('r').countDocuments(), 0);
        assert.is(await insert('r2', 4, 153), 8);
        assert.is(await insert('u', 1), 1);
        await run({ movePrimary: 'two', to: bed.cluster.shardName(1) });
        assert.is(await insert('u', 2), 2);
        await doer.db('two').dropDatabase();
        assert.is(await theirs('r2').countDocuments(), 0);
        assert.is(await insert('u', 3), 1);
      }
    },
  );

  test(through(bed, 'orphans are neither found nor aggregated, but counted by the fast counts'), async () => {
    const r = await ranged(bed, await freshDatabase(bed, 'orphans'));
    await fill(r);
    await bed.cluster.keepOrphans();
    try {
      await bed.cluster.moveChunk({ ns: 'orphans.r', find: { a: 150 }, to: 0 });
      assert.is((await r.find().toArray()).length, 300);
      assert.is(await r.countDocuments(), 300);
      assert.is(await r.estimatedDocumentCount(), 400);
      const own = await bed.cluster.shardClient(1);
      assert.is(await own.db('orphans').collection('r').countDocuments(), 200);
    } finally {
      await bed.cluster.releaseOrphans();
    }
  });
}
