import * as http2 from 'node:http2';
import * as net from 'node:net';
import * as tls from 'node:tls';
import { status } from '@grpc/grpc-js';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ProgressRequest } from '../../gen/mongoferry/v1/sync_service.js';
import { DoorCredentials, type DoorKeys } from '../../src/api/credentials.js';
import { openDoors, readFailure } from '../support/api-doors.js';
import { endOf, SecureClients, sendHttps, tokenMetadata } from '../support/door-callers.js';
import { makeDoorCertificates, pem } from '../support/door-certificates.js';
import { FakeControl } from '../support/fake-control.js';
import { within } from '../support/within.js';

const TEST_MS = 30_000;
const TOKEN = 'correct-horse-battery-staple';

const files = await within(60_000, makeDoorCertificates(), 'the certificates');
test.after(async () => {
  await files[Symbol.asyncDispose]();
});

const { ca } = files;

/** The doors with TLS and these keys, which a test may exchange before a reload. */
async function lockedDoors(given: Partial<DoorKeys>, control = new FakeControl()) {
  let keys: DoorKeys = { certificateKey: pem(files.server), ...given };
  const credentials = new DoorCredentials(() => keys);
  const doors = await openDoors(control, { credentials });
  const change = (next: Partial<DoorKeys>): void => {
    keys = { ...keys, ...next };
    credentials.reload();
  };
  return { doors, control, change, [Symbol.asyncDispose]: () => doors[Symbol.asyncDispose]() };
}

/** A stream that tells of changes alone. */
const FOLLOW = ProgressRequest.create({ follow: true, interval: { seconds: 3600, nanos: 0 } });

function timed(name: string, work: () => Promise<void>): void {
  test(name, async () => {
    await within(TEST_MS, work(), name);
  });
}

const wrongHeaders: [string, string | undefined][] = [
  ['none', undefined],
  ['another token', `Bearer ${TOKEN.replace('c', 'k')}`],
  ['the beginning of the token', `Bearer ${TOKEN.slice(0, -1)}`],
  ['more than the token', `Bearer ${TOKEN}x`],
  ['the token without a scheme', TOKEN],
  ['the token as a password', `Basic ${Buffer.from(`:${TOKEN}`).toString('base64')}`],
  ['an empty token', 'Bearer '],
];
for (const [what, authorization] of wrongHeaders) {
  timed(
    `authorization: ${what}: refused at both doors, with one text and without a word of it in the log`,
    async () => {
      await using locked = await lockedDoors({ authToken: TOKEN });
      const { doors, control } = locked;
      using clients = new SecureClients(doors.grpcPort, { ca });
      const failure = await clients.getProgress({ authorization });
      assert.ok(failure !== undefined);
      const { code, reason, message } = readFailure(failure);
      assert.equal([code, reason], [status.UNAUTHENTICATED, 'Unauthenticated']);
      assert.is(message, 'this server needs the header "authorization: Bearer <token>" with the right token');
      const answer = await sendHttps(doors.httpPort, '/api/v1/start', { ca, authorization, method: 'POST' });
      assert.is(answer.status, 401);
      assert.is(answer.headers['www-authenticate'], 'Bearer');
      assert.equal(JSON.parse(answer.text), { success: false, error: 'Unauthenticated', errorDescription: message });
      assert.equal(control.calls, []);
      assert.not.match(JSON.stringify(doors.log), /horse|aG9yc2U/);
    },
  );
}

timed('with the token both doors answer, whatever the case of its scheme', async () => {
  await using locked = await lockedDoors({ authToken: TOKEN });
  const { doors } = locked;
  using clients = new SecureClients(doors.grpcPort, { ca });
  assert.is(await clients.getProgress({ token: TOKEN }), undefined);
  for (const scheme of ['Bearer', 'bearer', 'BEARER']) {
    const authorization = `${scheme} ${TOKEN}`;
    assert.is((await sendHttps(doors.httpPort, '/api/v1/progress', { ca, authorization })).status, 200);
  }
});

