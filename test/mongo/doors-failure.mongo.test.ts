import { type ServiceError, status } from '@grpc/grpc-js';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readFailure } from '../support/api-doors.js';
import { FerryClient } from '../support/ferry-client.js';
import { FerryProcess } from '../support/ferry-process.js';
import { failureOf, RestClient } from '../support/rest-client.js';
import { sharedPair } from '../support/shared-servers.js';
import { METADATA_DB, storedWhen } from '../support/stored-migration.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 60_000;
const CALLS = ['start', 'pause', 'resume', 'commit', 'reverse', 'check'];

const { pair, source, destination } = await sharedPair(test);

test.before.each(async () => {
  await source.db('shop').collection('items').insertOne({ n: 1 });
});

function ferryOf(flags: readonly string[] = []): Promise<FerryProcess> {
  return FerryProcess.between(pair, { flags });
}

/** A migration that is RUNNING; then something happens on the source that no migration can follow. */
async function startAndFail(ferry: FerryProcess): Promise<void> {
  using client = new FerryClient(ferry.grpcTarget);
  await client.start();
  await client.waitForCanCommit();
  await source.db('shop').createCollection('measured', { timeseries: { timeField: 'at' } });
}

test('a failure for good ends the process with 4 and one fatal line; restarted, it ends with 4 at once', async () => {
  const fail = async () => {
    await using ferry = await ferryOf();
    await startAndFail(ferry);
    assert.is((await ferry.exited).code, 4);
    const [line, ...more] = ferry.log.filter(({ level }) => /fatal/i.test(level));
    assert.equal(more, []);
    assert.match(line?.message ?? '', /time-series collection shop\.measured/);
    const { failure, state } = await storedWhen(
      destination,
      'the failure',
      (record) => record['failure'] !== undefined,
    );
    assert.equal([failure.error, state], ['UnsupportedChange', 'RUNNING']);
    const started = performance.now();
    await ferry.restart();
    assert.is((await ferry.exited).code, 4);
    assert.ok(performance.now() - started < 8000, 'at once');
    assert.match(ferry.log.at(-1)?.message ?? '', /has failed before: .*shop\.measured/);
  };
  await within(TEST_MS, fail(), 'the failure');
});

/** Progress over both doors tells of the failure, every other call is refused by its name. */
async function checkAnswers(ferry: FerryProcess): Promise<void> {
  const rest = new RestClient(() => ferry.httpUrl);
  const progress = await rest.progress();
  assert.is(progress['state'], 'RUNNING', 'the state stays what it was');
  assert.equal([progress['canCommit'], progress['canWrite']], [false, false]);
  const failure = failureOf(progress);
  assert.is(failure?.error, 'UnsupportedChange');
  assert.match(failure?.errorDescription ?? '', /shop\.measured/);
  assert.match(failure?.errorDescription ?? '', /setUserWriteBlockMode: 1, global: false/);
  assert.match(failure?.errorDescription ?? '', new RegExp(METADATA_DB));
  for (const call of CALLS) {
    const { status: code, body } = await rest.post(call, '{"source": "cluster0", "destination": "cluster1"}');
    const bare = call === 'start' || call === 'check' ? { status: code, body } : await rest.post(call);
    assert.equal([bare.status, bare.body['error']], [500, 'MigrationFailed'], `${call}: ${JSON.stringify(bare.body)}`);
  }
  using client = new FerryClient(ferry.grpcTarget);
  const seen: unknown[] = [];
  try {
    for await (const snapshot of client.follow({ follow: true })) seen.push(snapshot.details?.failure?.error);
    throw new Error('the stream of a failed migration ended well');
  } catch (error) {
    const { code, reason } = readFailure(error as ServiceError);
    assert.equal([code, reason], [status.ABORTED, 'MigrationFailed']);
  }
  assert.equal(seen, ['UnsupportedChange'], 'the last snapshot comes before the error');
  assert.is((await rest.get('/healthz')).status, 200);
  const ready = await rest.get('/readyz');
  assert.equal([ready.status, ready.body['error']], [500, 'MigrationFailed']);
}

test('with --stayUpOnFailure it keeps answering, also after a restart, and ends with 4 when told to', async () => {
  const fail = async () => {
    await using ferry = await ferryOf(['--stayUpOnFailure']);
    await startAndFail(ferry);
    await eventually(20_000, () => ferry.linesWith('keeps answering').length === 1, 'the fatal line');
    await checkAnswers(ferry);
    assert.is(await ferry.stop(), 4);
    await ferry.restart();
    await eventually(20_000, () => ferry.linesWith('keeps answering').length === 2, 'the fatal line');
    await checkAnswers(ferry);
    assert.is(await ferry.stop(), 4);
  };
  await within(TEST_MS, fail(), 'the failure');
});

test.run();
