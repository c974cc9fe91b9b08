import { ChannelCredentials, type ServiceError, status } from '@grpc/grpc-js';
import type { MongoClient } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { StartRequest } from '../../gen/mongoferry/v1/start_options.js';
import { SyncServiceClient } from '../../gen/mongoferry/v1/sync_service.js';
import { readFailure, unary } from '../support/api-doors.js';
import { FAIL_POINTS, holdCommands, releaseCommands } from '../support/fail-points.js';
import { FerryClient } from '../support/ferry-client.js';
import { FerryProcess } from '../support/ferry-process.js';
import { startPair } from '../support/replica-set.js';
import { RestClient } from '../support/rest-client.js';
import { storedWhen } from '../support/stored-migration.js';
import { within } from '../support/within.js';

const TEST_MS = 90_000;
/** Longer than a look at every call takes, shorter than anything's patience. */
const HOLD_MS = 4000;

const CALLS = ['start', 'pause', 'resume', 'commit', 'reverse'] as const;
type Call = (typeof CALLS)[number];
const START = { source: 'cluster0', destination: 'cluster1' };

/** The calls that a state refuses; a repeated `start` with the same options is welcome while the migration goes on. */
const FORBIDDEN: Readonly<Record<string, readonly Call[]>> = {
  IDLE: ['pause', 'resume', 'commit', 'reverse'],
  RUNNING: ['resume', 'commit', 'reverse'],
  PAUSED: ['pause', 'commit', 'reverse'],
  COMMITTING: ['pause', 'resume', 'commit', 'reverse'],
  COMMITTED: CALLS,
};

interface Doors {
  readonly client: FerryClient;
  readonly rest: RestClient;
  /** For starts in INITIALIZING, whose end the client would await. */
  readonly service: SyncServiceClient;
}

async function callByGrpc({ client, service }: Doors, call: Call): Promise<void> {
  if (call === 'start') await unary(service, service.start, StartRequest.fromPartial(START));
  else await client[call]();
}

async function refusalOf(work: Promise<unknown>, what: string): Promise<ReturnType<typeof readFailure>> {
  try {
    await work;
  } catch (error) {
    return readFailure(error as ServiceError);
  }
  throw new Error(`${what} was not refused`);
}

/** Every forbidden call of the state, over both doors; neither these nor a bad request change anything. */
async function checkState(doors: Doors, state: string): Promise<void> {
  const { client, rest } = doors;
  assert.is((await client.progress()).state, state);
  for (const call of FORBIDDEN[state] ?? []) {
    const what = `${call} in ${state}`;
    const failure = await refusalOf(callByGrpc(doors, call), what);
    assert.equal([failure.code, failure.reason], [status.FAILED_PRECONDITION, 'InvalidStateTransition'], what);
    assert.match(failure.message, new RegExp(`\\b${state}\\b|canCommit|reversible`), what);
    assert.is(failure.metadata['state'], state, what);
    const answer = await rest.post(call, call === 'start' ? JSON.stringify(START) : '');
    assert.equal([answer.status, answer.body['error']], [409, 'InvalidStateTransition'], what);
    assert.is(answer.body['errorDescription'], failure.message, `${what}: both doors say the same`);
  }
  const bad = await rest.post(
    'start',
    '{"source": "cluster0", "destination": "cluster0", "reversible": "yes", "x": 1}',
  );
  assert.equal([bad.status, bad.body['error']], [400, 'InvalidRequest'], state);
  assert.is((await client.progress()).state, state, 'refused calls change nothing');
}

async function checkEveryState(source: MongoClient, destination: MongoClient, doors: Doors): Promise<void> {
  const { client } = doors;
  assert.is((await client.progress()).state, 'INITIALIZING');
  const early = (FORBIDDEN['IDLE'] ?? []).map((call) => refusalOf(callByGrpc(doors, call), `${call} in INITIALIZING`));
  await releaseCommands(destination);
  for (const { metadata, reason } of await Promise.all(early))
    assert.equal(
      [reason, metadata['state']],
      ['InvalidStateTransition', 'IDLE'],
      'it waits for the end of INITIALIZING',
    );
  await client.waitForState('IDLE');
  await checkState(doors, 'IDLE');

  // Held in the copy, so that canCommit is false and commit forbidden.
  await holdCommands(destination, { commands: ['insert'] }, HOLD_MS);
  await client.start();
  await checkState(doors, 'RUNNING');
  await client.start();
  await releaseCommands(destination);
  await client.pause();
  await checkState(doors, 'PAUSED');
  await client.start();
  assert.is((await client.progress()).state, 'PAUSED');
  await client.resume();

  await client.waitForCanCommit();
  await holdCommands(destination, { commands: ['collMod'] }, HOLD_MS);
  await client.commit();
  await storedWhen(destination, 'the step that is held', ({ commit }) => commit?.step === 'restore');
  await checkState(doors, 'COMMITTING');
  await client.start();
  await releaseCommands(destination);
  await client.waitForState('COMMITTED');
  await checkState(doors, 'COMMITTED');
  assert.is(await source.db('shop').collection('items').countDocuments(), 3);
}

async function walkThroughTheStates(): Promise<void> {
  await using pair = await startPair({ setParameters: FAIL_POINTS });
  const source = await pair.source.connect();
  const destination = await pair.destination.connect();
  await source
    .db('shop')
    .collection('items')
    .insertMany([{ sku: 1 }, { sku: 2 }, { sku: 3 }]);
  await source.db('shop').collection('items').createIndex({ sku: 1 }, { unique: true });
  await holdCommands(destination, { commands: ['listCollections'] }, HOLD_MS);
  await using ferry = await FerryProcess.between(pair);
  using client = new FerryClient(ferry.grpcTarget);
  const service = new SyncServiceClient(ferry.grpcTarget, ChannelCredentials.createInsecure());
  try {
    await checkEveryState(source, destination, { client, rest: new RestClient(() => ferry.httpUrl), service });
  } finally {
    service.close();
  }
  assert.ok(ferry.running);
}

test('each state refuses the calls that are not permitted in it, by both doors, and the process goes on', async () => {
  await within(TEST_MS, walkThroughTheStates(), 'the walk through the states');
});

test.run();
