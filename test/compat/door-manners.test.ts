import { connect } from 'node:net';
import { ChannelCredentials } from '@grpc/grpc-js';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { HealthClient } from '../../gen/grpc/health/v1/health.js';
import { openDoors, sendHttp } from '../support/api-doors.js';
import { FakeControl } from '../support/fake-control.js';
import { eventually, within } from '../support/within.js';

const WAIT_MS = 30_000;

/** What a server answers to bytes, until it closes the connection. */
function sendRaw(port: number, bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes));
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(text));
  });
}

const CLOSE = 'Connection: close\r\n\r\n';
/** By what is wrong, the bytes and the status. */
const UNREADABLE: Readonly<Record<string, readonly [bytes: string, status: number, error: string]>> = {
  'no HTTP at all': ['hello\r\n\r\n', 400, 'InvalidRequest'],
  'a bad header': [`GET / HTTP/1.1\r\nHost: localhost\r\nbad header: 1\r\n${CLOSE}`, 400, 'InvalidRequest'],
  'two lengths': [
    'GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n',
    400,
    'InvalidRequest',
  ],
  'large headers': [`GET / HTTP/1.1\r\nHost: localhost\r\nA: ${'a'.repeat(20_000)}\r\n\r\n`, 431, 'RequestTooLarge'],
  'no Host': [`GET /healthz HTTP/1.1\r\n${CLOSE}`, 400, 'InvalidRequest'],
  'two Hosts': [`GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n${CLOSE}`, 400, 'InvalidRequest'],
  'a tunnel': ['CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n', 405, 'MethodNotAllowed'],
  'an expectation': [`GET /healthz HTTP/1.1\r\nHost: localhost\r\nExpect: miracles\r\n${CLOSE}`, 417, 'InvalidRequest'],
};

for (const [what, [bytes, status, error]] of Object.entries(UNREADABLE)) {
  test(`a request with ${what} is answered ${status} with our body`, async () => {
    await using doors = await openDoors();
    const text = await within(WAIT_MS, sendRaw(doors.httpPort, bytes), 'the answer');
    assert.match(text, new RegExp(`^HTTP/1.1 ${status} `));
    const body = JSON.parse(text.slice(text.indexOf('\r\n\r\n'))) as Record<string, unknown>;
    assert.is(body['success'], false);
    assert.is(body['error'], error);
    assert.type(body['errorDescription'], 'string');
  });
}

test('a page of another site is refused also where it says no origin', async () => {
  await using doors = await openDoors();
  const statusFor = async (site: string, origin?: string): Promise<number> => {
    const headers = { 'sec-fetch-site': site, ...(origin === undefined ? {} : { origin }) };
    return (await sendHttp(doors.httpPort, { path: '/api/v1/progress', headers })).status;
  };
  assert.is(await statusFor('cross-site'), 403);
  assert.is(await statusFor('same-site'), 403);
  assert.is(await statusFor('same-origin'), 200);
  assert.is(await statusFor('none'), 200);
  assert.is(await statusFor('same-origin', `http://127.0.0.1:${doors.httpPort}`), 200);
});

test('loopback may be written in any form', async () => {
  await using doors = await openDoors();
  for (const host of [
    '[::1]',
    '[::ffff:127.0.0.1]',
    '[::ffff:7f00:1]',
    '[0:0:0:0:0:0:0:1]',
    '[0:0:0:0:0:ffff:127.9.9.9]',
  ])
    for (const port of ['', ':27182'])
      assert.is(
        (await sendHttp(doors.httpPort, { path: '/healthz', headers: { host: host + port } })).status,
        200,
        host,
      );
  for (const host of ['[::2]', '[::ffff:10.0.0.1]', '[::1%1]', '127.0.0.999', '[127.0.0.1', '127.1.evil.example'])
    assert.is((await sendHttp(doors.httpPort, { path: '/healthz', headers: { host } })).status, 403, host);
});

test('a body of null is like an empty one', async () => {
  await using doors = await openDoors(new FakeControl());
  const post = (path: string, body: string) => sendHttp(doors.httpPort, { method: 'POST', path, body });
  assert.is((await post('/api/v1/check', 'null')).status, 200);
  assert.match(String((await post('/api/v1/start', ' null ')).json['errorDescription']), /^source: is required/);
});

test('a page size of 0 is refused, and none given is not', async () => {
  await using doors = await openDoors();
  const refused = await doors.http({ path: '/api/v1/namespaces?pageSize=0' });
  assert.is(refused.status, 400);
  assert.is(refused.json['errorDescription'], 'pageSize: must be from 1 to 1000');
  assert.is((await doors.http({ path: '/api/v1/namespaces' })).status, 200);
});

test('a regular expression that the source refuses is named with what else is wrong', async () => {
  const control = new FakeControl();
  control.badRegexes = [{ field: 'includeNamespaces[0].databaseRegex.pattern', description: 'the server refuses it' }];
  await using doors = await openDoors(control);
  const body = '{"source":"cluster0","includeNamespaces":[{"databaseRegex":{"pattern":"("}}],"buildIndexes":"x"}';
  for (const [path, prefix] of [['start', ''] as const, ['check', ''] as const]) {
    const answer = await doors.http({ method: 'POST', path: `/api/v1/${path}`, body });
    assert.is(answer.status, 400);
    const described = String(answer.json['errorDescription']);
    assert.match(described, `${prefix}includeNamespaces[0].databaseRegex.pattern: the server refuses it`);
    assert.match(described, 'buildIndexes: must be one of');
  }
});

test('many calls at one time are no leak of listeners', async () => {
  const warnings: Error[] = [];
  const note = (warning: Error): void => void warnings.push(warning);
  process.on('warning', note);
  try {
    await using doors = await openDoors();
    const health = new HealthClient(`127.0.0.1:${doors.grpcPort}`, ChannelCredentials.createInsecure());
    try {
      const watches = Array.from({ length: 20 }, () => health.watch({ service: '' }));
      let seen = 0;
      for (const watch of watches) {
        watch.on('data', () => seen++);
        watch.on('error', () => undefined);
      }
      const streams = Array.from({ length: 20 }, () =>
        doors.client.progress({ follow: true, details: 0, interval: undefined }),
      );
      for (const stream of streams) {
        stream.on('data', () => seen++);
        stream.on('error', () => undefined);
      }
      await eventually(WAIT_MS, () => seen >= 40, 'the first messages');
      for (const stream of [...watches, ...streams]) stream.cancel();
    } finally {
      health.close();
    }
  } finally {
    process.off('warning', note);
  }
  assert.equal(
    warnings.map(({ message }) => message),
    [],
  );
});

test.run();
