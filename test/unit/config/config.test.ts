import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Config, loadConfig } from '../../../src/config/config.js';
import { AppError } from '../../../src/errors.js';

const URIS = { cluster0: 'mongodb://a.example', cluster1: 'mongodb://b.example' };

interface Given {
  readonly flags?: Record<string, unknown>;
  readonly env?: Record<string, string>;
  readonly files?: Record<string, string>;
}

function load({ flags = URIS, env = {}, files = {} }: Given): Config {
  const readFile = (path: string): string => {
    const text = files[path];
    if (text === undefined) throw Object.assign(new Error('no such file'), { code: 'ENOENT' });
    return text;
  };
  return loadConfig({ flags, env, readFile });
}

/** "field: description" of every violation. */
function problems(given: Given): string[] {
  try {
    load(given);
  } catch (error) {
    assert.instance(error, AppError);
    assert.is((error as AppError).row.exit, 2);
    return (error as AppError).violations.map(({ field, description }) => `${field}: ${description}`);
  }
  return [];
}

test('has a default for everything but the clusters', () => {
  assert.equal(load({}), {
    ...URIS,
    instanceId: 'coordinator',
    instanceIsNamed: false,
    coordinated: false,
    migrationName: undefined,
    loadLevel: 3,
    loadLevelIsDefault: true,
    workerThreads: 0,
    disableVerification: false,
    bindIp: '127.0.0.1',
    httpPort: 27_182,
    grpcPort: 27_183,
    grpcPortIsDefault: true,
    stayUpOnFailure: false,
    verbosity: 'DEBUG',
    logDirectory: undefined,
    metricsDirectory: undefined,
    otlpEndpoint: undefined,
    tlsCertificateKeyFile: undefined,
    tlsCaFile: undefined,
    authTokenFile: undefined,
    allowedHosts: [],
    notices: [],
  });
  assert.ok(Object.isFrozen(load({})));
});

test('a file that is far too large for a configuration is refused, and not parsed', () => {
  const files = { 'm.yaml': 'a: [1, 2, 3]\n'.repeat(1_000_000) };
  const began = performance.now();
  assert.match(
    problems({ flags: { ...URIS, config: 'm.yaml' }, files }).join(),
    /^config: m\.yaml is larger than 256 KiB/,
  );
  assert.ok(performance.now() - began < 10_000);
});

test('the command line goes before the environment, and that before the file', () => {
  const files = { 'm.yaml': 'port: 1\ngrpcPort: 2\nloadLevel: 4\ncluster0: mongodb://file.example\n' };
  const env = {
    MONGOFERRY_CONFIG: 'm.yaml',
    MONGOFERRY_PORT: '11',
    MONGOFERRY_GRPC_PORT: '12',
    MONGOFERRY_CLUSTER1: 'mongodb://env.example',
  };
  const config = load({ flags: { port: '21' }, env, files });
  assert.is(config.httpPort, 21);
  assert.is(config.grpcPort, 12);
  assert.is(config.loadLevel, 4);
  assert.is(config.cluster0, 'mongodb://file.example');
  assert.is(config.cluster1, 'mongodb://env.example');
});

test('reads YAML values of every type, and environment names in both spellings', () => {
  const text =
    'cluster0: "mongodb://a"\ncluster1: mongodb://b\nid: 7\ndisableVerification: true\nverbosity: warn\nlogPath: /var/log/m\n';
  const config = load({
    flags: { config: 'm.yaml' },
    files: { 'm.yaml': text },
    env: { MONGOFERRY_MIGRATIONNAME: 'x_1', MONGOFERRY_STAY_UP_ON_FAILURE: 'TRUE' },
  });
  assert.is(config.instanceId, '7');
  assert.is(config.disableVerification, true);
  assert.is(config.verbosity, 'WARN');
  assert.is(config.logDirectory, '/var/log/m');
  assert.is(config.migrationName, 'x_1');
  assert.is(config.stayUpOnFailure, true);
});

test('a flag can switch off what the file switched on', () => {
  const config = load({
    flags: { ...URIS, config: 'm.yaml', disableVerification: 'false' },
    files: { 'm.yaml': 'disableVerification: true' },
  });
  assert.is(config.disableVerification, false);
});