timed(
  'open without the token: /healthz, whether /readyz, and Check; nothing else, not even what is not there',
  async () => {
    const control = new FakeControl();
    control.ready = false;
    control.unreadiness = 'cluster0 at secret-host.example does not answer';
    await using locked = await lockedDoors({ authToken: TOKEN }, control);
    const { doors } = locked;
    const get = (path: string, token?: string) => sendHttps(doors.httpPort, path, { ca, token });
    assert.is((await get('/healthz')).status, 200);
    assert.is((await get('/readyz')).status, 503);
    assert.not.match((await get('/readyz')).text, /secret-host/);
    assert.match((await get('/readyz', TOKEN)).text, /secret-host/);
    for (const path of [
      '/metrics',
      '/openapi.json',
      '/api/v1/progress/stream',
      '/',
      '/healthz/',
      '/nothing',
      '//healthz',
    ])
      assert.is((await get(path)).status, 401, path);

    using clients = new SecureClients(doors.grpcPort, { ca });
    const check = await new Promise((resolve, reject) => {
      clients.health.check({ service: '' }, (error, answer) => (error === null ? resolve(answer) : reject(error)));
    });
    assert.ok(check !== undefined);
    const refused = [
      endOf(clients.health.watch({ service: '' })),
      endOf(clients.sync.progress(ProgressRequest.create())),
      endOf(clients.reflection.serverReflectionInfo()),
      new Promise((resolve) => clients.health.list({}, (error) => resolve(error ?? undefined))),
    ];
    for (const failure of await Promise.all(refused)) {
      assert.is((failure as { code?: number } | undefined)?.code, status.UNAUTHENTICATED);
    }
  },
);

timed('reflection answers with the token', async () => {
  await using locked = await lockedDoors({ authToken: TOKEN });
  using clients = new SecureClients(locked.doors.grpcPort, { ca });
  const stream = clients.reflection.serverReflectionInfo(tokenMetadata({ token: TOKEN }));
  stream.write({ host: '', messageRequest: { $case: 'listServices', value: '' } });
  const answer = new Promise((resolve, reject) => stream.once('data', resolve).once('error', reject));
  assert.match(JSON.stringify(await answer), /mongoferry\.v1\.SyncService/);
  stream.end();
});

const certificates: [string, string | undefined, boolean][] = [
  ['none', undefined, false],
  ["another authority's", files.strangerClient, false],
  ['one that has expired', files.expiredClient, false],
  ['one for servers only', files.serverOnly, false],
  ["one of the authority's", files.client, true],
];
for (const [what, certificate, isGood] of certificates) {
  timed(`client certificate: ${what}: ${isGood ? 'let in' : 'refused'} at both doors`, async () => {
    await using locked = await lockedDoors({ clientCa: pem(ca) });
    const { doors } = locked;
    const answer = await sendHttps(doors.httpPort, '/api/v1/progress', { ca, certificate });
    assert.is(answer.status, isGood ? 200 : 401);
    assert.is((await sendHttps(doors.httpPort, '/healthz', { ca, certificate })).status, 200);
    using clients = new SecureClients(doors.grpcPort, { ca, certificate });
    const failure = await clients.getProgress({});
    assert.is(failure?.code, isGood ? undefined : status.UNAUTHENTICATED);
    if (!isGood) assert.is(failure?.details, 'this server needs a client certificate that it trusts');
  });
}

timed('with authorities and a token, neither is enough alone', async () => {
  await using locked = await lockedDoors({ clientCa: pem(ca), authToken: TOKEN });
  const { doors } = locked;
  const { client: certificate } = files;
  const tries = [{}, { token: TOKEN }, { certificate }, { certificate, token: TOKEN }];
  const statuses = tries.map(async (keys) => (await sendHttps(doors.httpPort, '/metrics', { ca, ...keys })).status);
  assert.equal(await Promise.all(statuses), [401, 401, 401, 200]);
  const codes = tries.map(async (keys) => {
    using clients = new SecureClients(doors.grpcPort, { ca, ...keys });
    return (await clients.getProgress(keys))?.code;
  });
  assert.equal(await Promise.all(codes), [16, 16, 16, undefined]);
});

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  timed(`${version}: sessions are not resumed, so that none is let in without its certificate`, async () => {
    await using locked = await lockedDoors({ clientCa: pem(ca) });
    for (const port of [locked.doors.httpPort, locked.doors.grpcPort]) {
      const options = { host: '127.0.0.1', port, ca: pem(ca), minVersion: version, maxVersion: version };
      const alpn = port === locked.doors.grpcPort ? { ALPNProtocols: ['h2'] } : {};
      const first = await connected({ ...options, ...alpn });
      const session = first.getSession();
      first.destroy();
      const second = await connected({ ...options, ...alpn, ...(session === undefined ? {} : { session }) });
      assert.is(second.isSessionReused(), false);
      second.destroy();
    }
  });
}

