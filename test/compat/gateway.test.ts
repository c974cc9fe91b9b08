import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { StartRequest } from '../../gen/mongoferry/v1/start_options.js';
import type { Snapshot, VerificationSnapshot } from '../../src/progress/control.js';
import { openDoors } from '../support/api-doors.js';
import { FakeControl, fakeNamespace, IDLE_SNAPSHOT, RUNNING_SNAPSHOT } from '../support/fake-control.js';
import { eventually } from '../support/within.js';

const WAIT_MS = 20_000;

const GOLDEN = join(process.cwd(), 'test', 'compat', 'golden');
const GOOD = '{"source": "cluster0", "destination": "cluster1"}';

function verifierSide(hashedDocuments: number, lagSeconds: number | undefined): VerificationSnapshot['source'] {
  const phase = 'initial hashing';
  return { phase, estimatedDocuments: 20, hashedDocuments, collections: 2, scannedCollections: 1, lagSeconds };
}

const CEA_SNAPSHOT: Snapshot = {
  ...RUNNING_SNAPSHOT,
  canCommit: true,
  commitObstacle: undefined,
  info: 'change event application',
  ceaStage: 'steady state',
  lag: { overallSeconds: 0, crudSeconds: 0, ddlSeconds: undefined },
  totalEventsApplied: 4_503_599_627_370_497,
  copy: { totalBytes: 9_000_000_000_000, copiedBytes: 9_000_000_000_000 },
  indexBuilding: { built: 3, total: 5, collectionsFinished: 1, collectionsTotal: 2 },
  sourcePingMs: undefined,
  oplogTimeRemaining: '12 hours',
  secondsToCatchup: 1.9,
  copyRemainingSeconds: 0,
  verification: {
    source: verifierSide(12, undefined),
    destination: verifierSide(11, 3),
    mismatches: new Map([['b.y', 2]]),
    mismatchCount: 2,
  },
  warnings: ['nothing is verified'],
  rates: { documentsPerSecond: 1.5, bytesPerSecond: 1e6, eventsPerSecond: 0 },
  retries: 2,
};

const GOLDENS: Readonly<Record<string, Snapshot>> = {
  'progress-idle': IDLE_SNAPSHOT,
  'progress-initializing': { ...IDLE_SNAPSHOT, state: 'INITIALIZING' },
  'progress-running-copy': RUNNING_SNAPSHOT,
  'progress-running-events': CEA_SNAPSHOT,
  'progress-paused': { ...CEA_SNAPSHOT, state: 'PAUSED', canCommit: false },
  'progress-committed': {
    ...CEA_SNAPSHOT,
    state: 'COMMITTED',
    canCommit: false,
    canWrite: true,
    info: 'commit completed',
    ceaStage: undefined,
    warnings: [],
  },
  'progress-failed': {
    ...CEA_SNAPSHOT,
    canCommit: false,
    failure: { error: 'OplogRolledOver', description: 'start again', at: new Date('2026-01-02T03:04:06Z') },
  },
};

for (const [name, snapshot] of Object.entries(GOLDENS)) {
  test(`golden: ${name}`, async () => {
    const control = new FakeControl(snapshot);
    control.namespaceList = [fakeNamespace('a.x', 50), { ...fakeNamespace('b.y', 7), mismatchCount: 2 }];
    await using doors = await openDoors(control);
    const answer = await doors.http({ path: '/api/v1/progress' });
    assert.is(answer.status, 200);
    assert.is(answer.headers['content-type'], 'application/json; charset=utf-8');
    const file = join(GOLDEN, `${name}.json`);
    const inOrder = (json: unknown): string => JSON.stringify(json, undefined, 2);
    if (process.env['UPDATE_GOLDEN'] !== undefined) writeFileSync(file, `${inOrder(answer.json)}\n`);
    assert.is(inOrder(answer.json), inOrder(JSON.parse(readFileSync(file, 'utf8'))));
  });
}

test('what curl sends by default is read as JSON, with trailing commas as in the documentation', async () => {
  await using doors = await openDoors();
  const answer = await doors.http({
    method: 'POST',
    path: '/api/v1/start',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: '{ "source": "cluster0",\n "destination": "cluster1", "verification": {"enabled": false,}, }',
  });
  assert.equal(answer.json, { success: true });
  assert.is(doors.control.calls[0]?.options?.verification?.enabled, false);
});

test('an empty body is an empty object', async () => {
  await using doors = await openDoors(new FakeControl(RUNNING_SNAPSHOT));
  for (const body of ['', '  ', '{}']) {
    doors.control.set({ state: 'RUNNING' });
    const answer = await doors.http({ method: 'POST', path: '/api/v1/pause', body });
    assert.equal(answer.json, { success: true }, JSON.stringify(body));
  }
});

