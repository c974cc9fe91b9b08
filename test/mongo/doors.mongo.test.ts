import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ProgressSnapshot } from '../../gen/mongoferry/v1/progress.js';
import { assertEqualClusters } from '../support/compare-clusters.js';
import { FerryClient } from '../support/ferry-client.js';
import { FerryProcess } from '../support/ferry-process.js';
import { startPair } from '../support/replica-set.js';
import { RestClient } from '../support/rest-client.js';
import { seedEverything } from '../support/seed-data.js';
import { seedRestorable } from '../support/seed-shop.js';
import { SteadyWriter } from '../support/steady-writer.js';
import { METADATA_DB } from '../support/stored-migration.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 90_000;

/** The bodies of mongosync's documentation, commas before brackets included. */
const START_BODY = `{
  "source": "cluster0",
  "destination": "cluster1",
}`;

/** Each value that differs from the one before it. */
function changesOf<T>(values: readonly T[]): T[] {
  return values.filter((value, index) => index === 0 || value !== values[index - 1]);
}

async function migrateByGrpc(): Promise<void> {
  await using pair = await startPair();
  const source = await pair.source.connect();
  const destination = await pair.destination.connect();
  await seedEverything(source, { large: false });
  await using ferry = await FerryProcess.between(pair);
  using client = new FerryClient(ferry.grpcTarget);
  assert.is((await client.waitUntilInitialized()).state, 'IDLE');
  const { ok, findings } = await client.check({ source: 'cluster0', destination: 'cluster1' });
  assert.ok(ok, JSON.stringify(findings));
  assert.equal(
    findings.filter(({ severity }) => severity !== 'warning'),
    [],
  );

  await client.start();
  const seen: ProgressSnapshot[] = [];
  const following = (async () => {
    for await (const snapshot of client.follow({ interval: { seconds: 0, nanos: 100_000_000 } })) seen.push(snapshot);
  })();
  // Read at the end; until then a failure of the test may end the server first.
  following.catch(() => undefined);
  await using writer = SteadyWriter.start(source);
  await client.waitForCanCommit();
  await client.pause();
  const paused = await client.progress();
  const writesAtPause = writer.writes;
  await eventually(10_000, () => writer.writes > writesAtPause + 50, 'writes during the pause');
  assert.is((await client.progress()).totalEventsApplied, paused.totalEventsApplied, 'events are applied while paused');
  await client.resume();
  await client.waitFor('more events', (now) => (now.totalEventsApplied ?? 0) > (paused.totalEventsApplied ?? 0) + 50);
  await writer.stop();
  const last = await client.commitAndWait();
  assert.ok(last.canWrite);

  await following;
  assert.equal(changesOf(seen.map(({ state }) => state)), ['RUNNING', 'PAUSED', 'RUNNING', 'COMMITTING', 'COMMITTED']);
  await assertEqualClusters(source, destination);
  await destination.db('new').collection('owner').insertOne({ writes: true });
  assert.is(await ferry.stop(), 0);
}

async function migrateByRest(): Promise<void> {
  await using pair = await startPair();
  const source = await pair.source.connect();
  const destination = await pair.destination.connect();
  // What a migration must carry does not depend on the door.
  await seedRestorable(source, 500);
  await using ferry = await FerryProcess.between(pair);
  const rest = new RestClient(() => ferry.httpUrl);
  await rest.waitFor('IDLE', ({ state }) => state === 'IDLE');
  const check = await rest.post('check', START_BODY);
  assert.equal([check.status, check.body['success'], check.body['ok']], [200, true, true]);
  assert.equal(await rest.post('start', START_BODY), { status: 200, body: { success: true } });
  await using writer = SteadyWriter.start(source);
  await rest.waitFor('canCommit', ({ canCommit }) => canCommit === true);
  assert.equal(await rest.post('pause'), { status: 200, body: { success: true } });

  await ferry.restart();
  await rest.waitFor('PAUSED after the restart', ({ state }) => state === 'PAUSED');
  assert.equal(await rest.post('start', START_BODY), { status: 200, body: { success: true } });
  assert.is((await rest.progress())['state'], 'PAUSED', 'start with the same options changes nothing');
  const other = await rest.post(
    'start',
    '{"source": "cluster0", "destination": "cluster1", "enableUserWriteBlocking": false,}',
  );
  assert.equal([other.status, other.body['success'], other.body['error']], [409, false, 'OptionsDiffer']);
  assert.match(String(other.body['errorDescription']), /enableUserWriteBlocking is "destinationOnly", not "none"/);

  assert.equal(await rest.post('resume', ''), { status: 200, body: { success: true } });
  assert.equal((await rest.post('start', START_BODY)).status, 200, 'start is welcome in RUNNING');
  await writer.stop();
  await rest.waitFor('canCommit', ({ canCommit }) => canCommit === true);
  assert.equal(await rest.post('commit'), { status: 200, body: { success: true } });
  await rest.waitFor('COMMITTED', ({ state }) => state === 'COMMITTED');
  await assertEqualClusters(source, destination);
  const again = await rest.post('start', START_BODY);
  assert.equal([again.status, again.body['error']], [409, 'InvalidStateTransition']);
  assert.match(String(again.body['errorDescription']), new RegExp(`drop the database ${METADATA_DB}`));
}

test('gRPC: from check to COMMITTED under writes, with the stream followed to its end', async () => {
  await within(TEST_MS, migrateByGrpc(), 'the migration by gRPC');
});

test("REST: from check to COMMITTED under writes, with mongosync's own requests and a restart", async () => {
  await within(TEST_MS, migrateByRest(), 'the migration by REST');
});

test.run();
