/** Several instances that apply changes in shares, because the application is behind; also when one of them is killed. */
import { Decimal128, type Document, Double, Long, type MongoClient, ObjectId } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { shareStage } from '../../src/apply/share.js';
import { compareClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS, holdCommands, releaseCommands } from '../support/fail-points.js';
import { type Instance, Instances, killFor, shownIn, TAKEOVER_MS } from '../support/instances.js';
import { sharedPair } from '../support/shared-servers.js';
import { stopProcess } from '../support/stop-process.js';
import { METADATA_DB } from '../support/stored-migration.js';
import { eventually, within } from '../support/within.js';
import { Workload } from '../support/workload.js';

const TEST_MS = 120_000;
/** So far behind that shares are worth their while: more than the engine's limit. */
const BEHIND_SECONDS = 5;
const HOLD_MS = 2000;
/** Of one round: some 6 MB of changes. */
const TEXT_BYTES = 20_000;
const IDS = Array.from({ length: 300 }, (_, id) => id);
const ROUNDS = 12;

const { pair, source, destination } = await sharedPair(test, { setParameters: FAIL_POINTS });

test.after.each(async () => {
  await Promise.all([releaseCommands(source), releaseCommands(destination)]);
});

/**
 * Stops the coordinator while the source is written to, and lets it go on: far behind, by more bytes than the replies hold
 * that it had asked for. `also` runs between the writes.
 */
async function fallBehind(coordinator: Instance, also?: (round: number) => Promise<void>): Promise<void> {
  await source.db('bulk').createCollection('capped', { capped: true, size: 1024 * 1024, max: 500 });
  await source.db('bulk').createCollection('collated', { collation: { locale: 'en', strength: 2 } });
  await writeMany(0);
  await coordinator.client.waitForCanCommit();
  stopProcess(coordinator.ferry.pid);
  try {
    const until = (await clusterSeconds(source)) + BEHIND_SECONDS;
    for (let round = 1; round <= ROUNDS || (await clusterSeconds(source)) < until; round++) {
      await writeMany(round);
      await also?.(round);
    }
  } finally {
    process.kill(coordinator.ferry.pid, 'SIGCONT');
  }
}

/** Changes that depend on the state before, replacements, a document that comes and goes, and collections with an order. */
async function writeMany(round: number): Promise<void> {
  const db = source.db('bulk');
  const n = { $add: [{ $ifNull: ['$n', 0] }, 1] };
  const text = 'x'.repeat(TEXT_BYTES);
  const counters = IDS.map((_id) => ({ updateOne: { filter: { _id }, update: [{ $set: { n } }], upsert: true } }));
  const texts = IDS.map((_id) => ({ replaceOne: { filter: { _id }, replacement: { text, round }, upsert: true } }));
  await db.collection<{ _id: number }>('counters').bulkWrite(counters);
  await db.collection<{ _id: number; text: string; round: number }>('texts').bulkWrite(texts);
  const passing = db.collection<{ _id: number; round: number }>('passing');
  await passing.insertMany(IDS.map((_id) => ({ _id, round })));
  await passing.deleteMany({ _id: { $gte: round } });
  await db.collection('capped').insertMany(IDS.slice(0, 40).map((id) => ({ round, id })));
  const name = round % 2 === 0 ? 'Anna' : 'anna';
  await db.collection<{ _id: string; round: number }>('collated').deleteOne({ _id: 'anna' });
  await db.collection<{ _id: string; round: number }>('collated').insertOne({ _id: name, round });
  await passing.deleteMany({});
}

async function clusterSeconds(client: MongoClient): Promise<number> {
  const { operationTime } = await client.db('admin').command({ ping: 1 });
  return operationTime.getHighBitsUnsigned();
}

async function appliedBy(client: Instance['client'], id: string): Promise<number> {
  return Number(shownIn(await client.progress(), id)?.eventsApplied ?? 0);
}

async function twoRunning(instances: Instances): Promise<[Instance, Instance]> {
  const [a, b] = [await instances.add('a'), await instances.add('b')];
  await instances.start();
  await a.client.waitForCanCommit();
  await b.client.waitForCanCommit();
  return [a, b];
}

/** Resolves once an instance has been given a share. */
async function whenShared(): Promise<void> {
  const tasks = destination.db(METADATA_DB).collection('tasks');
  await eventually(20_000, async () => (await tasks.findOne({ kind: 'apply' })) !== null, 'a share given out');
}

