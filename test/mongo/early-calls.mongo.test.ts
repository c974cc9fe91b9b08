import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { FAIL_POINTS, holdCommands, releaseCommands } from '../support/fail-points.js';
import { CliCommand } from '../support/ferry-cli.js';
import { FerryProcess } from '../support/ferry-process.js';
import { RestClient } from '../support/rest-client.js';
import { sharedPair } from '../support/shared-servers.js';
import { within } from '../support/within.js';

const TEST_MS = 120_000;
const HOLD_MS = 3000;
const START = '{"source": "cluster0", "destination": "cluster1"}';

const { pair, source, destination } = await sharedPair(test, { setParameters: FAIL_POINTS });

test('a start that comes while the clusters are being connected waits for them, as do other calls', async () => {
  const work = async () => {
    await source.db('shop').collection('items').insertOne({ sku: 1 });
    await holdCommands(destination, { commands: ['listCollections'] }, HOLD_MS);
    await using ferry = await FerryProcess.between(pair);
    const rest = new RestClient(() => ferry.httpUrl);
    assert.is((await rest.progress())['state'], 'INITIALIZING');
    const pausing = rest.post('pause');
    const checking = rest.post('check', START);
    const bad = await rest.post('start', '{"source": "cluster0", "destination": "cluster0"}');
    assert.equal(
      [bad.status, (await rest.progress())['state']],
      [400, 'INITIALIZING'],
      'no request is too early to be wrong',
    );
    const starting = rest.post('start', START);
    await releaseCommands(destination);
    const [pause, check, start] = await Promise.all([pausing, checking, starting]);
    assert.equal([pause.status, check.status, start], [409, 200, { status: 200, body: { success: true } }]);
    assert.match(String(pause.body['errorDescription']), /pause is not permitted in state IDLE/);
    await rest.waitFor('canCommit', ({ canCommit }) => canCommit === true);
  };
  await within(TEST_MS, work(), 'the start');
});

test('what INITIALIZING waits for stands in progress and in the command, and in the refusal after 30 seconds', async () => {
  const work = async () => {
    const nowhere = 'mongodb://127.0.0.1:1/?replicaSet=rs';
    await using ferry = await FerryProcess.start({ cluster0: pair.source.uri, cluster1: nowhere });
    const rest = new RestClient(() => ferry.httpUrl);
    const refused = rest.post('start', START);
    const checked = rest.post('check', START);
    const first = await rest.progress();
    assert.match(String(first['warnings']), /cluster1/, 'from the first moment');
    const told = await rest.waitFor('the reason', ({ warnings }) =>
      /cluster1 cannot be reached yet/.test(String(warnings)),
    );
    assert.is(told['state'], 'INITIALIZING');
    const { stdout } = await new CliCommand(['progress', '--target', ferry.grpcTarget]).ended;
    assert.match(stdout, /^INITIALIZING.*cluster1 cannot be reached yet/s);
    const [line] = ferry.linesWith('cluster1 cannot be reached yet');
    assert.is(line?.fields['kind'], 'transient error');
    assert.match(String(line?.fields['operationDescription']), /cluster1/);
    const { status, body } = await refused;
    assert.equal([status, body['error']], [409, 'InvalidStateTransition']);
    assert.match(String(body['errorDescription']), /still INITIALIZING after 30 s: cluster1 cannot be reached yet/);
    const check = await checked;
    assert.is(check.status, 503);
    assert.match(JSON.stringify(check.body), /ECONNREFUSED/);
  };
  await within(TEST_MS, work(), 'the refusal');
});

test.run();
