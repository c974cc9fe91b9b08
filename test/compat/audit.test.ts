import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { StartRequest } from '../../gen/mongoferry/v1/start_options.js';
import { type Doors, type LoggedLine, openDoors, unary } from '../support/api-doors.js';
import { FakeControl, RUNNING_SNAPSHOT } from '../support/fake-control.js';
import { within } from '../support/within.js';

const TEST_MS = 30_000;
const BODY = '{"source": "cluster0", "destination": "cluster1", "reversible": true}';

const linesOf = ({ log }: Doors, message: string): LoggedLine[] => log.filter((line) => line.message === message);

const post = (doors: Doors, path: string, body = '{}') => doors.http({ method: 'POST', path: `/api/v1/${path}`, body });

test('every call and its answer are logged as mongosync does it, from which door it ever comes', async () => {
  const work = async () => {
    await using doors = await openDoors();
    await post(doors, 'start', BODY);
    const { client } = doors;
    await unary(client, client.pause, {});
    await post(doors, 'commit');
    const received = linesOf(doors, 'Received request').map(({ fields }) => fields);
    assert.equal(
      received.map((fields) => [fields?.['uri'], fields?.['method'], fields?.['door']]),
      [
        ['/api/v1/start', 'POST', 'http'],
        ['/api/v1/pause', 'POST', 'grpc'],
        ['/api/v1/commit', 'POST', 'http'],
      ],
    );
    assert.equal(JSON.parse(String(received[0]?.['body'])), JSON.parse(BODY));
    const sent = linesOf(doors, 'sent response').map(({ fields }) => fields);
    assert.equal(
      sent.map((fields) => [fields?.['uri'], fields?.['status'], JSON.parse(String(fields?.['body'])).success]),
      [
        ['/api/v1/start', 200, true],
        ['/api/v1/pause', 200, true],
        ['/api/v1/commit', 409, false],
      ],
    );
    assert.match(String(sent[2]?.['body']), 'InvalidStateTransition');
  };
  await within(TEST_MS, work(), 'the calls');
});

test('no content of a document is logged, and bodies are bounded, but always JSON', async () => {
  const work = async () => {
    await using doors = await openDoors();
    const documentFilter = { field: 'tenant', matchValues: ['hunter2', { $oid: '65a1b2c3d4e5f60718293a4b' }] };
    const start = { source: 'cluster0', destination: 'cluster1', documentFilter };
    await post(doors, 'start', JSON.stringify(start));
    const { client } = doors;
    await unary(client, client.start, StartRequest.fromPartial(start)).catch(() => undefined);
    const includeNamespaces = Array.from({ length: 200 }, (_, i) => ({ database: `database${i}` }));
    for (const count of [1, 4]) {
      const many = Array.from({ length: count }, () => includeNamespaces).flat();
      await post(doors, 'check', JSON.stringify({ includeNamespaces: many }));
    }
    assert.not.match(JSON.stringify(doors.log), /hunter2|65a1b2c3d4e5f60718293a4b/);
    const bodies = linesOf(doors, 'Received request').map(({ fields }) => String(fields?.['body']));
    assert.is(bodies.length, 4);
    assert.is(JSON.parse(bodies[0] ?? '').documentFilter.matchValues, '2 values');
    assert.match(JSON.parse(bodies[2] ?? '').tooLong, /^\d+ characters$/);
    assert.match(
      JSON.parse(bodies[3] ?? '').tooLarge ?? JSON.parse(bodies[3] ?? '').tooLong,
      /^\d+ (bytes|characters)$/,
    );
    for (const body of bodies) assert.ok(body.length <= 4000, `${body.length}`);
  };
  await within(TEST_MS, work(), 'the calls');
});

test('progress is logged now and then, without what is ours alone, once there are numbers in it', async () => {
  const work = async () => {
    await using doors = await openDoors(new FakeControl());
    await doors.http({ path: '/api/v1/progress' });
    assert.equal(linesOf(doors, 'sent response'), []);
    doors.control.set(RUNNING_SNAPSHOT);
    for (let i = 0; i < 5; i++) await doors.http({ path: '/api/v1/progress' });
    const sent = linesOf(doors, 'sent response');
    assert.is(sent.length, 1);
    assert.is(sent[0]?.fields?.['uri'], '/api/v1/progress');
    const body = JSON.parse(String(sent[0]?.fields?.['body']));
    assert.is(body.success, true);
    assert.equal(body.progress.collectionCopy, {
      estimatedTotalBytes: 9_000_000_000_000,
      estimatedCopiedBytes: 4_500_000_000_000,
    });
    assert.not.ok('details' in body.progress);
  };
  await within(TEST_MS, work(), 'the calls');
});

test.run();
