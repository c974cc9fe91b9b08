import { chmod, copyFile, mkdtemp, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ProgressRequest } from '../../gen/mongoferry/v1/sync_service.js';
import { sendHttp } from '../support/api-doors.js';
import { SecureClients, sendHttps, tokenMetadata } from '../support/door-callers.js';
import { makeDoorCertificates } from '../support/door-certificates.js';
import { CliCommand } from '../support/ferry-cli.js';
import { type FerryOptions, FerryProcess } from '../support/ferry-process.js';
import { runTool } from '../support/run-tool.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 120_000;
const WAIT_MS = 30_000;
const FIRST = 'correct-horse-battery-staple';
const SECOND = 'incorrect-horse-battery-staple';

/** Nobody is there: the doors answer all the same, and no test here is about clusters. */
const NOWHERE = { cluster0: 'mongodb://127.0.0.1:1/?replicaSet=a', cluster1: 'mongodb://127.0.0.1:1/?replicaSet=b' };

const files = await within(TEST_MS, makeDoorCertificates(), 'the certificates');
test.after(async () => {
  await files[Symbol.asyncDispose]();
});
const { ca } = files;
const inFolder = (name: string) => path.join(files.folder, name);

function timed(name: string, work: (signal: AbortSignal) => Promise<void>): void {
  test(name, async () => {
    await within(TEST_MS, work, name);
  });
}

async function secretFile(name: string, text: string): Promise<string> {
  await writeFile(inFolder(name), text, { mode: 0o600 });
  return inFolder(name);
}

async function serve(flags: readonly string[], more: Partial<FerryOptions>): Promise<FerryProcess> {
  return await FerryProcess.start({ ...NOWHERE, flags, ...more });
}

const portOf = (address: string): number => Number(address.slice(address.lastIndexOf(':') + 1));

/** SIGHUP, and the line of the log that comes of it. */
async function hangUp(ferry: FerryProcess, expected: string): Promise<void> {
  const before = ferry.linesWith(expected).length;
  process.kill(ferry.pid, 'SIGHUP');
  await eventually(WAIT_MS, () => ferry.linesWith(expected).length > before, `the log line "${expected}"`);
}

timed(
  'SIGHUP: a new token and certificate at once, running streams go on, and what cannot be used changes nothing',
  async (signal) => {
    const token = await secretFile('token', `${FIRST}\n`);
    const certificate = inFolder('door.pem');
    await copyFile(files.server, certificate);
    await using ferry = await serve(['--tlsCertificateKeyFile', certificate, '--authTokenFile', token], { signal });
    const [http, grpc] = [portOf(ferry.httpUrl), portOf(ferry.grpcTarget)];
    const statusWith = async (given: string) => (await sendHttps(http, '/metrics', { ca, token: given })).status;
    assert.equal([await statusWith(FIRST), await statusWith(SECOND)], [200, 401]);
    using clients = new SecureClients(grpc, { ca });
    const follow = ProgressRequest.create({ follow: true, interval: { seconds: 0, nanos: 200_000_000 } });
    const stream = clients.sync.progress(follow, tokenMetadata({ token: FIRST }));
    const messages = (stream as AsyncIterable<unknown>)[Symbol.asyncIterator]();
    await messages.next();

    await writeFile(token, SECOND);
    await copyFile(files.renewedServer, certificate);
    await hangUp(ferry, 'certificates and token were read again');
    assert.equal([await statusWith(FIRST), await statusWith(SECOND)], [401, 200]);
    assert.is((await clients.getProgress({ token: FIRST }))?.code, 16);
    assert.is(await clients.getProgress({ token: SECOND }), undefined);
    // Several: those that were on their way already prove nothing.
    for (let i = 0; i < 10; i++) assert.is((await messages.next()).done, false);
    stream.cancel();

    await writeFile(token, 'hunter2');
    await hangUp(ferry, 'stay as they were');
    await writeFile(token, SECOND);
    await copyFile(files.expiredServer, certificate);
    await hangUp(ferry, 'stay as they were');
    await rm(certificate);
    await hangUp(ferry, 'stay as they were');
    assert.equal([await statusWith(FIRST), await statusWith(SECOND)], [401, 200]);
    const text = JSON.stringify(ferry.log);
    assert.match(text, /has expired/);
    assert.match(text, /less than 16/);
    assert.not.match(text, /horse|hunter2/);
  },
);

