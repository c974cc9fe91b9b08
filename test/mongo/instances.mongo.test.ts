/** Several instances of one migration: shares, calls, and progress. Kills: instances-kill; a reversal: instances.long. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { compareClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS, releaseCommands } from '../support/fail-points.js';
import { allCopy, Instances, SEEDED, seedSlowCopy, shownIn } from '../support/instances.js';
import { seedRestorable } from '../support/seed-shop.js';
import { sharedPair } from '../support/shared-servers.js';
import { within } from '../support/within.js';

const TEST_MS = 90_000;

const { pair, source, destination } = await sharedPair(test, { setParameters: FAIL_POINTS });

test.after.each(() => releaseCommands(destination));

test('two instances share the copy and the comparison, and a commit waits until both are called', async () => {
  const work = async (): Promise<void> => {
    await using instances = new Instances(pair);
    await seedSlowCopy(source, destination);
    const [a, b] = [await instances.add('a'), await instances.add('b')];
    await instances.start();
    await allCopy(b.client, ['a', 'b']);
    await releaseCommands(destination);
    await a.client.waitForCanCommit();
    const snapshot = await b.client.waitForCanCommit();
    assert.is(snapshot.mongosyncId, 'b');
    assert.is(snapshot.coordinatorId, 'a');
    const shown = await a.client.progress();
    for (const id of ['a', 'b']) {
      assert.ok(Number(shownIn(shown, id)?.documentsCopied) > 0, `${id} has copied something`);
      assert.ok(Number(shownIn(shown, id)?.documentsCompared) > 0, `${id} has compared something`);
    }
    assert.is(
      ['a', 'b'].reduce((sum, id) => sum + Number(shownIn(shown, id)?.documentsCopied), 0),
      SEEDED,
    );
    await b.client.commit();
    const waiting = await a.client.waitFor('the warning', ({ warnings }) =>
      warnings.some((each) => each.includes('commit has been called on b')),
    );
    assert.is(waiting.state, 'RUNNING');
    await a.client.commit();
    for (const { client } of [a, b]) await client.waitForState('COMMITTED');
    assert.equal(await compareClusters(source, destination), []);
  };
  await within(TEST_MS, work(), 'two instances');
});

test('a later start with other options is refused, and one with the same ones is welcome', async () => {
  const work = async (): Promise<void> => {
    await using instances = new Instances(pair);
    const [a, b] = [await instances.add('a'), await instances.add('b')];
    await a.client.start();
    const refusal = await b.client.start({ copyInNaturalOrder: [{ database: 'shop' }] }).catch(String);
    assert.match(String(refusal), 'a migration with different options is RUNNING: copyInNaturalOrder is');
    await b.client.start();
    await instances.commit();
  };
  await within(TEST_MS, work(), 'the starts');
});

test('starts at the same moment: one coordinates, the other one helps it', async () => {
  const work = async (): Promise<void> => {
    await using instances = new Instances(pair);
    const [a, b] = [await instances.add('a'), await instances.add('b')];
    await Promise.all([a.client.start(), b.client.start()]);
    const coordinators = await Promise.all(
      [a, b].map(async ({ client }) => (await client.waitForCanCommit()).coordinatorId),
    );
    assert.is(coordinators[0], coordinators[1]);
    await instances.commit();
  };
  await within(TEST_MS, work(), 'the starts');
});

test('with --coordinated a call to one instance counts for all', async () => {
  const work = async (): Promise<void> => {
    await seedRestorable(source, 100);
    await using instances = new Instances(pair);
    const flags = ['--coordinated'];
    const [a, b, c] = [
      await instances.add('a', flags),
      await instances.add('b', flags),
      await instances.add('c', flags),
    ];
    await a.client.start();
    for (const { client } of [b, c]) await client.waitForState('RUNNING');
    await c.client.waitForCanCommit();
    await c.client.commit();
    for (const { client } of [a, b, c]) await client.waitForState('COMMITTED');
    assert.equal(await compareClusters(source, destination), []);
  };
  await within(TEST_MS, work(), 'the call');
});

test('a pause is of one instance alone: another one coordinates, and goes on', async () => {
  const work = async (): Promise<void> => {
    await using instances = new Instances(pair);
    // Not done before another instance has taken over, however fast the machine is.
    await seedSlowCopy(source, destination, 2500);
    const [a, b] = [await instances.add('a'), await instances.add('b')];
    await instances.start();
    await allCopy(a.client, ['a', 'b']);
    await a.client.pause();
    assert.is((await a.client.progress()).state, 'PAUSED');
    await b.client.waitFor(
      'b coordinating',
      ({ state, coordinatorId }) => state === 'RUNNING' && coordinatorId === 'b',
    );
    await allCopy(b.client, ['b']);
    await b.client.pause();
    for (const { client } of [a, b]) await client.waitForState('PAUSED');
    await a.client.resume();
    await a.client.waitFor(
      'a coordinating',
      ({ state, coordinatorId }) => state === 'RUNNING' && coordinatorId === 'a',
    );
    assert.is((await b.client.progress()).state, 'PAUSED');
    await b.client.resume();
    await releaseCommands(destination);
    await instances.commit();
    assert.equal(await compareClusters(source, destination), []);
  };
  await within(TEST_MS, work(), 'the pauses');
});

test.run();
