import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { createServer, connect as openSession, type ServerHttp2Session } from 'node:http2';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { deferred } from '../../src/lib/tasks.js';
import { openDoors } from '../support/api-doors.js';
import { DoorsProcess } from '../support/doors-process.js';
import { eventually, within } from '../support/within.js';

const WAIT_MS = 20_000;
/** Half of what a connection took whose client had lost its network, and time for a machine that is busy. */
const FREE_MS = 35_000;
const EACH = 20;

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const SETTINGS = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);
/** DATA of a stream that was never opened. */
const BAD_FRAME = Buffer.from([0, 0, 1, 0, 0, 0, 0, 0, 1, 0]);

/** What a client sends before it breaks: it neither reads nor closes any more, as one that has lost its network. */
const BROKEN: readonly Buffer[] = [
  Buffer.from('GET / HTTP/1.1\r\n\r\n'),
  PREFACE.subarray(0, 10),
  Buffer.concat([PREFACE, SETTINGS, BAD_FRAME]),
  Buffer.concat([PREFACE, SETTINGS]),
];

async function opened(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  return socket;
}

test('broken gRPC connections give their file handles back within half a minute', async () => {
  await using server = await DoorsProcess.start();
  const handles = (): number => readdirSync(`/proc/${server.pid}/fd`).length;
  const before = handles();
  const sockets: Socket[] = [];
  try {
    for (const bytes of BROKEN) {
      for (let i = 0; i < EACH; i++) {
        const socket = await opened(server.ports.grpcPort);
        sockets.push(socket);
        socket.pause().write(bytes);
      }
    }
    let most = 0;
    const isSeen = (): boolean => {
      most = Math.max(most, handles());
      return most > before + EACH;
    };
    await eventually(WAIT_MS, isSeen, 'the connections');
    await eventually(FREE_MS, () => handles() <= before + 3, 'their handles given back', { everyMs: 200 });
  } finally {
    for (const socket of sockets) socket.destroy();
  }
  assert.ok(true);
});

/** What every server's HTTP/2 sessions have in common; Node.js gives it away with a session only. */
async function sessionPrototype(): Promise<ServerHttp2Session> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = openSession(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  const [session]: ServerHttp2Session[] = await once(server, 'session');
  client.destroy();
  server.close();
  return Object.getPrototypeOf(session);
}

test('a stop ends also when a connection breaks in the same moment', async () => {
  const sessions = await sessionPrototype();
  const { destroy } = sessions;
  const doors = await openDoors();
  const stopped = deferred<void>();
  // grpc-js waits for the end of a session that is ending already, and is never told of it.
  sessions.destroy = function (...reason) {
    sessions.destroy = destroy;
    destroy.apply(this, reason);
    doors.stopGrpc(100).then(stopped.resolve, stopped.reject);
  };
  try {
    const socket = await opened(doors.grpcPort);
    socket.write('GET / HTTP/1.1\r\n\r\n');
    await within(WAIT_MS, stopped.promise, 'the stop');
    socket.destroy();
  } finally {
    sessions.destroy = destroy;
    await doors.stopHttp();
  }
});

test.run();
