import { Long, MongoNetworkError, UUID } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Doc } from '../../../src/bson/bson.js';
import type { DriverClient, SentCommand } from '../../../src/cluster/driver.js';
import { tagMaybeSent } from '../../../src/cluster/errors.js';
import { StructuralCommands } from '../../../src/cluster/structural-commands.js';

const { signal } = new AbortController();

/** A server that always lists a connection of number 27 of ours, as whichever process a test says it is. */
function serverOf({ isSharded = false } = {}) {
  const server: { process: string | undefined } = { process: 'first' };
  let listener: (sent: SentCommand) => void = () => undefined;
  const client: DriverClient = {
    maxPoolSize: 1,
    seed: 'host:27017',
    connect: () => Promise.resolve(),
    close: () => Promise.resolve(),
    command: async (_, command, { session } = {}): Promise<Doc> => {
      listener({ address: 'host:27017', connectionId: 27, process: server.process, session: session?.id });
      if (!('create' in command)) return { cursor: { id: Long.ZERO, firstBatch: [{ connectionId: 27 }] } };
      const error = new MongoNetworkError('the connection was cut');
      tagMaybeSent(error);
      throw error;
    },
    startSession: (id = new UUID()) => ({ id, endSession: () => Promise.resolve() }),
    onSent: (each) => {
      listener = each;
    },
    onPrimary: () => undefined,
  };
  const commands = new StructuralCommands(client, { tag: 'tag', isSharded });
  const lose = () =>
    commands
      .send('create', signal, (session) => client.command('db', { create: 'c' }, { session }))
      .then(() => assert.unreachable('nothing was lost'))
      .catch((error: unknown) => assert.instance(error, MongoNetworkError));
  return { server, commands, lose };
}

const resolved = (commands: StructuralCommands): Promise<string> =>
  commands.resolveLost().then(
    () => 'gone',
    (error: unknown) => String(error),
  );

test('a lost command is waited for while its connection is listed', async () => {
  const { commands, lose } = serverOf();
  await lose();
  assert.match(await resolved(commands), "waiting for the server's connection 27 to end");
  assert.ok(commands.holdsLost);
});

test('a server that was started again may have given the number to another connection: nothing comes of the old process', async () => {
  const { server, commands, lose } = serverOf();
  await lose();
  server.process = 'second';
  assert.is(await resolved(commands), 'gone');
  assert.not.ok(commands.holdsLost);
});

test('where the process is not told, or several routers may answer, it is waited for all the same', async () => {
  const untold = serverOf();
  await untold.lose();
  untold.server.process = undefined;
  assert.match(await resolved(untold.commands), 'connection 27');
  const routed = serverOf({ isSharded: true });
  await routed.lose();
  routed.server.process = 'second';
  assert.match(await resolved(routed.commands), 'connection 27');
});

test.run();
