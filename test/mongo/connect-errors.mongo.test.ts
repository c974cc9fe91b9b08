import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Cluster } from '../../src/cluster/cluster.js';
import { AppError } from '../../src/errors.js';
import { createLogger } from '../../src/lib/logger.js';
import { FerryProcess } from '../support/ferry-process.js';
import { RestClient } from '../support/rest-client.js';
import { sharedSet } from '../support/shared-servers.js';
import { silentLogger } from '../support/silent-logger.js';
import { within } from '../support/within.js';

const TEST_MS = 90_000;

const set = await sharedSet(test, { tls: true });
const broken = path.join(path.dirname(set.caFile ?? ''), 'broken.pem');
await writeFile(broken, 'no certificate\n');

const { uri } = set;
const WITHOUT_CA = /&?tlsCAFile=[^&]*/;

/** Connection strings that no waiting mends, and what is said of them. */
const LASTING: readonly [what: string, uri: string, said: RegExp][] = [
  ['another set name', uri.replace(/replicaSet=[^&]*/, 'replicaSet=other'), /none of its hosts.*replica set other/],
  ['a missing file', uri.replace(WITHOUT_CA, '&tlsCAFile=/nowhere/ca.pem'), /\/nowhere\/ca\.pem.*cannot be read/],
  ['an authority that is not known', uri.replace(WITHOUT_CA, ''), /TLS fails.*certificate/],
  [
    'a file without a certificate',
    uri.replace(/tlsCertificateKeyFile=[^&]*/, `tlsCertificateKeyFile=${encodeURIComponent(broken)}`),
    /TLS fails/,
  ],
];

/** All at once, since each takes the seconds that a server is looked for. */
const connecting = LASTING.map(([, wrong]) => {
  const options = { name: 'cluster0', uri: wrong, logger: silentLogger, maxPoolSize: 2 };
  return Cluster.connect(options).then(() => undefined, AppError.from);
});

for (const [index, [what, , said]] of LASTING.entries()) {
  test(`${what} ends the connecting at once, and is named`, async () => {
    const error = await within(TEST_MS, connecting[index] ?? Promise.resolve(undefined), 'the error');
    assert.is(error?.code, 'InvalidRequest', error?.message);
    assert.match(error?.message ?? '', said);
  });
}

test('a compressor that is not part of the program is left out', async () => {
  const lines: string[] = [];
  const sink = { write: (line: string) => void lines.push(line) };
  const logger = createLogger({ level: 'WARN', mongosyncId: 'test', sink });
  const options = { name: 'cluster0', uri: `${uri}&compressors=snappy,zlib`, logger, maxPoolSize: 2 };
  const cluster = await within(TEST_MS, Cluster.connect(options), 'the connection');
  await cluster.close();
  assert.match(lines.join(), /cluster0: this program does not support compression by snappy/);
});

test('a wrong set name ends the process with 2', async () => {
  const work = async () => {
    const wrong = LASTING[0]?.[1] ?? '';
    await using ferry = await FerryProcess.start({ cluster0: wrong, cluster1: uri });
    assert.is((await ferry.exited).code, 2);
  };
  await within(TEST_MS, work(), 'the end');
});

test('why a cluster is not connected yet is told by progress and readyz', async () => {
  const work = async () => {
    await using ferry = await FerryProcess.start({ cluster0: 'mongodb://127.0.0.1:1/?replicaSet=rs', cluster1: uri });
    const rest = new RestClient(() => ferry.httpUrl);
    const { state } = await rest.waitFor('the cause', (progress) =>
      /cluster0 cannot be reached yet[^"]*ECONNREFUSED/.test(JSON.stringify(progress)),
    );
    assert.is(state, 'INITIALIZING');
    const ready = await rest.get('/readyz');
    assert.is(ready.status, 503);
    assert.match(JSON.stringify(ready.body), /ECONNREFUSED/);
  };
  await within(TEST_MS, work(), 'the cause');
});

test.run();