test('secrets can come from files', () => {
  const config = load({
    flags: {},
    env: { MONGOFERRY_CLUSTER0_FILE: '/run/secrets/c0', MONGOFERRY_CLUSTER1: 'mongodb://b' },
    files: { '/run/secrets/c0': 'mongodb://u:p@a.example\n' },
  });
  assert.is(config.cluster0, 'mongodb://u:p@a.example');
  assert.equal(
    problems({ flags: {}, env: { MONGOFERRY_CLUSTER0_FILE: '/gone', MONGOFERRY_CLUSTER1: 'mongodb://b' } }),
    ['cluster0: MONGOFERRY_CLUSTER0_FILE: cannot read /gone (ENOENT)'],
  );
  const both = {
    MONGOFERRY_CLUSTER0_FILE: '/f',
    MONGOFERRY_CLUSTER0: 'mongodb://a',
    MONGOFERRY_CLUSTER1: 'mongodb://b',
  };
  assert.equal(problems({ flags: {}, env: both, files: { '/f': '' } }), [
    'cluster0: is given twice: by MONGOFERRY_CLUSTER0 and by MONGOFERRY_CLUSTER0_FILE',
  ]);
});

test('reports every problem at once', () => {
  const found = problems({
    flags: {
      port: 'x',
      loadLevel: '9',
      migrationName: 'a-b',
      verbosity: 'LOUD',
      disableVerification: 'maybe',
      otlpEndpoint: 'collector:4318',
    },
  });
  assert.equal(found.map((text) => text.split(':')[0]).sort(), [
    'cluster0',
    'cluster1',
    'disableVerification',
    'loadLevel',
    'migrationName',
    'otlpEndpoint',
    'port',
    'verbosity',
  ]);
});

const refused: [string, Record<string, string>, string][] = [
  ['a port out of range', { port: '65536' }, 'port: must be a whole number from 0 to 65535 (given by --port)'],
  ['a port with a fraction', { port: '1.5' }, 'port: must be a whole number from 0 to 65535 (given by --port)'],
  ['one port for both doors', { port: '5', grpcPort: '5' }, 'grpcPort: must differ from "port"'],
  [
    'a name that is too long',
    { migrationName: 'a'.repeat(45) },
    'migrationName: must be 1 to 44 letters, digits and underscores (given by --migrationName)',
  ],
  ['an empty id', { id: ' ' }, 'id: must not be empty (given by --id)'],
  ['another scheme', { cluster0: 'http://u:hunter2@a' }, 'cluster0: must begin with mongodb:// or mongodb+srv://'],
  ['no host', { cluster0: 'mongodb:///x' }, 'cluster0: names no host'],
];
for (const [what, flags, expected] of refused) {
  test(`refuses ${what}`, () => assert.equal(problems({ flags: { ...URIS, ...flags } }), [expected]));
}

const uriOptions: [string, boolean][] = [
  ['readConcernLevel=majority&w=majority&journal=true&readPreference=primary', true],
  ['READCONCERNLEVEL=Majority', true],
  ['replicaSet=a&tls=true&authSource=admin&appName=x', true],
  ['readConcernLevel=local', false],
  ['w=1', false],
  ['journal=false', false],
  ['readPreference=secondaryPreferred', false],
  ['readPreferenceTags=dc:ny', false],
  ['sockettimeoutms=1000', false],
];
for (const [query, allowed] of uriOptions) {
  test(`${allowed ? 'allows' : 'refuses'} the connection string option ${query}`, () => {
    const found = problems({ flags: { ...URIS, cluster0: `mongodb://u:hunter2@h/?${query}` } });
    assert.is(found.length, allowed ? 0 : 1, found.join());
    assert.not.match(found.join(), 'hunter2');
  });
}

test('port 0 may be given twice', () => assert.equal(problems({ flags: { ...URIS, port: '0', grpcPort: '0' } }), []));

test('listens beyond loopback only when told to, and warns then', () => {
  for (const bindIp of ['127.0.0.1', '127.8.9.1', '::1', 'localhost'])
    assert.equal(problems({ flags: { ...URIS, bindIp } }), []);
  for (const bindIp of ['0.0.0.0', '::', '10.0.0.1', '127.0.0.1.evil.example']) {
    assert.match(problems({ flags: { ...URIS, bindIp } }).join(), /^bindIp: .* allowInsecure/);
  }
  for (const bindIp of ['::ffff:127.0.0.1', '0:0:0:0:0:0:0:1'])
    assert.equal(problems({ flags: { ...URIS, bindIp } }), []);
  for (const bindIp of ['127.0.0.999', '10.0.0', '::g'])
    for (const allowInsecure of [true, false])
      assert.match(problems({ flags: { ...URIS, bindIp, allowInsecure } }).join(), /^bindIp: .* is not an IP address/);
  const config = load({ flags: { ...URIS, bindIp: '0.0.0.0', allowInsecure: true } });
  assert.match(
    config.notices.map(({ level, message }) => `${level} ${message}`).join(),
    /^warn listening on 0\.0\.0\.0/,
  );
});

