/** Several instances that apply changes in shares, because the application is behind. Others: instances-changes.long.test.ts. */
import { Decimal128, type Document, Double, Long, ObjectId } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { shareStage } from '../../src/apply/share.js';
import { appliedBy, fallBehind, IDS, twoRunning, whileShared } from '../support/behind.js';
import { compareClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS, releaseCommands } from '../support/fail-points.js';
import { Instances, shownIn, TAKEOVER_MS } from '../support/instances.js';
import { sharedPair } from '../support/shared-servers.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 120_000;

const shared = await sharedPair(test, { setParameters: FAIL_POINTS });
const { pair, ...ends } = shared;
const { source, destination } = ends;

test.after.each(async () => {
  await Promise.all([releaseCommands(source), releaseCommands(destination)]);
});

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
    await fallBehind(ends, a);
    await eventually(20_000, async () => (await appliedBy(a.client, 'b')) > 0, 'b applying');
    await instances.commit();
    assert.ok((await appliedBy(b.client, 'a')) > 0, 'a has applied its own share');
    assert.equal(await compareClusters(source, destination), []);
  };
  await within(TEST_MS, work(), 'the changes');
});

test('an instance that dies with a share: its changes are applied again', async () => {
  const work = whileShared(shared, async (a, b) => {
    await b.ferry.kill();
    await a.client.waitFor('b gone', (snapshot) => shownIn(snapshot, 'b')?.alive === false, TAKEOVER_MS);
    await releaseCommands(destination);
    await a.client.commitAndWait();
  });
  assert.equal(await within(TEST_MS, work, 'the instance killed'), []);
});

test.run();
