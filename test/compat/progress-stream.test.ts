import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { createConnection } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { type CallOptions, ChannelCredentials, type ServiceError, status } from '@grpc/grpc-js';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ProgressRequest, ProgressResponse } from '../../gen/mongoferry/v1/sync_service.js';
import { NamespaceDetails, SyncServiceClient } from '../../gen/mongoferry/v1/sync_service.js';
import { type Doors, openDoors, readFailure } from '../support/api-doors.js';
import { FakeControl, fakeNamespace, RUNNING_SNAPSHOT } from '../support/fake-control.js';
import { eventually, within } from '../support/within.js';

/** Nothing is expected to take that long: the deadline of a wait for what must come. */
const WAIT_MS = 20_000;
/** A server's deadline that must not be waited for. */
const NEVER_MS = 3_600_000;

const EVERY_HOUR: ProgressRequest = {
  interval: { seconds: 3600, nanos: 0 },
  follow: false,
  details: NamespaceDetails.NONE,
};

/** A progress stream of the generated client, and what came of it. */
class Watcher {
  readonly states: string[] = [];
  readonly messages: ProgressResponse[] = [];
  ended: 'no' | 'ok' | ServiceError = 'no';
  readonly call;

  constructor(client: SyncServiceClient, change: Partial<ProgressRequest> = {}, options: Partial<CallOptions> = {}) {
    this.call = client.progress({ ...EVERY_HOUR, ...change }, options);
    this.call.on('data', (message: ProgressResponse) => {
      this.messages.push(message);
      this.states.push(message.progress?.state ?? '');
    });
    this.call.on('end', () => {
      if (this.ended === 'no') this.ended = 'ok';
    });
    this.call.on('error', (error: ServiceError) => {
      this.ended = error;
    });
  }

  received(count: number): Promise<true> {
    return eventually(WAIT_MS, () => this.states.length >= count, `${count} messages`);
  }

  async end(): Promise<'ok' | ServiceError> {
    await eventually(WAIT_MS, () => this.ended !== 'no', 'the end of the stream');
    return this.ended === 'no' ? 'ok' : this.ended;
  }
}

test('the first message comes at once, then one for each change, and none else within the interval', async () => {
  await using doors = await openDoors(new FakeControl(RUNNING_SNAPSHOT));
  const watcher = new Watcher(doors.client);
  await watcher.received(1);
  doors.control.set({ canCommit: true });
  await watcher.received(2);
  doors.control.set({ state: 'PAUSED' });
  await watcher.received(3);
  doors.control.set({ state: 'COMMITTED' });
  assert.is(await watcher.end(), 'ok');
  assert.equal(watcher.states, ['RUNNING', 'RUNNING', 'PAUSED', 'COMMITTED']);
  assert.is(watcher.messages[1]?.progress?.canCommit, true);
});

test('without a change there is a message per interval', async () => {
  await using doors = await openDoors(new FakeControl(RUNNING_SNAPSHOT));
  const began = performance.now();
  const watcher = new Watcher(doors.client, { interval: { seconds: 0, nanos: 100_000_000 } });
  await watcher.received(6);
  watcher.call.cancel();
  const [count, ms] = [watcher.states.length, performance.now() - began];
  // Not more of them than intervals have passed; a timer may be a millisecond early. A slow machine has fewer.
  assert.ok((count - 1) * 99 <= ms, `${count} messages in ${ms} ms`);
});

test('ends with OK after COMMITTED, having sent it', async () => {
  await using doors = await openDoors(new FakeControl({ ...RUNNING_SNAPSHOT, state: 'COMMITTING' }));
  const watcher = new Watcher(doors.client);
  await watcher.received(1);
  doors.control.set({ state: 'COMMITTED', canWrite: true });
  assert.is(await watcher.end(), 'ok');
  assert.equal(watcher.states, ['COMMITTING', 'COMMITTED']);
  assert.is(doors.control.listeners, 0);
});

for (const [name, change, reversible] of [
  ['follow is set', { follow: true }, false],
  ['the migration is reversible', {}, true],
] as const) {
  test(`goes on after COMMITTED when ${name}`, async () => {
    await using doors = await openDoors(new FakeControl({ ...RUNNING_SNAPSHOT, state: 'COMMITTED', reversible }));
    const watcher = new Watcher(doors.client, change);
    await watcher.received(1);
    doors.control.set({ warnings: ['a'] });
    await watcher.received(2);
    assert.is(watcher.ended, 'no');
    watcher.call.cancel();
  });
}

