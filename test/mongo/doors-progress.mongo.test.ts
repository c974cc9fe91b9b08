import type { MongoClient } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { FAIL_POINTS, holdCommands, releaseCommands } from '../support/fail-points.js';
import { FerryProcess } from '../support/ferry-process.js';
import { type ReplicaSetPair, startPair } from '../support/replica-set.js';
import { RestClient, type RestProgress } from '../support/rest-client.js';
import { storedWhen } from '../support/stored-migration.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 120_000;
const HOLD_MS = 1500;
const DOCUMENTS = 30_000;
const START = '{"source": "cluster0", "destination": "cluster1"}';

/** All that stands there in IDLE besides the three fields that are known. */
const IDLE_NULLS = [
  'info',
  'ceaStage',
  'lagTimeSeconds',
  'lag',
  'totalEventsApplied',
  'collectionCopy',
  'indexBuilding',
  'directionMapping',
  'source',
  'destination',
  'estimatedOplogTimeRemaining',
  'verification',
];

interface Setting {
  readonly pair: ReplicaSetPair;
  readonly source: MongoClient;
  readonly destination: MongoClient;
  readonly rest: RestClient;
}

function copyOf(progress: RestProgress): { estimatedTotalBytes: number; estimatedCopiedBytes: number } {
  return progress['collectionCopy'] as { estimatedTotalBytes: number; estimatedCopiedBytes: number };
}

function namespacesOf(progress: RestProgress): Record<string, unknown>[] {
  return (progress['details'] as { namespaces: Record<string, unknown>[] }).namespaces;
}

async function inIdle({ rest }: Setting): Promise<void> {
  const progress = await rest.waitFor('IDLE', ({ state }) => state === 'IDLE');
  assert.equal([progress['canCommit'], progress['canWrite']], [false, false]);
  for (const name of IDLE_NULLS) assert.is(progress[name], null, name);
  assert.not('warnings' in progress);
  assert.equal([progress['mongosyncID'], progress['coordinatorID']], ['left', 'left']);
}

/** The catalog of the source is slow to come: nothing is known yet of what there is to copy. */
async function beforeTheCopy({ rest, source }: Setting): Promise<void> {
  await holdCommands(source, { commands: ['appendOplogNote'], times: 1 }, HOLD_MS);
  await rest.post('start', START);
  const progress = await rest.progress();
  assert.is(progress['info'], 'collection copy');
  assert.equal(progress['collectionCopy'], { estimatedTotalBytes: 1, estimatedCopiedBytes: 0 });
}

async function duringTheCopy({ pair, rest, destination }: Setting): Promise<void> {
  await holdCommands(destination, { commands: ['insert'] }, HOLD_MS);
  const held = await rest.waitFor('the copy', (progress) => copyOf(progress).estimatedTotalBytes > 1);
  assert.equal([held['state'], held['info'], held['ceaStage']], ['RUNNING', 'collection copy', null]);
  assert.equal([held['canCommit'], held['canWrite'], held['indexBuilding']], [false, false, null]);
  assert.equal(held['directionMapping'], {
    Source: `cluster0: ${pair.source.hosts[0]}`,
    Destination: `cluster1: ${pair.destination.hosts[0]}`,
  });
  assert.ok(copyOf(held).estimatedCopiedBytes < copyOf(held).estimatedTotalBytes);
  await releaseCommands(destination);
}

/** No snapshot from here to the end of the copy shows more copied than there is, or less than the one before it. */
async function toTheEndOfTheCopy({ rest }: Setting): Promise<void> {
  let last = 0;
  const copied = await rest.waitFor('the end of the copy', (progress) => {
    const { estimatedTotalBytes, estimatedCopiedBytes } = copyOf(progress);
    assert.ok(estimatedCopiedBytes <= estimatedTotalBytes, `${estimatedCopiedBytes} of ${estimatedTotalBytes}`);
    assert.ok(estimatedCopiedBytes >= last, `${last}, then ${estimatedCopiedBytes}`);
    last = estimatedCopiedBytes;
    return progress['info'] === 'change event application';
  });
  assert.is(copyOf(copied).estimatedCopiedBytes, copyOf(copied).estimatedTotalBytes);
  assert.ok(copyOf(copied).estimatedTotalBytes >= DOCUMENTS * 200, 'bytes are counted uncompressed');
}

async function inTheDrain({ rest }: Setting): Promise<void> {
  const progress = await rest.waitFor('the drain', ({ ceaStage }) => ceaStage === 'collection copy drain');
  assert.equal([progress['state'], progress['canCommit']], ['RUNNING', false]);
  assert.is(typeof progress['lagTimeSeconds'], 'number');
}

