/** Shows a whole migration between two small clusters. */
import type { MongoClient } from 'mongodb';
import type { ProgressSnapshot } from '../gen/mongoferry/v1/progress.js';
import { bytes, count } from '../src/cli/units.js';
import { compareClusters } from '../test/support/compare-clusters.js';
import { FerryClient, type StartOptions } from '../test/support/ferry-client.js';
import { FerryProcess } from '../test/support/ferry-process.js';
import { ReplicaSet, startPair } from '../test/support/replica-set.js';
import { ROUTER } from '../test/support/router-process.js';
import { seedBulk } from '../test/support/seed-data-bulk.js';
import { startShardedCluster } from '../test/support/sharded-cluster.js';
import { Workload } from '../test/support/workload.js';
import { writeLive } from './live-writes.js';
import { LiveProgress, say, table } from './show.js';

const SHOP = { db: 'shop', collections: 4, documents: 100_000, documentBytes: 600, indexes: 4 };
const NAMES = Array.from({ length: SHOP.collections }, (_, index) => `c${index}`);
/** How long the source is written to after the copy is done, before the commit. */
const STEADY_MS = 12_000;
const WAIT_MS = 120_000;

/** Everything the steps of the demo share. */
interface Stage {
  readonly source: MongoClient;
  readonly destination: MongoClient;
  readonly start: StartOptions;
  /** Of the random workload: changes of the catalog take a sharded cluster longer. */
  readonly opsPerSecond: number;
  readonly ferry: FerryProcess;
  readonly client: FerryClient;
  readonly signal: AbortSignal;
}

/**
 * A whole migration before your eyes: two real clusters, data of many kinds, writes that never stop, a sync over gRPC,
 * a commit, and a comparison of both clusters, byte for byte. Returns whether they are equal. Leaves nothing behind.
 */
export async function runDemo({ sharded }: DemoOptions, signal: AbortSignal): Promise<boolean> {
  return sharded ? toShards(signal) : toSet(signal);
}

/** What is shown. */
export interface DemoOptions {
  /** Whether the destination is a sharded cluster. */
  readonly sharded: boolean;
}

async function toSet(signal: AbortSignal): Promise<boolean> {
  say('Starting two MongoDB replica sets …');
  await using pair = await startPair({ signal });
  const source = { uri: pair.source.uri, version: pair.source.version, client: await pair.source.connect() };
  const { uri, version } = pair.destination;
  return await runBetween(
    source,
    { uri, version, client: await pair.destination.connect() },
    { start: {}, opsPerSecond: 100 },
    signal,
  );
}

/** A router that stands in for mongos is between the program and real config servers and shards. */
async function toShards(signal: AbortSignal): Promise<boolean> {
  say('Starting a MongoDB replica set, and a sharded cluster of two shards …');
  await using set = await ReplicaSet.start({ signal });
  await using cluster = await startShardedCluster({ signal });
  const source = { uri: set.uri, version: set.version, client: await set.connect() };
  const destination = {
    uri: cluster.routerUri(),
    version: `${cluster.version} behind ${ROUTER}`,
    client: await cluster.client({ router: 0 }),
  };
  const shardingEntries = NAMES.slice(0, -1).map((collection) => ({
    ...{ database: SHOP.db, collection },
    shardCollection: { key: [{ n: 1 }] },
  }));
  return await runBetween(source, destination, { start: { sharding: { shardingEntries } }, opsPerSecond: 20 }, signal);
}

interface Side {
  readonly uri: string;
  readonly version: string;
  readonly client: MongoClient;
}

async function runBetween(
  from: Side,
  to: Side,
  { start, opsPerSecond }: Pick<Stage, 'start' | 'opsPerSecond'>,
  signal: AbortSignal,
): Promise<boolean> {
  say(`  source       ${from.uri}  (MongoDB ${from.version})`);
  say(`  destination  ${to.uri}  (MongoDB ${to.version})`);
  const [source, destination] = [from.client, to.client];
  await load(source);
  const uris = { cluster0: from.uri, cluster1: to.uri };
  await using ferry = await FerryProcess.start({ ...uris, flags: ['--stayUpOnFailure'], signal });
  say(`mongoferry is up: gRPC on ${ferry.grpcTarget}, HTTP on ${ferry.httpUrl}`);
  using client = new FerryClient(ferry.grpcTarget);
  try {
    return await migrate({ source, destination, start, opsPerSecond, ferry, client, signal });
  } catch (error) {
    for (const { level, message } of ferry.log.slice(-15)) console.error(`  ${level}: ${message}`);
    throw error;
  }
}

async function load(source: MongoClient): Promise<void> {
  say(`Loading ${count(SHOP.documents)} documents …`);
  await seedBulk(source, SHOP);
  const shop = source.db(SHOP.db);
  await shop.createCollection('log', { capped: true, size: 1_000_000, max: 5_000 });
  await shop.collection('log').insertMany(Array.from({ length: 6_000 }, (_, index) => ({ line: index })));
  await shop.createCollection('orders by word', { viewOn: 'c0', pipeline: [{ $sortByCount: '$word' }] });
  const { collections, indexes, views } = await shop.stats();
  say(`  ${collections} collections, ${views} view, ${indexes} indexes (unique and TTL among them), one capped`);
}

