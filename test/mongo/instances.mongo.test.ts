/** Several instances of one migration: shares, calls, and progress. Kills: instances-kill.mongo.test.ts. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { compareClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS, releaseCommands } from '../support/fail-points.js';
import { allCopy, Instances, seedSlowCopy, shownIn } from '../support/instances.js';
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
      4800,
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

test.run();
