/** Runs whole migrations whose sides may be sharded clusters, and compares what came of them. */
import { type Document, MaxKey, type MongoClient } from 'mongodb';
import type { MigrationConfig } from '../../src/migration/migration-process.js';
import type { StartOptions } from '../../src/start/options.js';
import { compareDatabase } from './compare-sharded.js';
import { holdCommands, releaseCommands } from './fail-points.js';
import { withClient } from './ferry-client.js';
import { FerryProcess } from './ferry-process.js';
import { DEFAULT_START, MigrationHarness } from './migration-harness.js';
import type { ReplicaSet } from './replica-set.js';
import type { ShardedCluster } from './sharded-cluster.js';
import { eventually } from './within.js';

/** A side of a migration, and a client of it: of one router, where it is sharded. */
export interface Side {
  readonly uri: string;
  readonly client: MongoClient;
  readonly cluster?: ShardedCluster;
}

/** A sharded cluster as a side. */
export function shardedSide({ cluster, client }: { cluster: ShardedCluster; client: MongoClient }): Required<Side> {
  return { uri: cluster.routerUri(), client, cluster };
}

/** A replica set as a side. */
export async function plainSide(set: ReplicaSet): Promise<Side> {
  return { uri: set.uri, client: await set.connect() };
}

/** Of an insert of the copy, while a test changes what is copied. */
const HELD_MS = 400;
const SERVERS_OWN = new Set(['admin', 'config', 'local']);

/** Drops all databases of a side, those of earlier migrations too, whose block of writes a failure has left. */
export async function emptySide({ client }: Side): Promise<void> {
  await client.db('admin').command({ setUserWriteBlockMode: 1, global: false });
  const { databases } = await client.db('admin').admin().listDatabases({ nameOnly: true });
  for (const { name } of databases) if (!SERVERS_OWN.has(name)) await client.db(name).dropDatabase();
}

/** Connects a migration of one database; the destination is emptied first. Its metadata is named after the database. */
export async function openBetween(
  source: Side,
  destination: Side,
  db: string,
  overrides: Partial<MigrationConfig> = {},
): Promise<MigrationHarness> {
  await emptySide(destination);
  const clusters = { source: { uri: source.uri }, destination: { uri: destination.uri } };
  return await MigrationHarness.open(clusters, { migrationName: db, ...overrides });
}

/** Starts a process between two clusters, and the migration of one database in it. Its metadata is named after the database. */
export async function startProcess(source: Side, destination: Side, db: string): Promise<FerryProcess> {
  const pair = { source: { uri: source.uri }, destination: { uri: destination.uri } };
  const ferry = await FerryProcess.between(pair, { flags: ['--migrationName', db] });
  try {
    await withClient(ferry, async (client) => {
      await client.waitUntilInitialized();
      await client.start({ includeNamespaces: [{ database: db, collections: [] }] });
    });
    return ferry;
  } catch (error) {
    await ferry[Symbol.asyncDispose]();
    throw error;
  }
}

/** Start options for one database. */
export function startOf(db: string, options: Partial<StartOptions> = {}): StartOptions {
  return { ...DEFAULT_START, includeNamespaces: [{ database: db, collections: [] }], ...options };
}

/** How a database differs after a migration, and what its verification has found meanwhile; none when all is well. */
export async function outcomeOf(
  { source, destination, db }: { readonly source: Side; readonly destination: Side; readonly db: string },
  harness: MigrationHarness,
): Promise<string[]> {
  const alarms = harness.logLines.filter((line) => line.includes('Documents differ'));
  const shardKeys = source.cluster !== undefined && destination.cluster !== undefined;
  return [...alarms, ...(await compareDatabase(source.client, destination.client, db, { shardKeys }))];
}

/** What happens during a migration: while it is copied, with its inserts held, and once everything is applied. */
export interface MigrationSteps {
  readonly during?: () => Promise<unknown>;
  readonly after?: (harness: MigrationHarness) => Promise<unknown>;
}

/** Migrates a database, with what happens meanwhile, and commits. Resolves as `outcomeOf` does. */
export async function migrateDatabase(
  sides: { readonly source: Side; readonly destination: Side; readonly db: string },
  { during, after }: MigrationSteps,
): Promise<string[]> {
  const { source, destination, db } = sides;
  await using harness = await openBetween(source, destination, db);
  if (during !== undefined) await holdCommands(destination.client, { commands: ['insert'] }, HELD_MS);
  try {
    await harness.migration.start(startOf(db));
    const isCopying = () => harness.logLines.some((line) => line.includes('Starting collection copy phase'));
    await eventually(20_000, isCopying, 'the copy');
    await during?.();
  } finally {
    if (during !== undefined) await releaseCommands(destination.client);
  }
  await harness.caughtUp();
  await after?.(harness);
  await harness.commit();
  return await outcomeOf(sides, harness);
}

/** An entry of the start option `sharding`. */
export function shardingEntry(database: string, collection: string, key: Document) {
  const fields = Object.entries(key).map(([field, value]) => ({ field, value: value as 1 | 'hashed' }));
  return { database, collection, key: fields };
}

/** The shard keys of a database's collections, as JSON by name. */
export async function shardKeysOf({ client }: Side, db: string): Promise<Record<string, string>> {
  const found = await client.db('config').collection('collections').find().sort({ _id: 1 }).toArray();
  const own = found.filter((each) => String(each['_id']).startsWith(`${db}.`));
  return Object.fromEntries(own.map((each) => [String(each['_id']).slice(db.length + 1), JSON.stringify(each['key'])]));
}

/** A sharded collection with its chunks on two shards: below `middle` on the first, the rest on the second. */
export async function shardInTwo(
  { client, cluster }: Required<Side>,
  ns: string,
  { key, middle, unique }: { readonly key: Document; readonly middle: Document; readonly unique?: boolean },
): Promise<void> {
  const [db = ''] = ns.split('.');
  const admin = client.db('admin');
  const isThere = await client
    .db('config')
    .collection<Document>('databases')
    .findOne({ _id: db as never });
  if (isThere === null) await admin.command({ enableSharding: db, primaryShard: cluster.shardName(0) });
  await admin.command({ shardCollection: ns, key, ...(unique === true ? { unique } : {}) });
  await admin.command({ split: ns, middle });
  const bounds = [middle, Object.fromEntries(Object.keys(key).map((name) => [name, new MaxKey()]))];
  await admin.command({ moveChunk: ns, bounds, to: cluster.shardName(1) });
}

/** The shard of each chunk of a collection, sorted; none where it is not sharded. `client`: of a router. */
export async function chunkShards(client: MongoClient, ns: string): Promise<string[]> {
  const config = client.db('config');
  const entry = await config.collection<Document>('collections').findOne({ _id: ns as never });
  const chunks = await config
    .collection('chunks')
    .find({ uuid: entry?.['uuid'] ?? null })
    .toArray();
  return chunks.map(({ shard }) => String(shard)).sort();
}

/** The mode of a cluster's balancer. */
export async function balancerOf({ client }: Side): Promise<string> {
  return String((await client.db('admin').command({ balancerStatus: 1 }))['mode']);
}
