import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { DoorsProcess } from '../support/doors-process.js';
import { eventually } from '../support/within.js';

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

test.run();
