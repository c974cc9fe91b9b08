import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ProgressSnapshot } from '../../gen/mongoferry/v1/progress.js';
import { readFailure } from '../support/api-doors.js';
import { assertEqualClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS, holdCommands, releaseCommands } from '../support/fail-points.js';
import { withClient } from '../support/ferry-client.js';
import { FerryProcess } from '../support/ferry-process.js';
import { startPair } from '../support/replica-set.js';
import { sharedPair } from '../support/shared-servers.js';
import { storedWhen } from '../support/stored-migration.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 120_000;
/** A lease of a process that is gone must not be waited for: it would last 30 seconds. How fast it is the bench tells. */
const BACK_MS = 25_000;
/** What a supervisor waits after SIGTERM. */
const STOP_MS = 10_000;
const HOLD_MS = 3000;
const SLOW_MS = 300;
const START = { source: 'cluster0', destination: 'cluster1' };

const { pair, source, destination } = await sharedPair(test, { setParameters: FAIL_POINTS });

test.before.each(async () => {
  const items = source.db('shop').collection('items');
  await items.insertMany(Array.from({ length: 2000 }, (_, n) => ({ n })));
  await items.createIndex({ n: 1 }, { unique: true });
});

function ferryOf(flags: readonly string[] = []): Promise<FerryProcess> {
  return FerryProcess.between(pair, { flags });
}

async function commitAndCompare(ferry: FerryProcess): Promise<void> {
  await releaseCommands(destination);
  await withClient(ferry, (client) => client.commitAndWait());
  await assertEqualClusters(source, destination);
}

/** kill -9, start again, and look whether the state is there again within seconds, with nobody calling anything. */
async function killAndFind(ferry: FerryProcess, state: string): Promise<ProgressSnapshot> {
  await ferry.kill();
  const started = performance.now();
  await ferry.restart();
  const found = await withClient(ferry, (client) => client.waitUntilInitialized(BACK_MS));
  assert.is(found.state, state);
  assert.ok(performance.now() - started < BACK_MS, 'found again without waiting for the lease');
  return found;
}

test('a process killed in each state finds it again within seconds, and goes on to equal clusters', async () => {
  const walk = async () => {
    await using ferry = await ferryOf();
    await holdCommands(destination, { commands: ['insert'] }, HOLD_MS);
    await withClient(ferry, (client) => client.start());
    await withClient(ferry, (client) => client.waitFor('the copy', ({ info }) => info === 'collection copy'));
    await killAndFind(ferry, 'RUNNING');
    await releaseCommands(destination);
    await withClient(ferry, (client) => client.waitForCanCommit());
    await source
      .db('shop')
      .collection('late')
      .insertMany([{ a: 1 }, { a: 2 }]);
    await killAndFind(ferry, 'RUNNING');
    await withClient(ferry, (client) => client.pause());
    await source.db('shop').collection('late').deleteOne({ a: 1 });
    await killAndFind(ferry, 'PAUSED');
    await withClient(ferry, (client) => client.resume());
    await commitAndCompare(ferry);
    // Reading the metadata takes a while: the first word of COMMITTED, at which streams end, must be the whole truth.
    await holdCommands(destination, { commands: ['find'] }, SLOW_MS);
    const { canWrite, info } = await killAndFind(ferry, 'COMMITTED');
    assert.equal([canWrite, info], [true, 'commit completed']);
  };
  await within(TEST_MS, walk(), 'the kills');
});

test('other clusters than before are refused with exit code 3, whatever the migration was', async () => {
  const refuse = async () => {
    {
      await using ferry = await ferryOf();
      await withClient(ferry, (client) => client.start());
      await withClient(ferry, (client) => client.waitForCanCommit());
      assert.is(await ferry.stop(), 0);
    }
    const swapped = { cluster0: pair.destination.uri, cluster1: pair.source.uri };
    await using other = await FerryProcess.start(swapped);
    assert.is((await other.exited).code, 3);
    assert.match(other.log.at(-1)?.message ?? '', /cluster0 and cluster1 are exchanged/);
    await using third = await startPair({ source: { name: 'third' } });
    await using stranger = await FerryProcess.start({ cluster0: third.source.uri, cluster1: pair.destination.uri });
    assert.is((await stranger.exited).code, 3);
    assert.match(stranger.log.at(-1)?.message ?? '', /cluster0 is not the source that it began with/);
    // And the right ones still go on.
    await using again = await ferryOf();
    assert.is((await withClient(again, (client) => client.waitUntilInitialized())).state, 'RUNNING');
  };
  await within(TEST_MS, refuse(), 'the refusals');
});

