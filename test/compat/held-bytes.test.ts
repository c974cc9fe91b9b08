import { readdirSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { connect, type Socket } from 'node:net';
import { ChannelCredentials } from '@grpc/grpc-js';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ServerReflectionRequest } from '../../gen/grpc/reflection/v1/reflection.js';
import {
  GetProgressRequest,
  type GetProgressResponse,
  SyncServiceClient,
} from '../../gen/mongoferry/v1/sync_service.js';
import { sendHttp, unary } from '../support/api-doors.js';
import { DoorsProcess } from '../support/doors-process.js';
import { eventually, within } from '../support/within.js';

const WAIT_MS = 60_000;
const MIB = 1024 * 1024;
/** 64 MiB are the budget; the rest is what Node makes of them. 40 bodies of 15 MiB would be 600 MiB. */
const MAX_GROWTH = 330 * MIB;

/** A small call by each door. */
async function answersOthers({ ports }: DoorsProcess): Promise<void> {
  const http = sendHttp(ports.httpPort, { path: '/api/v1/progress' });
  assert.is((await within(WAIT_MS, http, 'an answer over HTTP')).status, 200);
  const client = new SyncServiceClient(`127.0.0.1:${ports.grpcPort}`, ChannelCredentials.createInsecure());
  try {
    const grpc = unary<GetProgressRequest, GetProgressResponse>(
      client,
      client.getProgress,
      GetProgressRequest.create(),
    );
    assert.is((await within(WAIT_MS, grpc, 'an answer over gRPC')).progress?.state, 'IDLE');
  } finally {
    client.close();
  }
}

/** Resolves once the server takes in no more: its memory has not grown for a while. */
async function settledRss(server: DoorsProcess): Promise<number> {
  let last = 0;
  let same = 0;
  return await eventually(
    WAIT_MS,
    async () => {
      const { rssBytes } = await server.usage();
      same = Math.abs(rssBytes - last) < 4 * MIB ? same + 1 : 0;
      last = rssBytes;
      return same >= 3 ? rssBytes : 0;
    },
    'memory that stays the same',
    { everyMs: 300 },
  );
}

test('bodies in flight over HTTP are held within one budget, and all are answered in the end', async () => {
  await using server = await DoorsProcess.start();
  await answersOthers(server);
  const before = (await server.usage()).rssBytes;
  const body = Buffer.from(`{"source":"${'a'.repeat(15 * MIB)}"}`);
  const statuses: number[] = [];
  const senders = Array.from({ length: 40 }, () => {
    const headers = { 'content-length': body.byteLength };
    const sender = httpRequest({ port: server.ports.httpPort, method: 'POST', path: '/api/v1/start', headers });
    sender.on('response', (response) => {
      statuses.push(response.statusCode ?? 0);
      response.resume();
    });
    sender.on('error', () => statuses.push(-1));
    sender.write(body.subarray(0, -1));
    return sender;
  });
  const growth = (await settledRss(server)) - before;
  assert.ok(growth < MAX_GROWTH, `memory grew by ${growth / MIB} MiB`);
  await answersOthers(server);
  for (const sender of senders) sender.end(body.subarray(-1));
  await eventually(WAIT_MS, () => statuses.length === senders.length, 'all answers');
  assert.equal(
    statuses,
    statuses.map(() => 400),
  );
});

const GRPC_HEADERS = { ':method': 'POST', 'content-type': 'application/grpc', te: 'trailers' };

function framed(message: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.byteLength, 1);
  return Buffer.concat([head, message]);
}

test('messages in flight over gRPC are held within the budget, and all are answered in the end', async () => {
  await using server = await DoorsProcess.start();
  await answersOthers(server);
  const before = (await server.usage()).rssBytes;
  const message = framed(Buffer.alloc(15 * MIB));
  const sessions = Array.from({ length: 40 }, () => connectHttp2(`http://127.0.0.1:${server.ports.grpcPort}`));
  try {
    let answers = 0;
    const streams = sessions.map((session) => {
      const stream = session.request({ ...GRPC_HEADERS, ':path': '/mongoferry.v1.SyncService/Start' });
      stream.on('response', () => answers++);
      stream.resume();
      stream.write(message.subarray(0, -1));
      return stream;
    });
    const growth = (await settledRss(server)) - before;
    assert.ok(growth < MAX_GROWTH, `memory grew by ${growth / MIB} MiB`);
    await answersOthers(server);
    for (const stream of streams) stream.end(message.subarray(-1));
    await eventually(WAIT_MS, () => answers === streams.length, 'all answers');
  } finally {
    for (const session of sessions) session.destroy();
  }
});

for (const version of ['v1', 'v1alpha']) {
  test(`a reader of reflection (${version}) that takes nothing costs one answer`, async () => {
    await using server = await DoorsProcess.start();
    await answersOthers(server);
    const before = (await server.usage()).rssBytes;
    const ask = framed(
      ServerReflectionRequest.encode({
        host: '',
        messageRequest: { $case: 'fileContainingSymbol', value: 'mongoferry.v1.SyncService' },
      }).finish(),
    );
    const session = connectHttp2(`http://127.0.0.1:${server.ports.grpcPort}`);
    try {
      const path = `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`;
      const stream = session.request({ ...GRPC_HEADERS, ':path': path });
      // Some 30 kB each: 600 MB, were they all answered.
      stream.write(Buffer.concat(Array.from({ length: 20_000 }, () => ask)));
      const growth = (await settledRss(server)) - before;
      assert.ok(growth < 100 * MIB, `memory grew by ${growth / MIB} MiB`);
      await answersOthers(server);
    } finally {
      session.destroy();
    }
  });
}

async function opened(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => undefined);
  await new Promise<void>((resolve) => {
    socket.once('connect', resolve);
    socket.once('close', () => resolve());
  });
  return socket;
}

test('connections that do nothing lock nobody out of either door', async () => {
  await using server = await DoorsProcess.start();
  const sockets: Socket[] = [];
  try {
    for (const port of [server.ports.httpPort, server.ports.grpcPort])
      for (let i = 0; i < 1100; i++) sockets.push(await opened(port));
    await answersOthers(server);
  } finally {
    for (const socket of sockets) socket.destroy();
  }
});

test('a process without file handles left answers again once it has some', async () => {
  await using server = await DoorsProcess.start(100);
  await answersOthers(server);
  for (const port of [server.ports.httpPort, server.ports.grpcPort]) {
    const sockets: Socket[] = [];
    try {
      for (let i = 0; i < 200; i++) sockets.push(await opened(port));
      const handles = () => readdirSync(`/proc/${server.pid}/fd`).length >= 98;
      await eventually(WAIT_MS, handles, 'no handles left');
    } finally {
      for (const socket of sockets) socket.destroy();
    }
    const answers = () =>
      answersOthers(server).then(
        () => true,
        () => false,
      );
    await eventually(WAIT_MS, answers, 'others being answered');
  }
});

test.run();