async function migrate(stage: Stage): Promise<boolean> {
  const { source, client, signal } = stage;
  const writing = new AbortController();
  const writes = keepWriting(source, stage.opsPerSecond, AbortSignal.any([signal, writing.signal]));
  // Met at the await below; until then a failure must not count as unhandled.
  writes.catch(() => undefined);
  try {
    say('Applications write to the source from here on. Starting the sync …');
    const begun = performance.now();
    await client.start(stage.start);
    const ready = await watchUntil(stage, ({ canCommit }) => canCommit);
    const copySeconds = (performance.now() - begun) / 1000;
    say(`Everything is copied and indexed after ${copySeconds.toFixed(1)} s; following the writes for a while …`);
    const steadyUntil = performance.now() + STEADY_MS;
    await watchUntil(stage, () => performance.now() > steadyUntil);
    writing.abort();
    say(`Writes stopped after ${count(await writes)} operations. Committing …`);
    return await commitAndCompare(stage, ready, copySeconds);
  } finally {
    writing.abort();
    await Promise.allSettled([writes]);
  }
}

/** Ordinary writes to the loaded collections, and a random workload with changes of the catalog beside them. */
async function keepWriting(client: MongoClient, opsPerSecond: number, signal: AbortSignal): Promise<number> {
  const workload = new Workload({ client, seed: 1, databases: ['live', 'live_archive'], without: ['dropDatabase'] });
  await workload.prepare();
  const live = { client, db: SHOP.db, collections: NAMES, documentBytes: SHOP.documentBytes, perSecond: 300 };
  const results = await Promise.all([
    writeLive({ ...live, documents: SHOP.documents / SHOP.collections }, signal),
    workload.run({ signal, opsPerSecond }),
  ]);
  return results[0] + results[1].operations;
}

async function watchUntil(stage: Stage, done: (snapshot: ProgressSnapshot) => boolean): Promise<ProgressSnapshot> {
  const progress = new LiveProgress();
  const request = { interval: { nanos: 200_000_000 } };
  for await (const snapshot of stage.client.follow(
    request,
    AbortSignal.any([stage.signal, AbortSignal.timeout(WAIT_MS)]),
  )) {
    progress.show(snapshot);
    const failure = snapshot.details?.failure;
    if (failure !== undefined) throw new Error(`${failure.error}: ${failure.errorDescription}`);
    if (done(snapshot)) return snapshot;
  }
  stage.signal.throwIfAborted();
  throw new Error('the progress ended before its time');
}

async function commitAndCompare(stage: Stage, ready: ProgressSnapshot, copySeconds: number): Promise<boolean> {
  const { source, destination, client, signal } = stage;
  const before = await client.waitForCanCommit(WAIT_MS, signal);
  const begun = performance.now();
  await client.commit();
  await client.waitFor('canWrite', ({ canWrite }) => canWrite, WAIT_MS, signal);
  const downSeconds = (performance.now() - begun) / 1000;
  const after = await client.waitForState('COMMITTED', WAIT_MS, signal);
  say('Committed. Comparing both clusters: options, indexes, views, and every byte of every document …');
  const differences = await compareClusters(source, destination);
  const totals = await totalsOf(destination);
  const rate = (ready.collectionCopy?.estimatedCopiedBytes ?? 0) / copySeconds;
  const rows: [string, string][] = [
    ['documents', `${count(totals.documents)} in ${totals.collections} collections`],
    ['data', bytes(totals.bytes)],
    ['indexes', `${totals.indexes}`],
    ['copy and index builds', `${copySeconds.toFixed(1)} s (${bytes(rate)}/s)`],
    ['change events applied', count(after.totalEventsApplied ?? 0)],
    ['lag before the commit', `${before.lagTimeSeconds ?? 0} s`],
    ['commit until writable', `${downSeconds.toFixed(1)} s`],
    ['destination = source', differences.length === 0 ? 'yes, byte for byte' : `NO: ${differences.length} differences`],
  ];
  console.log(`\n${table('The migration', rows)}`);
  await showShards(destination);
  for (const difference of differences.slice(0, 30)) console.log(`  ${difference}`);
  return differences.length === 0;
}

/** How much of each sharded collection is on which shard; nothing where there are none. */
async function showShards(client: MongoClient): Promise<void> {
  const keys = await client.db('config').collection('collections').find().toArray();
  for (const { _id, key } of keys) {
    const [db = '', name = ''] = String(_id).split('.');
    if (db !== SHOP.db) continue;
    const { shards } = await client.db(db).command({ collStats: name });
    const parts = Object.entries(shards as Record<string, { size: number }>);
    say(
      `  ${db}.${name}, by ${JSON.stringify(key)}: ${parts.map(([shard, { size }]) => `${shard} ${bytes(Number(size))}`).join(', ')}`,
    );
  }
}

async function totalsOf(
  client: MongoClient,
): Promise<Record<'documents' | 'bytes' | 'collections' | 'indexes', number>> {
  const totals = { documents: 0, bytes: 0, collections: 0, indexes: 0 };
  for (const name of [SHOP.db, 'live', 'live_archive']) {
    const stats = await client.db(name).stats();
    totals.documents += Number(stats['objects']);
    totals.bytes += Number(stats['dataSize']);
    totals.collections += Number(stats['collections']);
    totals.indexes += Number(stats['indexes']);
  }
  return totals;
}