/** Resolves after the handshake and what the server sends after it, such as tickets. */
async function connected(options: tls.ConnectionOptions): Promise<tls.TLSSocket> {
  const socket = tls.connect(options);
  await new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject));
  if (options.ALPNProtocols === undefined) {
    socket.write('GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n');
    await new Promise((resolve, reject) => socket.once('data', resolve).once('error', reject));
  } else {
    // A server's SETTINGS.
    await new Promise((resolve, reject) => socket.once('data', resolve).once('error', reject));
  }
  return socket;
}

const serverFaults: [string, string, string, RegExp][] = [
  ['a server of another authority', files.server, files.strangerCa, /unable to verify|self.signed|signature/],
  ['a server whose certificate has expired', files.expiredServer, ca, /expired/],
  ['a server of another name', files.otherNameServer, ca, /altnames|does not match/],
];
for (const [what, certificate, trusted, expected] of serverFaults) {
  timed(`a client does not talk to ${what}`, async () => {
    await using locked = await lockedDoors({ certificateKey: pem(certificate), authToken: TOKEN });
    const { doors } = locked;
    const keys = { ca: trusted, token: TOKEN };
    const failure = await sendHttps(doors.httpPort, '/api/v1/progress', keys).catch((error: Error) => error);
    assert.match((failure as Error).message, expected);
    using clients = new SecureClients(doors.grpcPort, keys);
    const refused = await clients.getProgress(keys);
    assert.is(refused?.code, status.UNAVAILABLE);
    assert.match(refused?.details ?? '', expected);
  });
}

timed('plain text and old TLS at a port for TLS get no answer, and the doors go on', async () => {
  await using locked = await lockedDoors({});
  const { doors } = locked;
  for (const port of [doors.httpPort, doors.grpcPort]) {
    for (const sent of [
      'GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n',
      'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
      '\0\0\0'.repeat(100),
    ]) {
      const text = await spoken(port, sent);
      assert.not.match(text, /HTTP|success/);
    }
    const old = { host: '127.0.0.1', port, ca: pem(ca), minVersion: 'TLSv1' as const, maxVersion: 'TLSv1.1' as const };
    const error = await connected(old).catch((reason: Error) => reason);
    assert.instance(error, Error);
  }
  assert.is((await sendHttps(doors.httpPort, '/healthz', { ca })).status, 200);
  using clients = new SecureClients(doors.grpcPort, { ca });
  assert.is(await clients.getProgress({}), undefined);
});

/** What a server says until it ends the connection. */
function spoken(port: number, sent: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.end(sent));
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
    });
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(text));
  });
}

timed('a new token: streams that run go on, the next call needs it, on the same connection, too', async () => {
  await using locked = await lockedDoors({ authToken: TOKEN });
  const { doors, control, change } = locked;
  const next = 'another-horse-battery-staple';
  using clients = new SecureClients(doors.grpcPort, { ca });
  const stream = clients.sync.progress(FOLLOW, tokenMetadata({ token: TOKEN }));
  const messages = (stream as AsyncIterable<unknown>)[Symbol.asyncIterator]();
  await messages.next();
  change({ authToken: next });
  assert.is((await clients.getProgress({ token: TOKEN }))?.code, status.UNAUTHENTICATED);
  assert.is(await clients.getProgress({ token: next }), undefined);
  assert.is((await sendHttps(doors.httpPort, '/metrics', { ca, token: TOKEN })).status, 401);
  assert.is((await sendHttps(doors.httpPort, '/metrics', { ca, token: next })).status, 200);
  control.set({ canCommit: true });
  assert.match(JSON.stringify(await messages.next()), /"canCommit":true/);
  stream.cancel();
});

