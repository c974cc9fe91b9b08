import { connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ReservedBytes } from '../../src/api/reserved-bytes.js';
import { openDoors } from '../support/api-doors.js';
import { FakeControl, fakeNamespace, RUNNING_SNAPSHOT } from '../support/fake-control.js';
import { eventually } from '../support/within.js';

const WAIT_MS = 30_000;
const STALLED_MS = 500;
const GRPC_HEADERS = { ':method': 'POST', 'content-type': 'application/grpc', te: 'trailers' };

/** A migration whose every snapshot is some megabytes, more than sockets take in without a reader. */
function largeMigration(): FakeControl {
  const control = new FakeControl(RUNNING_SNAPSHOT);
  control.namespaceList = Array.from({ length: 40_000 }, (_, i) => fakeNamespace(`${'db'.repeat(30)}.c${i}`, 1));
  return control;
}

test('a progress stream over gRPC whose reader takes nothing is reset, and what it held is free again', async () => {
  const held = new ReservedBytes();
  const control = largeMigration();
  await using doors = await openDoors(control, { held, stalledMs: STALLED_MS });
  const session = connectHttp2(`http://127.0.0.1:${doors.grpcPort}`);
  try {
    const stream = session.request({ ...GRPC_HEADERS, ':path': '/mongoferry.v1.SyncService/Progress' });
    // details = ALL; nothing is read of the answer.
    stream.end(Buffer.from([0, 0, 0, 0, 2, 3 << 3, 3]));
    stream.on('error', () => undefined);
    await eventually(WAIT_MS, () => held.bytes > 1_000_000, 'a message that waits');
    assert.is(control.listeners, 1);
    await eventually(WAIT_MS, () => held.bytes === 0 && control.listeners === 0, 'the end of the stream');
  } finally {
    session.destroy();
  }
});

test('server-sent events whose reader takes nothing are cut off, and what they held is free again', async () => {
  const held = new ReservedBytes();
  const control = largeMigration();
  await using doors = await openDoors(control, { held, stalledMs: STALLED_MS });
  const socket = connect(doors.httpPort, '127.0.0.1');
  try {
    socket.on('error', () => undefined);
    socket.pause().write('GET /api/v1/progress/stream?details=ALL HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await eventually(WAIT_MS, () => held.bytes > 1_000_000, 'an event that waits');
    await eventually(WAIT_MS, () => held.bytes === 0 && control.listeners === 0, 'the end of the stream');
  } finally {
    socket.destroy();
  }
});

test('an answer that there is no room for is refused over both doors, and small ones are not', async () => {
  const held = new ReservedBytes(100_000);
  await using doors = await openDoors(largeMigration(), { held });
  const refused = await doors.http({ path: '/api/v1/progress?details=ALL' });
  assert.equal([refused.status, refused.json['error']], [503, 'ServerBusy']);
  assert.is((await doors.http({ path: '/api/v1/progress' })).status, 200);
  const code = await new Promise((resolve) => {
    doors.client.getProgress({ details: 3 }, (error) => resolve(error?.code));
  });
  assert.is(code, 8);
  await eventually(WAIT_MS, () => held.bytes === 0, 'nothing is held');
});

test('an answer that waits for room does so until there is some, or its reader is gone', async () => {
  const held = new ReservedBytes(200_000);
  using holder = held.open();
  holder.add(200_000);
  const stays = new AbortController();
  const leaves = new AbortController();
  const ended: string[] = [];
  const staying = held.roomFor(100_000, stays.signal).then(() => ended.push('room'));
  const leaving = held.roomFor(100_000, leaves.signal).then(() => ended.push('gone'));
  leaves.abort();
  await leaving;
  assert.equal(ended, ['gone']);
  holder.remove(150_000);
  await staying;
  assert.equal(ended, ['gone', 'room']);
});

test('the one that has held the longest goes on, the others wait for it, and small ones for nobody', async () => {
  const held = new ReservedBytes(200_000);
  using first = held.open();
  using second = held.open();
  using third = held.open();
  first.add(150_000);
  assert.ok(first.hasRoom);
  second.add(150_000);
  assert.not.ok(second.hasRoom);
  assert.ok(first.hasRoom, 'the oldest');
  third.add(60_000);
  assert.ok(third.hasRoom, 'a small one');
  let proceeds = false;
  const waiting = second.room().then(() => {
    proceeds = true;
  });
  first.add(100_000);
  await Promise.resolve();
  assert.not.ok(proceeds);
  first[Symbol.dispose]();
  await waiting;
  assert.is(held.bytes, 210_000);
});

test.run();
