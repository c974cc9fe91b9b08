/** Several instances that apply changes in shares, because the application is behind, when something else happens meanwhile. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { appliedBy, fallBehind, twoRunning, whileShared } from '../support/behind.js';
import { compareClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS, releaseCommands } from '../support/fail-points.js';
import { Instances, killFor } from '../support/instances.js';
import { sharedPair } from '../support/shared-servers.js';
import { eventually, within } from '../support/within.js';
import { Workload } from '../support/workload.js';

const TEST_MS = 120_000;
/** Late enough that the shares begin before it. */
const DDL_ROUND = 5;

const shared = await sharedPair(test, { setParameters: FAIL_POINTS });
const { pair, ...ends } = shared;
const { source, destination } = ends;

test.after.each(async () => {
  await Promise.all([releaseCommands(source), releaseCommands(destination)]);
});

test('changes of the catalog end a stretch for all, and shares go on behind them', async () => {
  const work = async (): Promise<void> => {
    await using instances = new Instances(pair);
    const [a] = await twoRunning(instances);
    const workload = new Workload({ client: source, seed: 7 });
    await workload.prepare();
    const bulk = source.db('bulk');
    await fallBehind(ends, a, async (round) => {
      if (round !== DDL_ROUND) return;
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

test('a coordinator that dies while shares are applied: another one applies all of it again', async () => {
  const work = whileShared(shared, async (a, b) => {
    await killFor(a, b);
    await releaseCommands(destination);
    await b.client.commitAndWait();
  });
  assert.equal(await within(TEST_MS, work, 'the coordinator killed'), []);
});

test('a pause of an instance with a share gives it back', async () => {
  const work = whileShared(shared, async (a, b, instances) => {
    await b.client.pause();
    await releaseCommands(destination);
    await a.client.waitForCanCommit();
    await b.client.resume();
    await instances.commit();
  });
  assert.equal(await within(TEST_MS, work, 'the instance paused'), []);
});

test.run();
