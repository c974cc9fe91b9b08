/** Instances of one migration that are killed (-9): the others go on. Random kills: instances.long.test.ts. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { COMMIT_POINTS, type CommitPoint } from '../support/commit-points.js';
import { compareClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS, holdCommands, releaseCommands } from '../support/fail-points.js';
import { allCopy, type Instance, Instances, seedSlowCopy, shownIn } from '../support/instances.js';
import { seedRestorable } from '../support/seed-shop.js';
import { sharedPair } from '../support/shared-servers.js';
import { SteadyWriter } from '../support/steady-writer.js';
import { storedWhen } from '../support/stored-migration.js';
import { within } from '../support/within.js';

const TEST_MS = 120_000;
/** 5 s are promised; the machine of the tests may be busy. */
const TAKEOVER_MS = 10_000;

const { pair, source, destination } = await sharedPair(test, { setParameters: FAIL_POINTS });

test.after.each(async () => {
  await Promise.all([releaseCommands(source), releaseCommands(destination)]);
});

/** Kills one and resolves once the other one coordinates. */
async function killFor(killed: Instance, next: Instance): Promise<void> {
  await killed.ferry.kill();
  await next.client.waitFor(
    `${next.id} coordinating`,
    ({ coordinatorId, state }) => coordinatorId === next.id && state !== 'INITIALIZING',
    TAKEOVER_MS,
  );
}

test('a helper killed in the copy: the coordinator copies its ranges', async () => {
  const work = async (): Promise<void> => {
    await using instances = new Instances(pair);
    await seedSlowCopy(source, destination);
    const [a, b] = [await instances.add('a'), await instances.add('b')];
    await instances.start();
    await allCopy(a.client, ['a', 'b']);
    await b.ferry.kill();
    await a.client.waitFor('b gone', (snapshot) => shownIn(snapshot, 'b')?.alive === false, TAKEOVER_MS);
    await releaseCommands(destination);
    // What is gone is not waited for.
    await a.client.commitAndWait();
    assert.equal(await compareClusters(source, destination), []);
  };
  await within(TEST_MS, work(), 'the helper killed');
});

test('the coordinator killed in the copy: a helper goes on, and the one that comes back helps it', async () => {
  const work = async (): Promise<void> => {
    await using instances = new Instances(pair);
    await seedSlowCopy(source, destination);
    const [a, b] = [await instances.add('a'), await instances.add('b')];
    await instances.start();
    await allCopy(a.client, ['a', 'b']);
    await b.client.waitFor('copied bytes', (snapshot) => Number(snapshot.collectionCopy?.estimatedCopiedBytes) > 0);
    await killFor(a, b);
    await a.restart();
    await a.client.waitFor('a helping', ({ coordinatorId }) => coordinatorId === 'b');
    await allCopy(a.client, ['a', 'b']);
    await releaseCommands(destination);
    await instances.commit();
    assert.equal(await compareClusters(source, destination), []);
  };
  await within(TEST_MS, work(), 'the coordinator killed in the copy');
});

test('the coordinator killed in the application: a helper applies on from the stored position', async () => {
  const work = async (): Promise<void> => {
    await using instances = new Instances(pair);
    await using writer = SteadyWriter.start(source);
    const [a, b] = [await instances.add('a'), await instances.add('b')];
    await instances.start();
    await a.client.waitForCanCommit();
    await killFor(a, b);
    await b.client.waitForCanCommit();
    await writer.stop();
    await b.client.commitAndWait();
    assert.equal(await compareClusters(source, destination), []);
  };
  await within(TEST_MS, work(), 'the coordinator killed in the application');
});

const POINTS: readonly CommitPoint[] = [COMMIT_POINTS.timeStored, COMMIT_POINTS.noReturn];

for (const point of POINTS) {
  test(`the coordinator killed in COMMITTING ${point.name}: a helper completes the commit`, async () => {
    const work = async (): Promise<void> => {
      await seedRestorable(source, 500);
      await using instances = new Instances(pair);
      const [a, b] = [await instances.add('a'), await instances.add('b')];
      await instances.start();
      await a.client.waitForCanCommit();
      await b.client.waitForCanCommit();
      await holdCommands({ source, destination }[point.at], { commands: [point.command] }, 2500);
      await b.client.commit();
      await a.client.commit();
      await storedWhen(destination, point.name, point.isReached);
      const took = killFor(a, b);
      await releaseCommands({ source, destination }[point.at]);
      await took;
      await b.client.waitForState('COMMITTED');
      assert.equal(await compareClusters(source, destination), []);
    };
    await within(TEST_MS, work(), point.name);
  });
}

test.run();
