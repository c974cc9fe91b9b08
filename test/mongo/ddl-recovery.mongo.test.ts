import { type Binary, BSON, type CollectionInfo, type Db, type Document, type MongoClient } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Position } from '../../src/bson/position.js';
import { uuidText } from '../../src/bson/uuid.js';

import type { StartOptions } from '../../src/start/options.js';
import { compareClusters } from '../support/compare-clusters.js';
import { MigrationHarness } from '../support/migration-harness.js';
import { sharedPair } from '../support/shared-servers.js';
import { METADATA_DB } from '../support/stored-migration.js';
import { within } from '../support/within.js';

const BYPASS = { mayBypassWriteBlocking: true, writeConcern: { w: 'majority' } };

const { pair, source, destination } = await sharedPair(test);

/** A DDL event that a process was carrying out when it died, and what it had done of it on the destination. */
interface Case {
  readonly name: string;
  readonly filter?: Partial<StartOptions>;
  /** What the database is called on the destination. Default: as on the source. */
  readonly to?: string;
  /** Under the filter: what is migrated. Default: everything. */
  readonly isMigrated?: (collection: string) => boolean;
  readonly before: (db: Db) => Promise<unknown>;
  /** On the source, while the migration is paused: writes, then the one DDL command. */
  readonly during: (db: Db) => Promise<unknown>;
  /** The command's half on the destination, as the dead process had sent it. */
  readonly half: (client: MongoClient, db: string, source: MongoClient) => Promise<unknown>;
}

const DROPPED = { update: 'collections', updates: [{ q: { coll: 'result' }, u: { $set: { dropped: true } } }] };

/** `$out` over a collection of the filter; its temporary collection is not in it. */
const RESULT_ONLY: Omit<Case, 'name' | 'half'> = {
  filter: { includeNamespaces: [{ database: 'recovery', collections: ['result'] }] },
  isMigrated: (collection) => collection === 'result',
  before: async (db) => {
    await db.collection('a').insertMany([{ n: 1 }, { n: 2 }]);
    await db.collection('result').insertOne({ n: 0 });
    await db.collection('result').createIndex({ n: 1 }, { unique: true });
  },
  during: async (db) => {
    await db.collection('a').updateMany({}, { $set: { seen: true } });
    await db.collection('result').insertOne({ n: 9 });
    await db
      .collection('a')
      .aggregate([{ $out: 'result' }])
      .toArray();
  },
};

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
      await addToMap(client, name, source, 'clone', { capped: true, size: 65_536 });
    },
  },
  {
    name: '$out into the filter, over a collection of the filter, with its target dropped',
    ...RESULT_ONLY,
    half: (client, name) => client.db(name).command({ drop: 'result', ...BYPASS }),
  },
  {
    name: '$out into the filter, with the collection created anew',
    ...RESULT_ONLY,
    half: async (client, name) => {
      await client.db(name).command({ drop: 'result', ...BYPASS });
      await client.db(METADATA_DB).command({ ...DROPPED, ...BYPASS });
      await client.db(name).command({ create: 'result', ...BYPASS });
    },
  },
  {
    name: '$out into the filter, whose documents were being copied',
    ...RESULT_ONLY,
    half: async (client, name, source) => {
      await client.db(name).command({ drop: 'result', ...BYPASS });
      await client.db(METADATA_DB).command({ ...DROPPED, ...BYPASS });
      await client.db(name).command({ insert: 'result', documents: [{ half: 'copied' }], ...BYPASS });
      await addToMap(client, name, source, 'result', {});
    },
  },
];

const REMAPPED: readonly Case[] = CASES.filter(({ name }) => /^(rename|drop|create)/.test(name)).map((each) => ({
  ...each,
  name: `${each.name}, under another name of the database`,
  filter: { namespaceRemap: [{ from: 'recovery', to: 'restored' }] },
  to: 'restored',
}));

/** Adds a collection to the map as the applier does once it has created it. */
async function addToMap(
  client: MongoClient,
  name: string,
  source: MongoClient,
  collection: string,
  options: Document,
): Promise<void> {
  const [onSource, onDestination] = await Promise.all(
    [source, client].map(
      async (each) =>
        (await each.db(name).listCollections({ name: collection }, { nameOnly: false }).toArray())[0] as CollectionInfo,
    ),
  );
  const indexes = await source.db(name).collection(collection).indexes();
  const record = {
    _id: uuidText(onSource?.info?.uuid as unknown as Binary),
    db: name,
    coll: collection,
    sourceDb: name,
    destinationUuid: onDestination?.info?.uuid,
    options: BSON.serialize(options),
    indexes: indexes.filter((index) => index['name'] !== '_id_').map((index) => BSON.serialize(index)),
    dropped: false,
    copy: { status: 'none', estimatedDocuments: 0, estimatedBytes: 0 },
  };
  await client.db(METADATA_DB).command({ insert: 'collections', documents: [record], ...BYPASS });
}

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
    return { token: Position.ofResumeToken(BSON.deserialize(event)['_id']).toText(), event };
  } finally {
    await session.endSession();
  }
}

async function recover(each: Case, done: 'nothing' | 'half'): Promise<string[]> {
  const db = source.db('recovery');
  await each.before(db);
  await using harness = await MigrationHarness.open(pair);
  await harness.sync(each.filter);
  await harness.migration.pause();
  const { operationTime } = await source.db('admin').command({ ping: 1 });
  await each.during(db);
  const intent = await lastDdlEvent(source, operationTime);
  const to = each.to ?? 'recovery';
  if (done === 'half') await each.half(destination, to, source);
  const update = { q: { _id: 'ddl' }, u: { $set: { intent } }, upsert: true };
  await destination.db(METADATA_DB).command({ update: 'ddl', updates: [update], ...BYPASS });
  await harness.migration.resume();
  await harness.commit();
  const isMigrated = each.isMigrated ?? (() => true);
  return compareClusters(source, destination, {
    target: (name, coll) => (isMigrated(coll) ? [name === 'recovery' ? to : name, coll] : undefined),
  });
}

for (const done of ['nothing', 'half'] as const) {
  for (const each of done === 'half' ? [...CASES, ...REMAPPED] : CASES) {
    test(`${each.name}: a process that died when ${done === 'half' ? 'the destination had changed but not the map' : 'only the intent was stored'} loses nothing`, async () => {
      await within(
        60_000,
        async () => {
          assert.equal(await recover(each, done), []);
        },
        'the recovery',
      );
    });
  }
}

test.run();