test('a failed migration ends the stream with its failure, behind the last snapshot; a single snapshot is still given', async () => {
  await using doors = await openDoors(new FakeControl(RUNNING_SNAPSHOT));
  const watcher = new Watcher(doors.client, { follow: true });
  await watcher.received(1);
  doors.control.set({ failure: { error: 'OplogRolledOver', description: 'start again', at: new Date(0) } });
  const failure = readFailure((await watcher.end()) as ServiceError);
  assert.is(failure.code, status.ABORTED);
  assert.is(failure.reason, 'MigrationFailed');
  assert.is(failure.message, 'OplogRolledOver: start again');
  assert.equal(failure.metadata, { cause: 'OplogRolledOver', failedAt: '1970-01-01T00:00:00.000Z' });
  assert.is(watcher.messages.at(-1)?.progress?.details?.failure?.error, 'OplogRolledOver');
  assert.is((await doors.http({ path: '/api/v1/progress' })).status, 200);
});

test('a client that goes away, or whose deadline passes, leaves nothing behind', async () => {
  await using doors = await openDoors(new FakeControl(RUNNING_SNAPSHOT));
  const late = new Watcher(doors.client, {}, { deadline: Date.now() + 200 });
  assert.is(((await late.end()) as ServiceError).code, status.DEADLINE_EXCEEDED);
  await eventually(WAIT_MS, () => doors.control.listeners === 0, 'no listener for the late one');
  const watchers = [new Watcher(doors.client), new Watcher(doors.client)];
  const events = openEvents(doors);
  await eventually(WAIT_MS, () => doors.control.listeners === 3, 'three listeners');
  for (const watcher of watchers) watcher.call.cancel();
  await eventually(WAIT_MS, () => doors.control.listeners === 1, 'one listener');
  events.destroy();
  await eventually(WAIT_MS, () => doors.control.listeners === 0, 'no listener');
  const { snapshots } = doors.control;
  doors.control.set({});
  // A stream that was left behind would have taken one before the answer comes.
  await doors.http({ path: '/api/v1/progress' });
  assert.is(doors.control.snapshots, snapshots + 1);
  assert.equal(
    doors.log.filter(({ level }) => level === 'ERROR'),
    [],
  );
});

test('a slow gRPC reader gets the newest snapshot, not every one in between', async () => {
  const control = new FakeControl({ ...RUNNING_SNAPSHOT, totalEventsApplied: 0 });
  control.namespaceList = Array.from({ length: 2000 }, (_, i) => fakeNamespace(`database.collection-${i}`, i));
  await using doors = await openDoors(control);
  const client = new SyncServiceClient(`127.0.0.1:${doors.grpcPort}`, ChannelCredentials.createInsecure());
  const call = client.progress({ ...EVERY_HOUR, details: NamespaceDetails.ALL });
  const seen: number[] = [];
  await within(WAIT_MS, once(call, 'data'), 'the first message');
  call.pause();
  for (let i = 1; i <= 400; i++) {
    control.set({ totalEventsApplied: i });
    await turn();
  }
  const taken = control.snapshots;
  call.on('data', (message: ProgressResponse) => seen.push(message.progress?.totalEventsApplied ?? -1));
  call.on('error', () => undefined);
  call.resume();
  await eventually(WAIT_MS, () => seen.at(-1) === 400, 'the newest snapshot');
  assert.ok(taken < 300, `${taken} snapshots were made for a reader that took none`);
  call.cancel();
  client.close();
});

test('a slow reader of events gets the newest snapshot, and a stopped one does not hold the others up', async () => {
  const control = new FakeControl({ ...RUNNING_SNAPSHOT, totalEventsApplied: 0 });
  control.namespaceList = Array.from({ length: 5000 }, (_, i) => fakeNamespace(`database.collection-${i}`, i));
  await using doors = await openDoors(control);
  const socket = createConnection(doors.httpPort, '127.0.0.1');
  socket.write('GET /api/v1/progress/stream?details=ALL&interval=3600s HTTP/1.1\r\nHost: localhost\r\n\r\n');
  await eventually(WAIT_MS, () => control.listeners === 1, 'the stream is open');
  socket.pause();
  const other = new Watcher(doors.client);
  for (let i = 1; i <= 100; i++) {
    control.set({ totalEventsApplied: i });
    await turn();
  }
  await eventually(
    WAIT_MS,
    () => other.messages.at(-1)?.progress?.totalEventsApplied === 100,
    'the other reader is up to date',
  );
  const all = new Promise<string>((resolve) => {
    let text = '';
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
      if (text.includes('"totalEventsApplied":100,')) resolve(text);
    });
    socket.resume();
  });
  const events = (await within(WAIT_MS, all, 'the newest snapshot')).split('data: ').length - 1;
  assert.ok(events < 60, `${events} events for a reader that stood still`);
  socket.destroy();
  other.call.cancel();
});

