/** The command that removes what a committed migration has left, and a watch that outlives a restart of the server. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { withClient } from '../support/ferry-client.js';
import { FerryProcess, ferryExecutable } from '../support/ferry-process.js';
import { sharedPair } from '../support/shared-servers.js';
import { METADATA_DB } from '../support/stored-migration.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 120_000;
const run = promisify(execFile);
const { pair, source, destination } = await sharedPair(test);

test.before.each(async () => {
  await source
    .db('shop')
    .collection('items')
    .insertMany([{ n: 1 }, { n: 2 }]);
});

/** Runs the command; rejects never. */
async function ferry(args: readonly string[]): Promise<{ code: number; out: string; err: string }> {
  return run(ferryExecutable(), [...args]).then(
    ({ stdout, stderr }) => ({ code: 0, out: stdout, err: stderr }),
    ({ code, stdout, stderr }: { code: number; stdout: string; stderr: string }) => ({
      code,
      out: stdout,
      err: stderr,
    }),
  );
}

/** A port that nobody listens on now. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}

async function metadata(client: typeof source): Promise<string[]> {
  return (await client.db(METADATA_DB).listCollections().toArray()).map(({ name }) => name);
}

test('cleanup drops the metadata of a committed migration, of a reversed one on both clusters, and nothing else', async () => {
  const clean = async (): Promise<void> => {
    const clusters = ['--cluster0', pair.source.uri, '--cluster1', pair.destination.uri];
    const none = await ferry(['cleanup', '--yes', ...clusters]);
    assert.equal([none.code, none.out], [1, '']);
    assert.match(none.err, 'there is no migration to clean up');
    await using server = await FerryProcess.between(pair);
    await withClient(server, async (client) => {
      await client.start({ reversible: true, enableUserWriteBlocking: true });
      await client.waitForCanCommit();
    });
    const early = await ferry(['cleanup', '--yes', ...clusters]);
    assert.is(early.code, 1);
    assert.match(early.err, 'cleanup needs COMMITTED');
    await withClient(server, async (client) => {
      await client.commitAndWait();
      await client.reverse();
      await client.waitForCanCommit();
      await client.commitAndWait();
    });
    const running = await ferry(['cleanup', '--yes', ...clusters]);
    assert.equal([running.code, running.err.includes('LeaseHeld')], [1, true], running.err);
    await server.stop();
    const done = await ferry(['cleanup', '--yes', ...clusters]);
    assert.is(done.code, 0, done.err);
    assert.match(done.out, /^dropped mongosync_reserved_for_internal_use on cluster0: .* on cluster1: /);
    assert.equal([await metadata(source), await metadata(destination)], [[], []]);
    assert.ok((await destination.db('shop').collection('items').countDocuments()) > 0);
    await server.restart();
    await withClient(server, (client) => client.waitForState('IDLE'));
  };
  await within(TEST_MS, clean(), 'the clean-up');
});

test('progress --watch goes on when the server is started anew', async () => {
  const watch = async (): Promise<void> => {
    for (const client of [source, destination]) {
      await client.db('admin').command({ setUserWriteBlockMode: 1, global: false });
      await client.db(METADATA_DB).dropDatabase();
    }
    await destination.db('shop').dropDatabase();
    // The same port after the restart.
    await using server = await FerryProcess.between(pair, { flags: ['--grpcPort', String(await freePort())] });
    await withClient(server, async (client) => {
      await client.start();
      await client.waitForCanCommit();
    });
    const watching = spawn(ferryExecutable(), ['progress', '--watch', '--target', server.grpcTarget]);
    const [out, err] = [text(watching.stdout), text(watching.stderr)];
    const exited = once(watching, 'exit');
    let seen = '';
    watching.stdout.on('data', (chunk: Buffer) => {
      seen += chunk.toString();
    });
    await eventually(30_000, () => seen.includes('can commit'), 'the first line');
    await server.kill();
    await server.restart();
    await withClient(server, async (client) => {
      await client.waitForCanCommit();
      await client.commitAndWait();
    });
    const [code] = await exited;
    assert.is(code, 0);
    assert.match((await out).trim().split('\n').at(-1) ?? '', /^COMMITTED/);
    assert.match(await err, 'does not answer; trying again');
  };
  await within(TEST_MS, watch(), 'the watch');
});

test.run();