async function stopInTime(ferry: FerryProcess, where: string): Promise<void> {
  const started = performance.now();
  assert.is(await ferry.stop(), 0, where);
  const ms = performance.now() - started;
  assert.ok(ms < STOP_MS, `${where}: it took ${Math.round(ms)} ms`);
  await ferry.restart();
}

test('SIGTERM ends the process with 0 within ten seconds in every state', async () => {
  const walk = async () => {
    await holdCommands(destination, { commands: ['listCollections'] }, HOLD_MS);
    await using ferry = await ferryOf();
    assert.is((await withClient(ferry, (client) => client.progress())).state, 'INITIALIZING');
    await stopInTime(ferry, 'INITIALIZING');
    await releaseCommands(destination);
    await withClient(ferry, (client) => client.waitForState('IDLE'));
    await stopInTime(ferry, 'IDLE');
    await holdCommands(destination, { commands: ['insert'] }, HOLD_MS);
    await withClient(ferry, (client) => client.start());
    await stopInTime(ferry, 'RUNNING, in the copy, with a write that hangs');
    await releaseCommands(destination);
    await withClient(ferry, (client) => client.waitForCanCommit());
    await stopInTime(ferry, 'RUNNING, applying');
    await withClient(ferry, async (client) => {
      await client.waitUntilInitialized();
      await client.pause();
    });
    await stopInTime(ferry, 'PAUSED');
    await withClient(ferry, async (client) => {
      await client.waitUntilInitialized();
      await client.resume();
      await client.waitForCanCommit();
      await holdCommands(destination, { commands: ['collMod'] }, HOLD_MS);
      await client.commit();
    });
    await storedWhen(destination, 'the step that is held', ({ commit }) => commit?.step === 'restore');
    await stopInTime(ferry, 'COMMITTING');
    await releaseCommands(destination);
    await withClient(ferry, (client) => client.waitForState('COMMITTED'));
    await stopInTime(ferry, 'COMMITTED');
  };
  await within(TEST_MS, walk(), 'the stops');
});

test('of two processes that start at the same time one gets the lease, the other is told', async () => {
  const race = async () => {
    await using one = await ferryOf();
    await using other = await ferryOf();
    for (const ferry of [one, other]) await withClient(ferry, (client) => client.waitForState('IDLE'));
    // Both have looked at the destination, and found nothing, before either has stored anything.
    await holdCommands(destination, { commands: ['dbStats'] }, HOLD_MS / 2);
    const starts = [one, other].map((ferry) =>
      withClient(ferry, (client) =>
        client.start().then(
          () => 'started',
          (error) => readFailure(error).reason,
        ),
      ),
    );
    const [first, second] = (await Promise.all(starts)).sort();
    assert.equal(second, 'started');
    assert.ok(first === 'LeaseHeld' || first === 'MigrationExists', `${first}`);
    await releaseCommands(destination);
    const winner = (await withClient(one, (client) => client.progress())).state === 'RUNNING' ? one : other;
    await commitAndCompare(winner);
  };
  await within(TEST_MS, race(), 'the race');
});

test('a second process waits for the lease, and takes over when the first one is killed', async () => {
  const takeOver = async () => {
    await using first = await ferryOf();
    await using idle = await ferryOf();
    await withClient(idle, (client) => client.waitForState('IDLE'));
    // Held before it has created anything.
    await holdCommands(destination, { commands: ['create'] }, HOLD_MS);
    await withClient(first, (client) => client.start());
    const refused = await withClient(idle, (client) => client.start().then(() => undefined, readFailure));
    assert.is(refused?.reason, 'MigrationExists', refused?.message);
    assert.not.match(refused?.message ?? '', /setUserWriteBlockMode/, 'the block belongs to the migration');
    const { findings } = await withClient(idle, (client) => client.check(START));
    const blockers = findings.filter(({ severity }) => severity === 'blocker');
    assert.equal(
      blockers.map(({ name }) => name),
      ['MigrationExists'],
    );
    await releaseCommands(destination);

    await using second = await ferryOf();
    await withClient(first, (client) => client.waitForCanCommit());
    await eventually(10_000, () => second.linesWith('waiting for it').length === 1, 'the wait for the lease');
    assert.is((await withClient(second, (client) => client.progress())).state, 'INITIALIZING');
    await source.db('shop').collection('items').insertOne({ n: 'meanwhile' });
    await first.kill();
    await withClient(second, (client) => client.waitForState('RUNNING', BACK_MS));
    await commitAndCompare(second);
  };
  await within(TEST_MS, takeOver(), 'the take-over');
});

test.run();