test('events are what progress answers, and end with the event "end"', async () => {
  await using doors = await openDoors(new FakeControl({ ...RUNNING_SNAPSHOT, state: 'COMMITTING' }));
  const events = openEvents(doors);
  await eventually(WAIT_MS, () => doors.control.listeners === 1, 'the stream is open');
  doors.control.set({ state: 'COMMITTED' });
  const text = await within(WAIT_MS, events.text, 'the end of the events');
  const response = await events.response;
  assert.is(response.headers['content-type'], 'text/event-stream; charset=utf-8');
  const blocks = text.trimEnd().split('\n\n');
  assert.is(blocks.length, 3);
  assert.is(blocks[2], 'event: end\ndata: {}');
  const single = await doors.http({ path: '/api/v1/progress' });
  assert.equal(JSON.parse(blocks[1]?.replace('data: ', '') ?? ''), single.json);
});

test('a failure ends the events with the event "error"; a bad request is a plain error', async () => {
  await using doors = await openDoors(new FakeControl(RUNNING_SNAPSHOT));
  const bad = await doors.http({ path: '/api/v1/progress/stream?interval=1h' });
  assert.is(bad.status, 400);
  assert.match(String(bad.json['errorDescription']), /^interval: /);
  const events = openEvents(doors);
  await eventually(WAIT_MS, () => doors.control.listeners === 1, 'the stream is open');
  doors.control.set({ failure: { error: 'OplogRolledOver', description: 'start again', at: new Date(0) } });
  const text = await within(WAIT_MS, events.text, 'the end of the events');
  assert.ok(
    text.endsWith(
      'event: error\ndata: {"success":false,"error":"MigrationFailed","errorDescription":"OplogRolledOver: start again"}\n\n',
    ),
    text,
  );
});

test('a server that stops ends the streams with ShuttingDown, and resolves soon', async () => {
  await using doors = await openDoors(new FakeControl(RUNNING_SNAPSHOT));
  const watcher = new Watcher(doors.client);
  const events = openEvents(doors);
  await watcher.received(1);
  await eventually(WAIT_MS, () => doors.control.listeners === 2, 'both streams are open');
  await within(WAIT_MS, Promise.all([doors.stopGrpc(NEVER_MS), doors.stopHttp()]), 'the stop');
  const failure = readFailure((await watcher.end()) as ServiceError);
  assert.is(failure.code, status.UNAVAILABLE);
  assert.is(failure.reason, 'ShuttingDown');
  assert.match(await events.text, /event: error\ndata: .*ShuttingDown/);
  assert.is(doors.control.listeners, 0);
});

test('a stop waits for a call that runs, but not beyond its deadline', async () => {
  const control = new FakeControl(RUNNING_SNAPSHOT);
  let open = (): void => undefined;
  control.gate = new Promise((resolve) => {
    open = resolve;
  });
  await using doors = await openDoors(control);
  const answered = new Promise<number>((resolve) =>
    doors.client.pause({}, (error) => resolve(error?.code ?? status.OK)),
  );
  await eventually(WAIT_MS, () => control.calls.length === 1, 'the call has arrived');
  const stopped = doors.stopGrpc(NEVER_MS);
  open();
  assert.is(await within(WAIT_MS, answered, 'the answer'), status.OK);
  await within(WAIT_MS, stopped, 'the stop');

  control.gate = new Promise(() => undefined);
  await using stuck = await openDoors(control);
  stuck.client.pause({}, () => undefined);
  await eventually(WAIT_MS, () => control.calls.length === 2, 'the call has arrived');
  await within(WAIT_MS, stuck.stopGrpc(100), 'the stop at its deadline');
});

interface Events {
  readonly response: Promise<IncomingMessage>;
  /** Everything up to the end of the answer. */
  readonly text: Promise<string>;
  destroy(): void;
}

function openEvents(doors: Doors): Events {
  const sent = request({
    host: '127.0.0.1',
    port: doors.httpPort,
    path: '/api/v1/progress/stream?interval=3600s',
    agent: false,
  });
  const response = new Promise<IncomingMessage>((resolve) => sent.on('response', resolve));
  const text = response.then(async (incoming) => {
    let all = '';
    incoming.on('error', () => undefined);
    incoming.on('data', (chunk: Buffer) => {
      all += chunk.toString('utf8');
    });
    await new Promise((resolve) => incoming.on('close', resolve));
    return all;
  });
  sent.on('error', () => undefined);
  sent.end();
  return { response, text, destroy: () => sent.destroy() };
}

test.run();
