/** Instances of one migration that are killed (-9): the others go on. Random kills: instances.long.test.ts. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { COMMIT_POINTS } from '../support/commit-points.js';
import { compareClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS, releaseCommands } from '../support/fail-points.js';
import {
  allCopy,
  Instances,
  killCommitting,
  killFor,
  seedSlowCopy,
  shownIn,
  TAKEOVER_MS,
} from '../support/instances.js';
import { sharedPair } from '../support/shared-servers.js';
import { SteadyWriter } from '../support/steady-writer.js';
import { within } from '../support/within.js';

const TEST_MS = 120_000;
/** The copy outlasts a restart, also on a busy machine. */
const LONG_HOLD_MS = 3000;

const { pair, source, destination } = await sharedPair(test, { setParameters: FAIL_POINTS });

test.after.each(async () => {
  await Promise.all([releaseCommands(source), releaseCommands(destination)]);
});

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
    await seedSlowCopy(source, destination, LONG_HOLD_MS);
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

const { timeStored } = COMMIT_POINTS;

test(`the coordinator killed in COMMITTING ${timeStored.name}: a helper completes the commit`, async () => {
  await within(TEST_MS, killCommitting({ pair, source, destination }, timeStored), timeStored.name);
});

test.run();
