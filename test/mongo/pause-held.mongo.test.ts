/** A pause, and a caller that leaves, while a cluster does not answer. */
import { ChannelCredentials, Metadata } from '@grpc/grpc-js';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { StartRequest } from '../../gen/mongoferry/v1/start_options.js';
import { CheckRequest, SyncServiceClient } from '../../gen/mongoferry/v1/sync_service.js';
import { AppError } from '../../src/errors.js';
import { assertEqualClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS, holdCommands, releaseCommands } from '../support/fail-points.js';
import { FerryProcess } from '../support/ferry-process.js';
import { MigrationHarness } from '../support/migration-harness.js';
import { RestClient } from '../support/rest-client.js';
import { sharedPair } from '../support/shared-servers.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 120_000;
const SOON_MS = 8000;
const HELD_MS = 20_000;

const { pair, source, destination } = await sharedPair(test, { setParameters: FAIL_POINTS });
const items = source.db('shop').collection<{ _id: number }>('items');

test.before.each(async () => {
  await items.insertMany(Array.from({ length: 1000 }, (_, _id) => ({ _id })));
});

test('a source that hangs does not hold up a pause', async () => {
  const work = async () => {
    await using harness = await MigrationHarness.open(pair);
    await harness.sync();
    pair.source.pauseProcess();
    try {
      await harness.until(({ warnings }) => warnings.some((each) => each.includes('has not answered')), 'the warning');
      await within(SOON_MS, harness.migration.pause(), 'the pause');
      assert.is(harness.snapshot.state, 'PAUSED');
    } finally {
      pair.source.continueProcess();
    }
    await items.insertOne({ _id: -1 });
    await harness.migration.resume();
    await harness.commit();
  };
  await within(TEST_MS, work(), 'the pause');
  await assertEqualClusters(source, destination);
});

test('a pause behind a held command is answered in time, names it, and is PAUSED only after it', async () => {
  const work = async () => {
    await using harness = await MigrationHarness.open(pair);
    const { migration } = harness;
    const pause = (): Promise<unknown> =>
      migration.pause().then(
        () => 'paused',
        (error: unknown) => AppError.from(error),
      );
    await harness.sync();
    await holdCommands(destination, { commands: ['create'] }, HELD_MS);
    await source.db('shop').createCollection('late');
    await harness.until(
      ({ warnings }) => warnings.some((each) => each.includes('has not answered create of shop.late')),
      'the create being held',
    );
    const began = performance.now();
    const first = await within(15_000, pause(), 'the pause');
    assert.ok(performance.now() - began > 9000, 'it was waited for');
    assert.is((first as AppError).code, 'OutcomeUnknown');
    assert.match((first as AppError).message, 'cluster1 has not answered create of shop.late');
    assert.is(harness.snapshot.state, 'RUNNING');
    assert.ok(harness.snapshot.warnings.some((each) => each.includes('not paused yet')));
    const refused = await within(1000, migration.commit().catch(AppError.from), 'the commit');
    assert.is((refused as AppError).code, 'OutcomeUnknown');
    // Called while the first one is still going on: once that is over there is nothing to pause.
    const repeated = pause();
    await releaseCommands(destination);
    assert.is(await within(TEST_MS, repeated, 'the repeated pause'), 'paused');
    assert.is(harness.snapshot.state, 'PAUSED');
    assert.equal(
      await destination
        .db('shop')
        .listCollections({ name: 'late' })
        .toArray()
        .then((all) => all.length),
      1,
    );
    assert.not.ok(harness.snapshot.warnings.some((each) => each.includes('not paused yet')));
    await migration.resume();
    await harness.commit();
  };
  await within(TEST_MS, work(), 'the pause');
  await assertEqualClusters(source, destination);
});

test('a start whose caller has gone goes on, and a check whose caller has gone does not', async () => {
  const work = async () => {
    await using ferry = await FerryProcess.between(pair);
    const rest = new RestClient(() => ferry.httpUrl);
    await rest.waitFor('IDLE', ({ state }) => state === 'IDLE');
    const client = new SyncServiceClient(ferry.grpcTarget, ChannelCredentials.createInsecure());
    try {
      pair.source.pauseProcess();
      const check = new Promise((resolve) =>
        client.check(CheckRequest.create(), new Metadata(), { deadline: Date.now() + 1000 }, resolve),
      );
      await check;
      await eventually(
        SOON_MS,
        () => ferry.log.some((line) => line.message === 'sent response' && JSON.stringify(line).includes('Cancelled')),
        'the end of the check, while the source still hangs',
      );
      pair.source.continueProcess();
      await holdCommands(destination, { commands: ['setUserWriteBlockMode'], times: 1 }, 3000);
      const start = { source: 'cluster0', destination: 'cluster1' };
      await new Promise((resolve) =>
        client.start(StartRequest.create(start), new Metadata(), { deadline: Date.now() + 1500 }, resolve),
      );
      await rest.waitFor('canCommit', ({ canCommit }) => canCommit === true, 60_000);
    } finally {
      pair.source.continueProcess();
      client.close();
    }
  };
  await within(TEST_MS, work(), 'the calls');
});

test.run();