const TLS = { tlsCertificateKeyFile: '/c.pem' };
const openings: [string, Record<string, unknown>, RegExp | undefined][] = [
  ['neither', {}, /needs TLS \(tlsCertificateKeyFile\) and authentication \(authTokenFile, or tlsCAFile/],
  ['TLS alone', TLS, /needs authentication/],
  ['a token alone', { authTokenFile: '/t' }, /needs TLS \(tlsCertificateKeyFile\);/],
  ['TLS that is disabled', { ...TLS, authTokenFile: '/t', tlsMode: 'disabled' }, /needs TLS/],
  ['TLS and a token', { ...TLS, authTokenFile: '/t' }, undefined],
  ['TLS and client certificates', { ...TLS, tlsCAFile: '/ca.pem' }, undefined],
];
for (const [what, flags, refusal] of openings) {
  test(`beyond loopback with ${what}: ${refusal === undefined ? 'opens' : 'refuses, and says what is lacking'}`, () => {
    const found = problems({ flags: { ...URIS, bindIp: '0.0.0.0', ...flags } }).join();
    if (refusal === undefined) assert.is(found, '');
    else assert.match(found, refusal);
    const allowed = load({ flags: { ...URIS, bindIp: '0.0.0.0', allowInsecure: true, ...flags } });
    const warned = allowed.notices.some(({ message }) => message.startsWith('listening on 0.0.0.0'));
    assert.is(warned, refusal !== undefined);
  });
}

test('a token that would cross the network in plain text is a warning of its own', () => {
  const { notices } = load({ flags: { ...URIS, bindIp: '10.0.0.1', allowInsecure: true, authTokenFile: '/t' } });
  assert.match(notices.map(({ message }) => message).join(), /the token and all answers cross the network in plain/);
});

test('TLS is on as soon as there is a certificate, unless it is disabled', () => {
  const fileOf = (flags: Record<string, unknown>) => load({ flags: { ...URIS, ...flags } }).tlsCertificateKeyFile;
  assert.is(fileOf(TLS), '/c.pem');
  for (const tlsMode of ['requireTLS', 'requiretls', 'required']) assert.is(fileOf({ ...TLS, tlsMode }), '/c.pem');
  for (const tlsMode of ['disabled', 'off']) assert.is(fileOf({ ...TLS, tlsMode }), undefined);
  assert.match(
    load({ flags: { ...URIS, ...TLS, tlsMode: 'off' } })
      .notices.map(({ message }) => message)
      .join(),
    /not used/,
  );
});

test('TLS without a certificate, and client certificates without TLS, are refused', () => {
  const needs = 'needs tlsCertificateKeyFile, a PEM file with a certificate and its private key';
  assert.equal(problems({ flags: { ...URIS, tlsMode: 'requireTLS' } }), [`tlsMode: ${needs}`]);
  assert.equal(problems({ flags: { ...URIS, tlsCAFile: '/ca' } }), [`tlsCAFile: ${needs}`]);
  assert.equal(problems({ flags: { ...URIS, ...TLS, tlsMode: 'preferTLS' } }), [
    'tlsMode: must be "disabled" or "requireTLS"',
  ]);
});

test('allowed hosts are texts with commas, or lists in the file, and exact names', () => {
  const hosts = (given: Given) => load(given).allowedHosts;
  const expected = ['mongosync', 'ferry.example:27182', '[fd00::1]:27182'];
  const text = ' Mongosync,ferry.example:27182, [fd00::1]:27182,';
  assert.equal(hosts({ flags: { ...URIS, allowedHosts: text } }), expected);
  assert.equal(hosts({ env: { MONGOFERRY_ALLOWED_HOSTS: text } }), expected);
  const files = { 'm.yaml': 'allowedHosts: [mongosync, "ferry.example:27182", "[fd00::1]:27182"]\n' };
  assert.equal(hosts({ flags: { ...URIS, config: 'm.yaml' }, files }), expected);
  for (const wrong of ['*', '*.example', 'http://a', 'a b', 'a/b', 'a:port', '.a', 'a,b;c']) {
    assert.match(problems({ flags: { ...URIS, allowedHosts: wrong } }).join(), /^allowedHosts: must be names/, wrong);
  }
  const many = Array.from({ length: 101 }, (_, i) => `h${i}`).join();
  assert.match(problems({ flags: { ...URIS, allowedHosts: many } }).join(), /at most 100/);
  const odd = { 'm.yaml': 'allowedHosts: [[a]]\n' };
  assert.match(problems({ flags: { ...URIS, config: 'm.yaml' }, files: odd }).join(), /must be strings/);
});

test("accepts mongosync's flags that have no use, and says so", () => {
  const flags = {
    ...URIS,
    acceptDisclaimer: true,
    disableTelemetry: true,
    enableCappedCollectionHandling: true,
    createIndexesBatchSize: '4',
    hotDocIDs: ['{"db":"a","collection":"b","ids":[{"$oid":"65a1b2c3d4e5f60718293a4b"}]}', '{"db":"c"}'],
  };
  const { notices } = load({ flags });
  assert.is(notices.length, 5);
  assert.ok(notices.every(({ level, message }) => level === 'info' && message.includes('has no effect')));
  assert.equal(load({ flags: { ...URIS, acceptDisclaimer: 'false' } }).notices, []);
});

test('flags of mongosync that its reference does not name are accepted with a warning, from any source', () => {
  for (const given of [
    { flags: { ...URIS, enableVerifierPersistence: true } },
    { flags: { ...URIS, config: 'm.yaml' }, files: { 'm.yaml': 'enableVerifierPersistence: true\n' } },
  ]) {
    const { notices } = load(given);
    assert.is(notices.length, 1);
    assert.is(notices[0]?.level, 'warn');
    assert.match(notices[0]?.message ?? '', /enableVerifierPersistence.* is accepted but has no effect/);
  }
});

for (const [given, level] of [
  ['-1', 'TRACE'],
  ['0', 'DEBUG'],
  ['1', 'INFO'],
  ['5', 'PANIC'],
] as const) {
  test(`verbosity ${given} is ${level}, as a number of zerolog's`, () => {
    assert.is(load({ flags: { ...URIS, verbosity: given } }).verbosity, level);
    const files = { 'm.yaml': `verbosity: ${given}\n` };
    assert.is(load({ flags: { ...URIS, config: 'm.yaml' }, files }).verbosity, level);
  });
}

test('a gRPC port that nobody asked for is in the way of no HTTP port, nor of those that are counted up from it', () => {
  const grpcPortOf = (port: string): [number, boolean] => {
    const { grpcPort, grpcPortIsDefault } = load({ flags: { ...URIS, port } });
    return [grpcPort, grpcPortIsDefault];
  };
  for (const port of ['27183', '27182', '27150']) assert.equal(grpcPortOf(port), [0, true], port);
  for (const port of ['0', '8080', '27184']) assert.equal(grpcPortOf(port), [27_183, true], port);
  const asked = load({ flags: { ...URIS, port: '27182', grpcPort: '27183' } });
  assert.equal([asked.grpcPort, asked.grpcPortIsDefault], [27_183, false]);
});

test('metrics are written where that is asked for, unless it is switched off', () => {
  const flags = { ...URIS, metricsLoggingFilepath: '/var/log/m' };
  assert.is(load({ flags }).metricsDirectory, '/var/log/m');
  assert.is(load({ flags: { ...flags, disableMetricsLogging: true } }).metricsDirectory, undefined);
});

test('an unknown key or variable is a warning', () => {
  const { notices } = load({
    flags: { ...URIS, config: 'm.yaml' },
    env: { MONGOFERRY_PROT: '1', MONGOFERRY_TARGET: 'x:1', OTHER: '1' },
    files: { 'm.yaml': 'futureOption: 1\n' },
  });
  assert.equal(notices, [
    {
      level: 'warn',
      message: 'the environment variable MONGOFERRY_PROT is not an option of mongoferry and is ignored',
    },
    { level: 'warn', message: 'the key "futureOption" in m.yaml is not an option of mongoferry and is ignored' },
  ]);
});

const badYaml: [string, string, RegExp][] = [
  ['no YAML', 'cluster0: [hunter2\n', /^config: m\.yaml: is not valid YAML \(\w+ at line \d+, column \d+\)$/],
  ['a key twice', 'port: 1\nport: 2\n', /^config: m\.yaml: is not valid YAML \(DUPLICATE_KEY at line 2/],
  ['a list', '- hunter2\n', /^config: m\.yaml: must hold a mapping/],
  ['an alias to nothing', 'cluster0: *hunter2\n', /^config: m\.yaml: is not valid YAML/],
];
for (const [what, text, expected] of badYaml) {
  test(`refuses a file with ${what}, without quoting it`, () => {
    const found = problems({ flags: { ...URIS, config: 'm.yaml' }, files: { 'm.yaml': text } }).join();
    assert.match(found, expected);
    assert.not.match(found, 'hunter2');
  });
}

test('an empty file is no problem, a missing one is', () => {
  assert.equal(problems({ flags: { ...URIS, config: 'm.yaml' }, files: { 'm.yaml': '# nothing\n' } }), []);
  assert.equal(problems({ flags: { ...URIS, config: 'gone.yaml' } }), ['config: cannot read gone.yaml (ENOENT)']);
});

test.run();
