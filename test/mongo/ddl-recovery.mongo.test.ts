import { type Binary, BSON, type CollectionInfo, type Db, type Document, type MongoClient } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { toToken } from '../../src/cluster/position.js';
import { uuidText } from '../../src/cluster/raw-writes.js';
import { compareClusters } from '../support/compare-clusters.js';
import { MigrationHarness } from '../support/migration-harness.js';
import { type ReplicaSetPair, startPair } from '../support/replica-set.js';
import { within } from '../support/within.js';

const METADATA = 'mongosync_reserved_for_internal_use';
const BYPASS = { mayBypassWriteBlocking: true, writeConcern: { w: 'majority' } };

/** A DDL event that a process was carrying out when it died, and what it had done of it on the destination. */
interface Case {
  readonly name: string;
  readonly before: (db: Db) => Promise<unknown>;
  /** On the source, while the migration is paused: writes, then the one DDL command. */
  readonly during: (db: Db) => Promise<unknown>;
  /** The command's half on the destination, as the dead process had sent it. */
  readonly half: (client: MongoClient, db: string, source: MongoClient) => Promise<unknown>;
}

const CASES: readonly Case[] = [
  {
    name: 'rename',
    before: (db) => db.collection('a').insertOne({ n: 1 }),
    during: async (db) => {
      await db.collection('a').insertOne({ n: 2 });
      await db.collection('a').rename('b');
    },
    half: (client, db) => client.db('admin').command({ renameCollection: `${db}.a`, to: `${db}.b`, ...BYPASS }),
  },
  {
    name: 'rename over another collection',
    before: async (db) => {
      await db.collection('a').insertOne({ n: 1 });
      await db.collection('b').insertOne({ n: 'b' });
    },
    during: async (db) => {
      await db.collection('a').insertOne({ n: 2 });
      await db.collection('b').insertOne({ n: 'late' });
      await db.collection('a').rename('b', { dropTarget: true });
    },
    half: (client, db) =>
      client.db('admin').command({ renameCollection: `${db}.a`, to: `${db}.b`, dropTarget: true, ...BYPASS }),
  },
  {
    name: 'drop',
    before: (db) => db.collection('a').insertOne({ n: 1 }),
    during: async (db) => {
      await db.collection('a').insertOne({ n: 2 });
      await db.collection('a').drop();
    },
    half: (client, db) => client.db(db).command({ drop: 'a', ...BYPASS }),
  },
  {
    name: 'create',
    before: (db) => db.collection('other').insertOne({ n: 1 }),
    during: (db) => db.createCollection('a'),
    half: (client, db) => client.db(db).command({ create: 'a', ...BYPASS }),
  },
  {
    name: 'cloneCollectionAsCapped, whose documents were being copied',
    before: (db) => db.collection('a').insertMany([{ n: 1 }, { n: 2 }]),
    during: (db) => db.command({ cloneCollectionAsCapped: 'a', toCollection: 'clone', size: 65_536 }),
    half: async (client, name, source) => {
      const db = client.db(name);
      await db.command({ create: 'clone', capped: true, size: 2 ** 40, ...BYPASS });
      await db.command({ insert: 'clone', documents: [{ half: 'copied' }], ...BYPASS });
      const [onSource, onDestination] = await Promise.all(
        [source, client].map(
          async (each) =>
            (
              await each.db(name).listCollections({ name: 'clone' }, { nameOnly: false }).toArray()
            )[0] as CollectionInfo,
        ),
      );
      const record = {
        _id: uuidText(onSource?.info?.uuid as unknown as Binary),
        db: name,
        coll: 'clone',
        sourceDb: name,
        destinationUuid: onDestination?.info?.uuid,
        options: BSON.serialize({ capped: true, size: 65_536 }),
        indexes: [],
        dropped: false,
        copy: { status: 'none', estimatedDocuments: 0, estimatedBytes: 0 },
      };
      await client.db(METADATA).command({ insert: 'collections', documents: [record], ...BYPASS });
    },
  },
];

/** The raw event of the last DDL command, with its token, as the applier stores it before it carries it out. */
async function lastDdlEvent(client: MongoClient, from: Document): Promise<{ token: string; event: Buffer }> {
  const session = client.startSession({ causalConsistency: false });
  try {
    const pipeline = [
      {
        $changeStream: {
          allChangesForCluster: true,
          showExpandedEvents: true,
          showRawUpdateDescription: true,
          startAtOperationTime: from,
        },
      },
      { $match: { operationType: { $nin: ['insert', 'update', 'replace', 'delete'] } } },
    ];
    const command = { aggregate: 1, pipeline, cursor: {}, readConcern: { level: 'majority' } };
    const reply = await client.db('admin').command(command, { session, fieldsAsRaw: { firstBatch: true } });
    const events = reply['cursor'].firstBatch as Buffer[];
    const event = events.at(-1);
    assert.ok(event, 'the command has an event');
    return { token: toToken(BSON.deserialize(event)['_id']), event };
  } finally {
    await session.endSession();
  }
}

async function recover(pair: ReplicaSetPair, each: Case, done: 'nothing' | 'half'): Promise<string[]> {
  const source = await pair.source.connect();
  const destination = await pair.destination.connect();
  const db = source.db('recovery');
  await each.before(db);
  await using harness = await MigrationHarness.open(pair);
  await harness.sync();
  await harness.migration.pause();
  const { operationTime } = await source.db('admin').command({ ping: 1 });
  await each.during(db);
  const intent = await lastDdlEvent(source, operationTime);
  if (done === 'half') await each.half(destination, 'recovery', source);
  const update = { q: { _id: 'ddl' }, u: { $set: { intent } }, upsert: true };
  await destination.db(METADATA).command({ update: 'ddl', updates: [update], ...BYPASS });
  await harness.migration.resume();
  await harness.commit();
  return compareClusters(source, destination);
}

for (const done of ['nothing', 'half'] as const) {
  for (const each of CASES) {
    test(`${each.name}: a process that died when ${done === 'half' ? 'the destination had changed but not the map' : 'only the intent was stored'} loses nothing`, async () => {
      await within(
        60_000,
        async () => {
          await using pair = await startPair();
          assert.equal(await recover(pair, each, done), []);
        },
        'the recovery',
      );
    });
  }
}

test.run();