timed('beyond loopback the process starts with TLS and a token, and says otherwise what it needs', async (signal) => {
  const token = await secretFile('beyond-token', FIRST);
  const certificate = ['--tlsCertificateKeyFile', files.server];
  const clusters = ['--cluster0', NOWHERE.cluster0, '--cluster1', NOWHERE.cluster1];
  for (const [flags, said] of [
    [[], /needs TLS .* and authentication/],
    [certificate, /needs authentication/],
    [['--authTokenFile', token], /needs TLS/],
  ] as const) {
    const command = new CliCommand([...clusters, '--bindIp', '0.0.0.0', ...flags], { signal });
    const { code, stderr } = await command.ended;
    assert.is(code, 2, stderr);
    assert.match(stderr, said);
  }
  await using ferry = await serve(['--bindIp', '0.0.0.0', ...certificate, '--authTokenFile', token], { signal });
  const answer = await sendHttps(portOf(ferry.httpUrl), '/metrics', { ca, token: FIRST });
  assert.is(answer.status, 200);
});

timed(
  'files that cannot be used end the start with 2, all named at once, and nothing of them is shown',
  async (signal) => {
    const clusters = ['--cluster0', NOWHERE.cluster0, '--cluster1', NOWHERE.cluster1];
    const token = await secretFile('short-token', 'hunter2');
    const flags = ['--tlsCertificateKeyFile', ca, '--tlsCAFile', '/nowhere/ca.pem', '--authTokenFile', token];
    const { code, stderr } = await new CliCommand([...clusters, ...flags], { signal }).ended;
    assert.is(code, 2);
    assert.match(stderr, /tlsCertificateKeyFile: .*holds no private key/);
    assert.match(stderr, /tlsCAFile: \/nowhere\/ca\.pem cannot be read \(ENOENT\)/);
    assert.match(stderr, /authTokenFile: .*less than 16 characters/);
    assert.not.match(stderr, /hunter2/);
  },
);

timed(
  'secrets that everybody can read, and a certificate that has expired, are warnings at the start',
  async (signal) => {
    const token = await secretFile('open-token', FIRST);
    await chmod(token, 0o644);
    const flags = ['--tlsCertificateKeyFile', files.expiredServer, '--authTokenFile', token];
    await using ferry = await serve(flags, { signal });
    const warnings = ferry.log.filter(({ level }) => level === 'warn').map(({ message }) => message);
    assert.ok(
      warnings.some((text) => text.includes(`${token} holds a secret, and every user of this machine can read it`)),
      warnings.join('\n'),
    );
    assert.ok(
      warnings.some((text) => text.includes('holds a certificate that has expired')),
      warnings.join('\n'),
    );
  },
);

timed('docs/security.md: its certificates and token work in its server and commands', async (signal) => {
  const page = await readFile('docs/security.md', 'utf8');
  const script = /<!-- certificates -->\n\n```sh\n([\s\S]*?)```/.exec(page)?.[1];
  assert.ok(script !== undefined, 'the page has the commands');
  const folder = await mkdtemp(path.join(await realpath(os.tmpdir()), 'mongoferry-security-page-'));
  try {
    await runTool('sh', ['-euc', `cd ${folder}\n${script}`], { signal });
    const file = (name: string) => path.join(folder, name);
    const own = ['--tlsCAFile', file('ca.pem'), '--authTokenFile', file('token')];
    await using ferry = await serve([...own, '--tlsCertificateKeyFile', file('server.pem')], { signal });
    assert.equal(
      ferry.log.filter(({ message }) => message.includes('can read')),
      [],
    );
    const target = ['--target', ferry.grpcTarget.replace('127.0.0.1', 'localhost')];
    const client = ['--tlsCertificateKeyFile', file('client.pem')];
    const shown = await new CliCommand(['progress', ...target, ...own, ...client], { signal }).ended;
    assert.equal([shown.code, shown.stderr], [0, '']);
    assert.match(shown.stdout, /^INITIALIZING/);
    const keys = { ca: file('ca.pem'), certificate: file('client.pem') };
    const token = (await readFile(file('token'), 'utf8')).trim();
    assert.is((await sendHttps(portOf(ferry.httpUrl), '/api/v1/progress', { ...keys, token })).status, 200);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

timed('without TLS a container is reached by the names that are allowed, and by no other', async (signal) => {
  const flags = ['--bindIp', '0.0.0.0', '--allowInsecure', '--allowedHosts', 'mongosync,ferry.example:1'];
  await using ferry = await serve(flags, { signal });
  const port = portOf(ferry.httpUrl);
  const statusOf = async (host: string) => (await sendHttp(port, { path: '/healthz', headers: { host } })).status;
  assert.is(await statusOf(`mongosync:${port}`), 200);
  assert.is(await statusOf('MONGOSYNC'), 200);
  assert.is(await statusOf('ferry.example:1'), 200);
  assert.is(await statusOf(`ferry.example:${port}`), 403);
  for (const host of [`x.mongosync:${port}`, `mongosync.evil.example:${port}`, 'ferry.example:12', 'ferry.example'])
    assert.is(await statusOf(host), 403, host);
});

test.run();
