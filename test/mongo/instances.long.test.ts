/** Three instances of one migration under a random workload, killed at random; and one that stalls and wakes up late. */
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { COMMIT_POINTS } from '../support/commit-points.js';
import { compareClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS, holdCommands, releaseCommands } from '../support/fail-points.js';
import { allCopy, Instances, killCommitting, seedSlowCopy, shownIn } from '../support/instances.js';
import { seedBulk } from '../support/seed-data-bulk.js';
import { seedRestorable } from '../support/seed-shop.js';
import { sharedPair } from '../support/shared-servers.js';
import { SteadyWriter } from '../support/steady-writer.js';
import { stopProcess } from '../support/stop-process.js';
import { within } from '../support/within.js';
import { Workload } from '../support/workload.js';
import { Random } from '../support/workload-random.js';

const KILLS = 8;
const OPERATIONS = 250;
const SEEDS = [11, 12, 13];
const TEST_MS = 400_000;
/** Longer than a lease lasts on another host: a process that is stopped cannot be told from one that is cut off. */
const STALL_MS = 40_000;
/** Of a coordinator that others help. */
const LEASE_MS = 10_000;
const QUIET_MS = 10_000;

const { pair, source, destination } = await sharedPair(test, { setParameters: FAIL_POINTS });

test.after.each(async () => {
  await Promise.all([releaseCommands(source), releaseCommands(destination)]);
});

for (const seed of SEEDS) {
  test(`three instances, any of which is killed (-9) under a random workload, end equal (seed ${seed})`, async () => {
    const work = async (): Promise<void> => {
      const random = new Random(seed);
      await seedBulk(source, { collections: 20, documents: 20_000, documentBytes: 300, indexes: 1 });
      const workload = new Workload({ client: source, seed });
      await workload.prepare();
      await workload.run({ operations: 500 });
      await holdCommands(destination, { commands: ['insert'] }, 300);
      await using instances = new Instances(pair);
      for (const id of ['a', 'b', 'c']) await instances.add(id);
      await instances.start();
      for (let kill = 1; kill <= KILLS; kill++) {
        if (kill === KILLS / 2) await releaseCommands(destination);
        await workload.run({ operations: 1 + random.int(OPERATIONS) });
        const killed = instances.all[random.int(instances.all.length)];
        await killed?.restart();
      }
      await workload.run({ operations: 200 });
      await instances.commit(180_000);
      assert.equal(await compareClusters(source, destination), []);
    };
    await within(TEST_MS, work(), 'three instances');
  });
}

test('a helper that stalls in the copy and wakes up late writes nothing any more, and ends', async () => {
  const work = async (): Promise<void> => {
    await using instances = new Instances(pair);
    await seedSlowCopy(source, destination, 500);
    const [a, b] = [await instances.add('a'), await instances.add('b')];
    await instances.start();
    await allCopy(a.client, ['a', 'b']);
    stopProcess(b.ferry.pid);
    await sleep(STALL_MS);
    await a.client.waitFor('b gone', (snapshot) => shownIn(snapshot, 'b')?.alive === false);
    await releaseCommands(destination);
    process.kill(b.ferry.pid, 'SIGCONT');
    await within(60_000, b.ferry.exited, 'the end of the one that woke up');
    await a.client.commitAndWait();
    assert.equal(await compareClusters(source, destination), []);
  };
  await within(TEST_MS, work(), 'the stalled helper');
});

test('a coordinator that stalls is followed by a helper once its lease has run out, and ends when it wakes up', async () => {
  const work = async (): Promise<void> => {
    await using instances = new Instances(pair);
    await using writer = SteadyWriter.start(source);
    const [a, b] = [await instances.add('a'), await instances.add('b')];
    await instances.start();
    await a.client.waitForCanCommit();
    // Index builds and the like are over, and that is stored: they would be waited for.
    await sleep(QUIET_MS);
    const began = performance.now();
    stopProcess(a.ferry.pid);
    await b.client.waitFor('b coordinating', ({ coordinatorId }) => coordinatorId === 'b', STALL_MS);
    assert.ok(performance.now() - began > LEASE_MS / 2, 'not before its lease has run out');
    process.kill(a.ferry.pid, 'SIGCONT');
    await within(60_000, a.ferry.exited, 'the end of the one that woke up');
    await writer.stop();
    await b.client.commitAndWait();
    assert.equal(await compareClusters(source, destination), []);
  };
  await within(TEST_MS, work(), 'the stalled coordinator');
});

test('a reversal is followed by the instance that helps', async () => {
  const work = async (): Promise<void> => {
    await seedRestorable(source, 100);
    await using instances = new Instances(pair);
    const [a, b] = [await instances.add('a'), await instances.add('b')];
    await instances.start({ reversible: true });
    await instances.commit();
    await b.client.reverse();
    await a.client.reverse();
    for (const { client } of [a, b])
      await client.waitFor(
        'the new direction',
        ({ state, directionMapping }) =>
          state === 'RUNNING' && directionMapping?.source.startsWith('cluster1') === true,
      );
    await instances.commit();
    assert.equal(await compareClusters(destination, source), []);
  };
  await within(TEST_MS, work(), 'the reversal');
});

const { beforeTime, restoring, noReturn } = COMMIT_POINTS;

for (const point of [beforeTime, restoring, noReturn]) {
  test(`the coordinator killed in COMMITTING ${point.name}: a helper completes the commit`, async () => {
    await within(TEST_MS, killCommitting({ pair, source, destination }, point), point.name);
  });
}

test.run();