test('a body problem of each layer is reported in one answer', async () => {
  await using doors = await openDoors();
  const body =
    '{"source": "cluster9", "soruce": 1, "destination": 5, "reversible": true, "reversible": true, "sharding": {}, "includeNamespaces": [{}]}';
  const answer = await doors.http({ method: 'POST', path: '/api/v1/start', body });
  assert.is(answer.status, 400);
  for (const part of [
    'source: must be',
    'soruce: is not a known field',
    'destination: must be a string',
    'reversible: is given more than once',
    'sharding.shardingEntries: is required',
    'includeNamespaces[0]: needs',
  ]) {
    assert.ok(String(answer.json['errorDescription']).includes(part), `${part} in ${answer.text}`);
  }
  assert.not.match(String(answer.json['errorDescription']), /destination: is required/);
  assert.equal(doors.control.calls, []);
});

for (const body of [
  '{',
  '[]',
  'source=cluster0&destination=cluster1',
  '{"source": \'cluster0\'}',
  Buffer.from([0x7b, 0xff, 0x7d]),
]) {
  test(`a body that is no JSON object is refused: ${body.toString()}`, async () => {
    await using doors = await openDoors();
    const answer = await doors.http({ method: 'POST', path: '/api/v1/start', body });
    assert.is(answer.status, 400);
    assert.is(answer.json['error'], 'InvalidRequest');
  });
}

test('query parameters are read by their types, and unknown ones are refused', async () => {
  const control = new FakeControl(RUNNING_SNAPSHOT);
  control.namespaceList = Array.from({ length: 60 }, (_, i) => fakeNamespace(`a.${String(i).padStart(3, '0')}`, i));
  await using doors = await openDoors(control);
  const namespacesOf = async (query: string): Promise<{ namespace: string }[]> => {
    const answer = await doors.http({ path: `/api/v1/progress${query}` });
    return (answer.json['progress'] as { details: { namespaces: { namespace: string }[] } }).details.namespaces;
  };
  assert.is((await namespacesOf('')).length, 50);
  assert.is((await namespacesOf(''))[0]?.namespace, 'a.059');
  assert.is((await namespacesOf('?details=ALL')).length, 60);
  assert.is((await namespacesOf('?details=NAMESPACE_DETAILS_ALL')).length, 60);
  assert.is((await namespacesOf('?details=NONE')).length, 0);
  for (const query of ['?details=all', '?detail=ALL', '?details=ALL&details=NONE', '?details=3', '?__proto__=1']) {
    assert.is((await doors.http({ path: `/api/v1/progress${query}` })).status, 400, query);
  }
  assert.is((await doors.http({ method: 'POST', path: '/api/v1/pause?force=true' })).status, 400);
});

test('namespaces come in pages, in the order of their names, also when one goes away between two pages', async () => {
  const control = new FakeControl(RUNNING_SNAPSHOT);
  control.namespaceList = ['a', 'b', 'c', 'd', 'e'].map((name) => fakeNamespace(`x.${name}`, 1));
  await using doors = await openDoors(control);
  const page = async (token: string): Promise<{ names: string[]; token: string }> => {
    const { json } = await doors.http({ path: `/api/v1/namespaces?pageSize=2&pageToken=${token}` });
    return {
      names: (json['namespaces'] as { namespace: string }[]).map((one) => one.namespace),
      token: String(json['nextPageToken']),
    };
  };
  const first = await page('');
  assert.equal(first.names, ['x.a', 'x.b']);
  control.namespaceList = control.namespaceList.filter(({ namespace }) => namespace !== 'x.b');
  const second = await page(first.token);
  assert.equal(second.names, ['x.c', 'x.d']);
  const third = await page(second.token);
  assert.equal(third, { names: ['x.e'], token: '' });
});

test('a check answers 200 with its findings, blockers first', async () => {
  const control = new FakeControl();
  const finding = { description: 'd', remedy: 'r', namespaces: [] };
  control.findings = [
    { name: 'OplogWindowShort', severity: 'warning', ...finding },
    { name: 'DestinationNotEmpty', severity: 'blocker', ...finding, namespaces: ['a.b'] },
  ];
  await using doors = await openDoors(control);
  const answer = await doors.http({ method: 'POST', path: '/api/v1/check', body: '{}' });
  assert.is(answer.status, 200);
  assert.equal(answer.json, {
    success: true,
    ok: false,
    findings: [
      { name: 'DestinationNotEmpty', severity: 'blocker', description: 'd', remedy: 'r', namespaces: ['a.b'] },
      { name: 'OplogWindowShort', severity: 'warning', description: 'd', remedy: 'r', namespaces: [] },
    ],
  });
  assert.is(control.calls[0]?.options?.source, 'cluster0');
  assert.is(control.calls[0]?.options?.destination, 'cluster1');
  const bad = await doors.http({ method: 'POST', path: '/api/v1/check', body: '{"foo": 1, "a": 2, "a": 3}' });
  assert.is(bad.json['errorDescription'], 'a: is given more than once; foo: is not a known field');
});