test('each document is in one share, and equal numbers are in the same one', async () => {
  const ones = [1, new Double(1), Long.fromNumber(1), new Decimal128('1.0')];
  const others = [...IDS.slice(2), 'text', new ObjectId(), { a: 1, b: [2] }, Long.MIN_VALUE, null, -0.5];
  const events = source.db('bulk').collection('events');
  const insertOf = (_id: unknown): Document => ({ operationType: 'insert', documentKey: { _id } });
  await events.insertMany([...ones, ...others].map(insertOf));
  await events.insertOne({ operationType: 'drop' });
  const shares = await Promise.all(
    [0, 1, 2].map((share) => events.aggregate([shareStage({ share, of: 3, undivided: [] })]).toArray()),
  );
  const drops = shares.map((share) => share.filter(({ operationType }) => operationType === 'drop').length);
  assert.equal(drops, [1, 1, 1], 'whatever is no document change is in all');
  const sizes = shares.map((share) => share.length - 1);
  assert.is(
    sizes.reduce((sum, each) => sum + each, 0),
    ones.length + others.length,
  );
  assert.ok(Math.min(...sizes) > others.length / 5, `the shares are about equal: ${sizes}`);
  const equal = shares.map((share) => share.filter(({ documentKey }) => Number(documentKey?._id) === 1).length);
  assert.equal(
    equal.filter((count) => count > 0),
    [ones.length],
  );
});

test('changes that one instance is behind with are applied by all', async () => {
  const work = async (): Promise<void> => {
    await using instances = new Instances(pair);
    const [a, b] = await twoRunning(instances);
    await fallBehind(a);
    await eventually(20_000, async () => (await appliedBy(a.client, 'b')) > 0, 'b applying');
    await instances.commit();
    assert.ok((await appliedBy(b.client, 'a')) > 0, 'a has applied its own share');
    assert.equal(await compareClusters(source, destination), []);
  };
  await within(TEST_MS, work(), 'the changes');
});

test('changes of the catalog end a stretch for all, and shares go on behind them', async () => {
  const work = async (): Promise<void> => {
    await using instances = new Instances(pair);
    const [a] = await twoRunning(instances);
    const workload = new Workload({ client: source, seed: 7 });
    await workload.prepare();
    const bulk = source.db('bulk');
    await fallBehind(a, async (round) => {
      if (round % 6 !== 0) return;
      await workload.run({ operations: 60 });
      await bulk.renameCollection('counters', 'moved');
      await bulk.collection<{ _id: number }>('moved').updateMany({}, { $inc: { n: 100 } });
      await bulk.renameCollection('moved', 'counters');
      await bulk.collection('texts').drop();
    });
    await eventually(20_000, async () => (await appliedBy(a.client, 'b')) > 0, 'b applying');
    await instances.commit();
    assert.equal(await compareClusters(source, destination), []);
  };
  await within(TEST_MS, work(), 'the changes');
});

test('an instance that dies with a share: its changes are applied again', async () => {
  const work = async (): Promise<void> => {
    await using instances = new Instances(pair);
    const [a, b] = await twoRunning(instances);
    await holdCommands(destination, { commands: ['update'], namespace: 'bulk.counters' }, HOLD_MS);
    await fallBehind(a);
    await whenShared();
    await b.ferry.kill();
    await a.client.waitFor('b gone', (snapshot) => shownIn(snapshot, 'b')?.alive === false, TAKEOVER_MS);
    await releaseCommands(destination);
    await a.client.commitAndWait();
    assert.equal(await compareClusters(source, destination), []);
  };
  await within(TEST_MS, work(), 'the instance killed');
});

test('a coordinator that dies while shares are applied: another one applies all of it again', async () => {
  const work = async (): Promise<void> => {
    await using instances = new Instances(pair);
    const [a, b] = await twoRunning(instances);
    await holdCommands(destination, { commands: ['update'], namespace: 'bulk.counters' }, HOLD_MS);
    await fallBehind(a);
    await whenShared();
    await killFor(a, b);
    await releaseCommands(destination);
    await b.client.commitAndWait();
    assert.equal(await compareClusters(source, destination), []);
  };
  await within(TEST_MS, work(), 'the coordinator killed');
});

test('a pause of an instance with a share gives it back', async () => {
  const work = async (): Promise<void> => {
    await using instances = new Instances(pair);
    const [a, b] = await twoRunning(instances);
    await holdCommands(destination, { commands: ['update'], namespace: 'bulk.counters' }, HOLD_MS);
    await fallBehind(a);
    await whenShared();
    await b.client.pause();
    await releaseCommands(destination);
    await a.client.waitForCanCommit();
    await b.client.resume();
    await instances.commit();
    assert.equal(await compareClusters(source, destination), []);
  };
  await within(TEST_MS, work(), 'the instance paused');
});

test.run();
