import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { DoorCredentials, type DoorKeys } from '../../src/api/credentials.js';
import { openDoors } from '../support/api-doors.js';
import { makeDoorCertificates, pem } from '../support/door-certificates.js';
import { FakeControl } from '../support/fake-control.js';
import { CliCommand } from '../support/ferry-cli.js';
import { within } from '../support/within.js';

const TEST_MS = 45_000;
const TOKEN = 'correct-horse-battery-staple';

const files = await within(60_000, makeDoorCertificates(), 'the certificates');
test.after(async () => {
  await files[Symbol.asyncDispose]();
});
const tokenFile = path.join(files.folder, 'token');
await writeFile(tokenFile, `  ${TOKEN}\n`);
const otherTokenFile = path.join(files.folder, 'other-token');
await writeFile(otherTokenFile, 'some-other-token-of-32-characters\n');
const shortTokenFile = path.join(files.folder, 'short-token');
await writeFile(shortTokenFile, 'hunter2\n');

const { ca } = files;
const TLS = ['--tlsCAFile', ca];
const OWN = ['--tlsCertificateKeyFile', files.client];
const WITH_TOKEN = ['--authTokenFile', tokenFile];
const LOCKED: DoorKeys = { certificateKey: pem(files.server), clientCa: pem(ca), authToken: TOKEN };

interface Try {
  readonly what: string;
  readonly keys: DoorKeys;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly code: number;
  readonly said: RegExp;
  readonly host?: string;
}

const tries: readonly Try[] = [
  { what: 'everything', keys: LOCKED, args: [...TLS, ...OWN, ...WITH_TOKEN], code: 0, said: /^IDLE/ },
  {
    what: 'everything, by the environment that the server has',
    keys: LOCKED,
    args: [],
    env: {
      MONGOFERRY_TLS_CA_FILE: ca,
      MONGOFERRY_TLS_CERTIFICATE_KEY_FILE: files.client,
      MONGOFERRY_AUTH_TOKEN_FILE: tokenFile,
    },
    code: 0,
    said: /^IDLE/,
  },
  {
    what: 'an environment of empty variables',
    keys: {},
    args: [],
    env: { MONGOFERRY_TLS: '', MONGOFERRY_TLS_CA_FILE: '', MONGOFERRY_AUTH_TOKEN_FILE: '' },
    code: 0,
    said: /^IDLE/,
  },
  {
    what: 'the name localhost',
    keys: LOCKED,
    args: [...TLS, ...OWN, ...WITH_TOKEN],
    code: 0,
    said: /^IDLE/,
    host: 'localhost',
  },
  { what: 'a token in plain text on loopback', keys: { authToken: TOKEN }, args: WITH_TOKEN, code: 0, said: /^IDLE/ },
  {
    what: 'no token',
    keys: { ...LOCKED, clientCa: undefined },
    args: TLS,
    code: 1,
    said: /^mongoferry: Unauthenticated: this server needs the header .*; add --authTokenFile$/m,
  },
  {
    what: 'a wrong token',
    keys: { ...LOCKED, clientCa: undefined },
    args: [...TLS, ...OWN, '--authTokenFile', otherTokenFile],
    code: 1,
    said: /^mongoferry: Unauthenticated: .* wrong, or no longer valid$/m,
  },
  {
    what: 'no client certificate',
    keys: LOCKED,
    args: [...TLS, ...WITH_TOKEN],
    code: 1,
    said: /^mongoferry: Unauthenticated: this server needs a client certificate .*add --tlsCertificateKeyFile$/m,
  },
  {
    what: 'a client certificate that has expired',
    keys: LOCKED,
    args: [...TLS, ...WITH_TOKEN, '--tlsCertificateKeyFile', files.expiredClient],
    code: 2,
    said: /tlsCertificateKeyFile: .* holds a certificate that has expired \(20/,
  },
  {
    what: 'a server whose certificate has expired',
    keys: { ...LOCKED, certificateKey: pem(files.expiredServer) },
    args: [...TLS, ...OWN, ...WITH_TOKEN],
    code: 3,
    said: /Unreachable: .*the server's certificate has expired: replace/,
  },
  {
    what: 'another authority',
    keys: LOCKED,
    args: ['--tlsCAFile', files.strangerCa, ...OWN, ...WITH_TOKEN],
    code: 3,
    said: /Unreachable: .*not signed by a trusted authority: give --tlsCAFile/,
  },
  {
    what: 'the well-known authorities',
    keys: LOCKED,
    args: ['--tls', ...WITH_TOKEN],
    code: 3,
    said: /Unreachable: .*not signed by a trusted authority: give --tlsCAFile/,
  },
  {
    what: 'a server of another name',
    keys: { ...LOCKED, certificateKey: pem(files.otherNameServer) },
    args: [...TLS, ...OWN, ...WITH_TOKEN],
    code: 3,
    said: /Unreachable: .*not for the name in --target/,
  },
  {
    what: 'plain text to a server with TLS',
    keys: LOCKED,
    args: [],
    code: 3,
    said: /Unreachable: .*if the server has TLS, add --tls/,
  },
  {
    what: 'TLS to a server without',
    keys: {},
    args: TLS,
    code: 3,
    said: /Unreachable: .*does not speak TLS there: leave --tls out/,
  },
  {
    what: 'files that cannot be used',
    keys: {},
    args: ['--tlsCAFile', '/nowhere/ca.pem', '--tlsCertificateKeyFile', ca, '--authTokenFile', shortTokenFile],
    code: 2,
    said: /tlsCAFile: \/nowhere\/ca\.pem cannot be read \(ENOENT\)\n {2}tlsCertificateKeyFile: .*holds no private key.*\n {2}authTokenFile: .*less than 16/,
  },
];

for (const { what, keys, args, env = {}, code, said, host = '127.0.0.1' } of tries) {
  test(`a command with ${what}: exit code ${code}`, async () => {
    const work = async (signal: AbortSignal) => {
      await using doors = await openDoors(new FakeControl(), { credentials: new DoorCredentials(() => keys) });
      const command = new CliCommand(['progress', '--target', `${host}:${doors.grpcPort}`, ...args], { signal, env });
      const ended = await command.ended;
      assert.match(code === 0 ? ended.stdout : ended.stderr, said);
      assert.is(ended.code, code, ended.stderr);
      if (code === 0) assert.is(ended.stderr, '');
      assert.not.match(ended.stdout + ended.stderr, /horse|hunter2|PRIVATE/);
    };
    await within(TEST_MS, work, what);
  });
}

test('a token is not sent to another machine in plain text, unless that is asked for', async () => {
  const ended = async (...more: string[]) => {
    const command = new CliCommand(['progress', '--target', '192.0.2.1:1', ...WITH_TOKEN, ...more]);
    return await within(TEST_MS, command.ended, 'the command');
  };
  const refused = await ended();
  assert.is(refused.code, 2);
  assert.match(refused.stderr, /authTokenFile: would be sent to 192\.0\.2\.1:1 in plain text; add tls/);
  // What comes next is about other files, so that nothing has to wait for an address that never answers.
  assert.not.match((await ended('--allowInsecure', '--tlsCAFile', '/nowhere')).stderr, /plain text/);
  assert.not.match((await ended('--tls', '--tlsCAFile', '/nowhere')).stderr, /plain text/);
});

test.run();
