/** Tests a client's example against a scripted migration, the same for every language. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { DoorCredentials } from '../../src/api/credentials.js';
import { AppError } from '../../src/errors.js';
import { openDoors } from './api-doors.js';
import { buildExample, type ClientLanguage, runExample } from './client-examples.js';
import { makeDoorCertificates, pem } from './door-certificates.js';
import { FakeControl, IDLE_SNAPSHOT, RUNNING_SNAPSHOT } from './fake-control.js';
import { within } from './within.js';

const BUILD_MS = 300_000;
const RUN_MS = 60_000;

/**
 * The tests of a client's example against a scripted migration, the same for every language. Builds it and runs them.
 * Errors: those of the build, which uvu would swallow in a before hook.
 */
export async function testClientExample(language: ClientLanguage): Promise<void> {
  const example = await within(BUILD_MS, buildExample(language), `the example in ${language}`);

  test('starts, follows the stream, commits once when that is possible, and ends with the migration', async () => {
    const control = new FakeControl();
    await using doors = await openDoors(control);
    const steps: Readonly<Record<string, () => void>> = {
      'start: accepted': () => control.set({ ...RUNNING_SNAPSHOT, canCommit: false }),
      'progress: RUNNING, collection copy, copied 4500000000000 of 9000000000000 bytes': () =>
        control.set({
          canCommit: true,
          info: 'change event application',
          copy: undefined,
          lag: { overallSeconds: 2, crudSeconds: 2, ddlSeconds: undefined },
        }),
      'commit: accepted': () => control.set({ state: 'COMMITTED', canCommit: false, canWrite: true }),
    };
    const run = await within(
      RUN_MS,
      (signal) =>
        runExample(example, { target: `127.0.0.1:${doors.grpcPort}`, signal, onLine: (line) => steps[line]?.() }),
      'the example',
    );
    assert.is(run.stderr, '');
    assert.is(run.code, 0);
    const lines = run.stdout.trim().split('\n');
    assert.ok(lines.includes('progress: RUNNING, change event application, lag 2 s'), run.stdout);
    assert.is(lines.at(-1), 'done: COMMITTED');
    assert.equal(
      control.calls.map(({ name }) => name),
      ['start', 'commit'],
    );
  });

  test('shows every violation of a bad request', async () => {
    await using doors = await openDoors(new FakeControl(IDLE_SNAPSHOT));
    const run = await within(
      RUN_MS,
      runExample(example, {
        target: `127.0.0.1:${doors.grpcPort}`,
        flags: { source: 'cluster7', destination: 'cluster8' },
      }),
      'the example',
    );
    assert.is(run.code, 1);
    assert.match(run.stderr, /^InvalidRequest \(INVALID_?ARGUMENT\): /i);
    assert.match(run.stderr, /^ {2}source: must be "cluster0" or "cluster1", not "cluster7"$/m);
    assert.match(run.stderr, /^ {2}destination: must be /m);
  });

  test('shows the name and the facts of a refusal', async () => {
    const control = new FakeControl();
    control.failWith = new AppError('DestinationNotEmpty', 'the destination has «a.b»', {
      metadata: { namespaces: 'a.b' },
    });
    await using doors = await openDoors(control);
    const run = await within(RUN_MS, runExample(example, { target: `127.0.0.1:${doors.grpcPort}` }), 'the example');
    assert.is(run.code, 1);
    assert.match(run.stderr, /^DestinationNotEmpty \(FAILED_?PRECONDITION\): the destination has «a\.b»$/im);
    assert.match(run.stderr, /^ {2}namespaces = a\.b$/m);
  });

  test('shows a request with hundreds of violations, which must fit into the trailers', async () => {
    const control = new FakeControl();
    control.failWith = new AppError('InvalidRequest', 'x'.repeat(20_000), {
      violations: Array.from({ length: 500 }, (_, i) => ({
        field: `includeNamespaces[${i}]`,
        description: 'é'.repeat(20),
      })),
    });
    await using doors = await openDoors(control);
    const run = await within(RUN_MS, runExample(example, { target: `127.0.0.1:${doors.grpcPort}` }), 'the example');
    assert.match(run.stderr, /^InvalidRequest \(INVALID_?ARGUMENT\)/i);
    assert.match(run.stderr, /and \d+ more violations$/m);
  });

  test('shows the failure of a migration, which ends the stream', async () => {
    const control = new FakeControl();
    await using doors = await openDoors(control);
    const run = await within(
      RUN_MS,
      runExample(example, {
        target: `127.0.0.1:${doors.grpcPort}`,
        onLine: (line) => {
          const failure = { error: 'OplogRolledOver', description: 'start again', at: new Date(0) };
          if (line.startsWith('progress: RUNNING')) control.set({ failure });
        },
      }),
      'the example',
    );
    assert.is(run.code, 1);
    assert.match(run.stderr, /^MigrationFailed \(ABORTED\): OplogRolledOver: start again$/im);
    assert.match(run.stderr, /^ {2}cause = OplogRolledOver$/m);
  });

  test('speaks TLS, and shows a certificate and a token, by the environment', async () => {
    const work = async (signal: AbortSignal): Promise<void> => {
      await using files = await makeDoorCertificates(signal);
      const token = 'correct-horse-battery-staple';
      const tokenFile = join(files.folder, 'token');
      await writeFile(tokenFile, `${token}\n`);
      const keys = { certificateKey: pem(files.server), clientCa: pem(files.ca), authToken: token };
      await using doors = await openDoors(new FakeControl(), { credentials: new DoorCredentials(() => keys) });
      const target = `127.0.0.1:${doors.grpcPort}`;
      const env = {
        MONGOFERRY_TLS_CA_FILE: files.ca,
        MONGOFERRY_TLS_CERTIFICATE_KEY_FILE: files.client,
        MONGOFERRY_AUTH_TOKEN_FILE: tokenFile,
      };
      const onLine = (line: string): void => {
        if (line.startsWith('progress: RUNNING')) doors.control.set({ state: 'COMMITTED', canWrite: true });
      };
      const run = await runExample(example, { target, env, signal, onLine });
      assert.is(run.code, 0, run.stderr);
      assert.is(run.stdout.trim().split('\n').at(-1), 'done: COMMITTED');
      const refused = await runExample(example, { target, env: { ...env, MONGOFERRY_AUTH_TOKEN_FILE: '' }, signal });
      assert.is(refused.code, 1);
      assert.match(refused.stderr, /^Unauthenticated \(UNAUTHENTICATED\): this server needs a client certificate/im);
    };
    await within(3 * RUN_MS, work, 'the example');
  });

  test('says so when nobody answers', async () => {
    const run = await within(RUN_MS, runExample(example, { target: '127.0.0.1:1' }), 'the example');
    assert.is(run.code, 1);
    assert.match(run.stderr, /^no answer \(UNAVAILABLE\): /i);
  });

  test.run();
}