test('unknown paths, wrong methods and HEAD', async () => {
  await using doors = await openDoors();
  for (const path of ['/', '/api/v1/start/', '/api/v1', '//', '/api/v2/start', '/healthz/x']) {
    const answer = await doors.http({ path });
    assert.is(answer.status, 404, path);
    assert.is(answer.json['error'], 'NotFound');
  }
  const get = await doors.http({ path: '/api/v1/start' });
  assert.is(get.status, 405);
  assert.is(get.headers['allow'], 'POST');
  assert.is(get.json['error'], 'MethodNotAllowed');
  const post = await doors.http({ method: 'DELETE', path: '/api/v1/progress' });
  assert.is(post.headers['allow'], 'GET, HEAD');
  const head = await doors.http({ method: 'HEAD', path: '/api/v1/progress' });
  assert.is(head.status, 200);
  assert.is(head.text, '');
  const stream = await doors.http({ method: 'HEAD', path: '/api/v1/progress/stream' });
  assert.is(stream.status, 200);
  assert.is(doors.control.listeners, 0);
});

test('a body over 16 MiB is refused, announced or not, and one of 16 MiB is read', async () => {
  await using doors = await openDoors();
  const large = Buffer.alloc(16 * 1024 * 1024 + 1, ' ');
  const announced = await doors.http({ method: 'POST', path: '/api/v1/start', body: large });
  assert.is(announced.status, 413);
  assert.is(announced.json['error'], 'RequestTooLarge');
  const chunked = await doors.http({
    method: 'POST',
    path: '/api/v1/start',
    body: large,
    headers: { 'transfer-encoding': 'chunked' },
  });
  assert.is(chunked.status, 413);
  const fits = await doors.http({
    method: 'POST',
    path: '/api/v1/start',
    body: Buffer.concat([Buffer.from(GOOD), large.subarray(GOOD.length + 1)]),
  });
  assert.is(fits.status, 200, fits.text);
});

test('pages of foreign origins and foreign hosts are refused', async () => {
  await using doors = await openDoors(new FakeControl(), { allowedHosts: ['ferry.example', 'other.example:8080'] });
  const at = async (headers: Record<string, string>): Promise<number> =>
    (await doors.http({ path: '/api/v1/progress', headers })).status;
  const own = `localhost:${doors.httpPort}`;
  assert.is(await at({ host: own }), 200);
  assert.is(await at({ host: `127.0.0.1:${doors.httpPort}` }), 200);
  assert.is(await at({ host: '[::1]' }), 200);
  assert.is(await at({ host: 'ferry.example:1234' }), 200);
  assert.is(await at({ host: 'Other.Example:8080' }), 200);
  assert.is(await at({ host: 'other.example' }), 403);
  assert.is(await at({ host: 'attacker.example' }), 403);
  assert.is(await at({ host: 'localhost.attacker.example' }), 403);
  assert.is(await at({ host: '127.0.0.1.attacker.example' }), 403);
  assert.is(await at({ host: '10.0.0.5' }), 403);
  assert.is(await at({ host: own, origin: `http://${own}` }), 200);
  assert.is(await at({ host: own, origin: 'https://ferry.example' }), 200);
  assert.is(await at({ host: own, origin: 'http://attacker.example' }), 403);
  assert.is(await at({ host: own, origin: `http://${own}.attacker.example` }), 403);
  assert.is(await at({ host: own, origin: 'http://localhost:3000' }), 403);
  assert.is(await at({ host: own, origin: 'null' }), 403);
  const refused = await doors.http({
    method: 'POST',
    path: '/api/v1/start',
    body: GOOD,
    headers: { origin: 'http://attacker.example' },
  });
  assert.is(refused.json['error'], 'ForbiddenOrigin');
  assert.equal(doors.control.calls, []);
});

test('health, readiness and metrics', async () => {
  await using doors = await openDoors();
  assert.equal((await doors.http({ path: '/healthz' })).json, { success: true });
  assert.is((await doors.http({ path: '/readyz' })).status, 200);
  assert.is((await doors.http({ path: '/metrics' })).text, 'up 1\n');
  doors.control.ready = false;
  assert.is((await doors.http({ path: '/readyz' })).status, 503);
  assert.is((await doors.http({ path: '/healthz' })).status, 200);
});

test('a caller that goes away does not stop a start', async () => {
  const control = new FakeControl();
  let open = (): void => undefined;
  control.gate = new Promise((resolve) => {
    open = resolve;
  });
  await using doors = await openDoors(control);
  const call = doors.client.start(
    StartRequest.fromPartial({ source: 'cluster0', destination: 'cluster1' }),
    () => undefined,
  );
  await eventually(WAIT_MS, () => control.calls.length === 1, 'the call has arrived');
  call.cancel();
  open();
  await eventually(WAIT_MS, () => control.snapshot().state === 'RUNNING', 'the migration runs');
});

test.run();