async function inTheSteadyState({ rest, source, destination }: Setting): Promise<void> {
  await releaseCommands(source);
  const steady = await rest.waitFor('canCommit', ({ canCommit }) => canCommit === true);
  assert.equal([steady['info'], steady['ceaStage']], ['change event application', 'steady state']);
  assert.equal(steady['indexBuilding'], {
    indexesBuilt: 2,
    totalIndexesToBuild: 2,
    collectionsFinished: 1,
    collectionsTotal: 1,
  });
  assert.is((steady['lag'] as Record<string, unknown>)['ddlLagSeconds'], null, 'no DDL event was applied yet');
  const lag = Number(steady['lagTimeSeconds']);
  assert.ok(lag >= 0 && lag <= 30, `${lag}`);
  assert.match(String(steady['estimatedOplogTimeRemaining']), /^(less than 15 minutes|not checked yet)$/);
  assert.is(steady['warnings'], undefined);
  const sides = steady['verification'] as Record<string, Record<string, unknown>>;
  for (const side of ['source', 'destination']) {
    const { lagTimeSeconds, ...counts } = sides[side] ?? {};
    assert.equal(counts, {
      phase: 'stream hashing',
      estimatedDocumentCount: DOCUMENTS + 1,
      hashedDocumentCount: DOCUMENTS + 1,
      totalCollectionCount: 2,
      scannedCollectionCount: 2,
    });
    assert.ok(Number(lagTimeSeconds) <= 30, String(lagTimeSeconds));
  }
  assert.equal(
    namespacesOf(steady).map(({ namespace, documentsCopied }) => [namespace, documentsCopied]),
    [
      ['shop.items', DOCUMENTS],
      ['shop.small', 1],
    ],
  );
  const before = Number(steady['totalEventsApplied']);
  await source.db('shop').createCollection('later');
  await source
    .db('shop')
    .collection('later')
    .insertMany([{ a: 1 }, { a: 2 }]);
  const after = await rest.waitFor(
    'the new events',
    ({ totalEventsApplied }) => Number(totalEventsApplied) >= before + 3,
  );
  assert.is(typeof (after['lag'] as Record<string, unknown>)['ddlLagSeconds'], 'number');
  assert.is(await destination.db('shop').collection('later').countDocuments(), 2);
}

async function whilePaused({ rest, source }: Setting): Promise<void> {
  await rest.post('pause');
  await source.db('shop').collection('later').insertOne({ a: 3 });
  const progress = await rest.progress();
  assert.equal([progress['state'], progress['canCommit']], ['PAUSED', false]);
  assert.equal([progress['lagTimeSeconds'], progress['lag']], [null, null]);
  assert.is(copyOf(progress).estimatedCopiedBytes, copyOf(progress).estimatedTotalBytes);
  assert.is(progress['estimatedOplogTimeRemaining'], null);
  assert.not('estimatedSecondsToCEACatchup' in progress);
  await rest.post('resume');
}

async function throughTheCommit({ rest, destination }: Setting): Promise<void> {
  await rest.waitFor('canCommit', ({ canCommit }) => canCommit === true);
  await holdCommands(destination, { commands: ['collMod'] }, HOLD_MS);
  await rest.post('commit');
  await storedWhen(destination, 'the step that is held', ({ commit }) => commit?.step === 'restore');
  const committing = await rest.progress();
  assert.equal(
    [committing['state'], committing['info'], committing['canCommit'], committing['canWrite']],
    ['COMMITTING', 'waiting for commit to complete', false, false],
  );
  await releaseCommands(destination);
  const committed = await rest.waitFor('COMMITTED', ({ state }) => state === 'COMMITTED');
  assert.equal(
    [committed['info'], committed['canCommit'], committed['canWrite'], committed['ceaStage']],
    ['commit completed', false, true, null],
  );
  assert.is(committed['estimatedOplogTimeRemaining'], null);
  assert.is(copyOf(committed).estimatedCopiedBytes, copyOf(committed).estimatedTotalBytes);
}

async function seed(source: MongoClient): Promise<void> {
  const items = source.db('shop').collection('items');
  const documents = Array.from({ length: DOCUMENTS }, (_, n) => ({ n, pad: 'x'.repeat(200) }));
  await items.insertMany(documents);
  await items.createIndex({ n: 1 }, { unique: true });
  await items.createIndex({ pad: 1, n: 1 });
  await source.db('shop').collection('small').insertOne({ a: 1 });
}

async function walkThroughThePhases(): Promise<void> {
  await using pair = await startPair({ auth: true, setParameters: FAIL_POINTS });
  const [source, destination] = await Promise.all([pair.source.connect(), pair.destination.connect()]);
  await seed(source);
  await using ferry = await FerryProcess.between(pair, { flags: ['--id', 'left', '--loadLevel', '1'] });
  const rest = new RestClient(() => ferry.httpUrl);
  const setting = { pair, source, destination, rest };
  await inIdle(setting);
  await beforeTheCopy(setting);
  await duringTheCopy(setting);
  // Once the copy is done the stream's replies come late, or the drain would be over before anybody looks.
  await holdCommands(source, { commands: ['aggregate', 'getMore'] }, HOLD_MS);
  await toTheEndOfTheCopy(setting);
  await inTheDrain(setting);
  await inTheSteadyState(setting);
  await whilePaused(setting);
  await throughTheCommit(setting);
  const told = JSON.stringify([await rest.progress(), ferry.log]);
  for (const password of [pair.source.password, pair.destination.password]) {
    assert.ok(password !== undefined && password.length > 10);
    assert.not.ok(told.includes(password), 'a password is shown');
  }
  await eventually(5000, () => ferry.linesWith('The migration is committed').length === 1, 'the line of the commit');
}

test('progress tells the truth in every phase, in the fields, nulls and absences of mongosync', async () => {
  await within(TEST_MS, walkThroughThePhases(), 'the walk through the phases');
});

test.run();