timed('a new certificate: new connections get it, streams on old ones go on', async () => {
  await using locked = await lockedDoors({ clientCa: pem(ca) });
  const { doors, control, change } = locked;
  const { client: certificate } = files;
  using clients = new SecureClients(doors.grpcPort, { ca, certificate });
  const stream = clients.sync.progress(FOLLOW);
  const messages = (stream as AsyncIterable<unknown>)[Symbol.asyncIterator]();
  await messages.next();
  const serials = async () => {
    const sockets = [
      await connected({ host: '127.0.0.1', port: doors.httpPort, ca: pem(ca) }),
      await connected({ host: '127.0.0.1', port: doors.grpcPort, ca: pem(ca), ALPNProtocols: ['h2'] }),
    ];
    return sockets.map((socket) => {
      const { serialNumber } = socket.getPeerCertificate();
      socket.destroy();
      return serialNumber;
    });
  };
  const before = await serials();
  change({ certificateKey: pem(files.renewedServer), clientCa: pem(files.strangerCa) });
  const after = await serials();
  assert.is(before[0], before[1]);
  assert.is(after[0], after[1]);
  assert.is.not(before[0], after[0]);
  const statusWith = async (file: string) =>
    (await sendHttps(doors.httpPort, '/api/v1/progress', { ca, certificate: file })).status;
  assert.equal([await statusWith(certificate), await statusWith(files.strangerClient)], [401, 200]);
  control.set({ canCommit: true });
  assert.match(JSON.stringify(await messages.next()), /"canCommit":true/);
  stream.cancel();
});

timed('new keys that cannot be used change nothing', async () => {
  await using locked = await lockedDoors({ authToken: TOKEN });
  const { doors } = locked;
  let broken = false;
  const credentials = new DoorCredentials(() => {
    if (broken) throw new Error('cannot be used');
    return { authToken: TOKEN };
  });
  broken = true;
  assert.throws(() => credentials.reload(), /cannot be used/);
  assert.is(credentials.admits({ authorization: `Bearer ${TOKEN}`, hasCertificate: false }), true);
  assert.is((await sendHttps(doors.httpPort, '/metrics', { ca, token: TOKEN })).status, 200);
});

timed('any Host will do where a token is needed, and only there; a foreign Origin never', async () => {
  const headers = { host: 'mongosync:27182' };
  const ask = async (keys: Partial<DoorKeys>, more: Record<string, string> = {}) => {
    await using locked = await lockedDoors(keys);
    const caller = { ca, token: TOKEN, certificate: files.client, headers: { ...headers, ...more } };
    return (await sendHttps(locked.doors.httpPort, '/api/v1/progress', caller)).status;
  };
  assert.is(await ask({ authToken: TOKEN }), 200);
  assert.is(await ask({ clientCa: pem(ca) }), 403);
  assert.is(await ask({}), 403);
  assert.is(await ask({ authToken: TOKEN }, { origin: 'https://evil.example' }), 403);
});

timed('a refused call is over, also when its caller goes on sending', async () => {
  await using locked = await lockedDoors({ authToken: TOKEN });
  const session = http2.connect(`https://localhost:${locked.doors.grpcPort}`, { ca: pem(ca) });
  try {
    const headers = {
      ':method': 'POST',
      ':path': '/mongoferry.v1.SyncService/Start',
      'content-type': 'application/grpc',
      te: 'trailers',
    };
    const refused = Array.from({ length: 50 }, async () => {
      const stream = session.request(headers, { endStream: false });
      const answer = new Promise<unknown>((resolve) =>
        stream.once('response', (fields) => resolve(fields['grpc-status'])),
      );
      const closed = new Promise((resolve) => stream.once('close', resolve));
      stream.on('error', () => undefined);
      stream.resume();
      const code = await answer;
      await closed;
      return code;
    });
    assert.equal(new Set(await Promise.all(refused)), new Set(['16']));
  } finally {
    session.destroy();
  }
});

timed('refused callers fill no log', async () => {
  await using locked = await lockedDoors({ authToken: TOKEN });
  const { doors } = locked;
  for (let i = 0; i < 20; i++) await sendHttps(doors.httpPort, '/api/v1/start', { ca, method: 'POST' });
  const told = doors.log.filter(({ message }) => message.includes('were refused'));
  assert.is(told.length, 1);
  assert.equal([told[0]?.level, told[0]?.fields?.['door'], told[0]?.fields?.['count']], ['WARN', 'http', 1]);
});

test.run();
