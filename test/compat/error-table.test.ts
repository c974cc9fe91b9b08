import { create, fromJson, type JsonObject, toBinary } from '@bufbuild/protobuf';
import { ChannelCredentials, makeClientConstructor, type ServiceError, status } from '@grpc/grpc-js';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { httpRule, messageType, syncService } from '../../src/api/descriptors.js';
import { AppError, type ErrorName } from '../../src/errors.js';
import type { Snapshot } from '../../src/progress/control.js';
import { type Doors, type GrpcFailure, openDoors, readFailure } from '../support/api-doors.js';
import { FakeControl, IDLE_SNAPSHOT, RUNNING_SNAPSHOT } from '../support/fake-control.js';
import { within } from '../support/within.js';

const WAIT_MS = 20_000;

/** One row: the same call at both doors, and the same fact as the answer. */
interface Row {
  readonly name: string;
  readonly method: string;
  /** The request as proto JSON, for both doors unless `body` is given. */
  readonly request?: JsonObject;
  readonly snapshot?: Snapshot;
  readonly failWith?: unknown;
  readonly expect: {
    readonly grpc: number;
    readonly http: number;
    readonly error?: ErrorName;
    /** Every violated field, in order, as gRPC names it. */
    readonly fields?: readonly string[];
    /** What the text must say. */
    readonly says?: RegExp;
  };
}

const GOOD = { source: 'cluster0', destination: 'cluster1' };
const invalid = (fields: string[], says?: RegExp): Row['expect'] => ({
  grpc: status.INVALID_ARGUMENT,
  http: 400,
  error: 'InvalidRequest',
  fields,
  ...(says ? { says } : {}),
});
const refused = (says: RegExp): Row['expect'] => ({
  grpc: status.FAILED_PRECONDITION,
  http: 409,
  error: 'InvalidStateTransition',
  says,
});

const ROWS: readonly Row[] = [
  { name: 'a good start', method: 'Start', request: GOOD, expect: { grpc: status.OK, http: 200 } },
  {
    name: 'source and destination missing',
    method: 'Start',
    request: {},
    expect: invalid(['source', 'destination'], /required/),
  },
  {
    name: 'one cluster twice',
    method: 'Start',
    request: { source: 'cluster0', destination: 'cluster0' },
    expect: invalid(['destination']),
  },
  {
    name: 'several bad values at once',
    method: 'Start',
    request: {
      source: 'a',
      destination: 'cluster1',
      buildIndexes: 'sometimes',
      enableUserWriteBlocking: 'yes',
      reversible: true,
    },
    expect: invalid(['source', 'buildIndexes', 'enableUserWriteBlocking', 'reversible']),
  },
  {
    name: 'write blocking as a number',
    method: 'Start',
    request: { ...GOOD, enableUserWriteBlocking: 1 },
    expect: invalid(['enableUserWriteBlocking']),
  },
  {
    name: 'a filter with neither and with both names of a database',
    method: 'Start',
    request: {
      ...GOOD,
      includeNamespaces: [{ collections: ['a'] }, { database: 'a', databaseRegex: { pattern: '^a' } }],
    },
    expect: invalid(['includeNamespaces[0]', 'includeNamespaces[1]']),
  },
  {
    name: 'a bad regular expression',
    method: 'Start',
    request: { ...GOOD, excludeNamespaces: [{ databaseRegex: { pattern: '', options: 'ig' } }] },
    expect: invalid(['excludeNamespaces[0].databaseRegex.pattern', 'excludeNamespaces[0].databaseRegex.options']),
  },
  {
    name: 'shard keys of the wrong shape',
    method: 'Start',
    request: {
      ...GOOD,
      sharding: {
        shardingEntries: [
          {
            database: 'd',
            collection: 'c',
            shardCollection: { key: [{ a: 1, b: 1 }, {}, { a: 2 }, { a: '1' }, { a: 1 }, { a: -1 }] },
          },
          { database: '', collection: '' },
        ],
      },
    },
    expect: invalid([
      'sharding.shardingEntries[0].shardCollection.key[0]',
      'sharding.shardingEntries[0].shardCollection.key[1]',
      'sharding.shardingEntries[0].shardCollection.key[2].a',
      'sharding.shardingEntries[0].shardCollection.key[3].a',
      'sharding.shardingEntries[0].shardCollection.key[5]',
      'sharding.shardingEntries[1].database',
      'sharding.shardingEntries[1].collection',
      'sharding.shardingEntries[1].shardCollection.key',
    ]),
  },
  {
    name: 'a document filter of the wrong shape',
    method: 'Start',
    request: {
      ...GOOD,
      documentFilter: {
        field: 'a.b',
        matchValues: [2 ** 53, { $oid: 'x' }, [1], { a: 1 }, { $numberLong: '1' }, 'x', 1.5, true],
      },
    },
    expect: invalid(
      [
        'documentFilter.field',
        'documentFilter.matchValues[0]',
        'documentFilter.matchValues[1]',
        'documentFilter.matchValues[2]',
        'documentFilter.matchValues[3]',
      ],
      /\{"\$numberLong": "…"\}/,
    ),
  },
  {
    name: 'a remap without names',
    method: 'Start',
    request: { ...GOOD, namespaceRemap: [{ from: { database: 'a' } }] },
    expect: invalid(['namespaceRemap[0].to.database']),
  },
  {
    name: 'an interval that is too short',
    method: 'Progress',
    request: { interval: '0.05s' },
    expect: invalid(['interval']),
  },
  {
    name: 'an interval that is too long',
    method: 'Progress',
    request: { interval: '3600.1s' },
    expect: invalid(['interval']),
  },
  {
    name: 'a page that is too large, and a foreign token',
    method: 'ListNamespaces',
    request: { pageSize: 1001, pageToken: 'a' },
    expect: invalid(['pageSize', 'pageToken']),
  },
  {
    name: 'a check of bad options',
    method: 'Check',
    request: { options: { destination: 'x', buildIndexes: '' } },
    expect: invalid(['options.destination', 'options.buildIndexes']),
  },
  { name: 'a check of nothing', method: 'Check', request: { options: {} }, expect: { grpc: status.OK, http: 200 } },

  { name: 'pause in IDLE', method: 'Pause', expect: refused(/IDLE.*RUNNING/) },
  { name: 'resume in RUNNING', method: 'Resume', snapshot: RUNNING_SNAPSHOT, expect: refused(/RUNNING.*PAUSED/) },
  {
    name: 'start while COMMITTED',
    method: 'Start',
    request: GOOD,
    snapshot: { ...RUNNING_SNAPSHOT, state: 'COMMITTED' },
    expect: refused(/COMMITTED/),
  },
  { name: 'reverse in RUNNING', method: 'Reverse', snapshot: RUNNING_SNAPSHOT, expect: refused(/RUNNING/) },
  { name: 'commit in RUNNING', method: 'Commit', snapshot: RUNNING_SNAPSHOT, expect: { grpc: status.OK, http: 200 } },

  {
    name: 'a preflight check that failed',
    method: 'Start',
    request: GOOD,
    failWith: new AppError('DestinationNotEmpty', 'the destination has a.b', { metadata: { namespaces: 'a.b' } }),
    expect: { grpc: status.FAILED_PRECONDITION, http: 412, error: 'DestinationNotEmpty', says: /a\.b/ },
  },
  {
    name: 'a cluster that cannot be reached, whose password stays unknown',
    method: 'Start',
    request: GOOD,
    failWith: new AppError('ClusterUnreachable', 'cannot reach mongodb://admin:hunter2@h:1'),
    expect: { grpc: status.UNAVAILABLE, http: 503, error: 'ClusterUnreachable', says: /^((?!hunter2).)*$/ },
  },
  {
    name: 'a migration that has failed',
    method: 'Pause',
    failWith: new AppError('MigrationFailed', 'OplogRolledOver: start again'),
    expect: { grpc: status.ABORTED, http: 500, error: 'MigrationFailed', says: /start again/ },
  },
  {
    name: 'a bug of ours',
    method: 'Pause',
    failWith: new TypeError('cannot read hunter2 of undefined'),
    expect: { grpc: status.INTERNAL, http: 500, error: 'Internal', says: /^((?!hunter2).)*$/ },
  },
];

for (const row of ROWS) {
  test(`gRPC: ${row.name}`, async () => {
    await using doors = await openDoors(controlOf(row));
    const failure = await within(WAIT_MS, callGrpc(doors, row), row.name);
    assert.is(failure?.code ?? status.OK, row.expect.grpc);
    assert.is(failure?.reason, row.expect.error);
    if (failure === undefined) return;
    assert.is(failure.domain, 'mongoferry');
    assert.equal(
      failure.violations.map(({ field }) => field),
      row.expect.fields ?? [],
    );
    assert.match(failure.message, row.expect.says ?? /./);
  });

  test(`HTTP: ${row.name}`, async () => {
    await using doors = await openDoors(controlOf(row));
    const answer = await within(WAIT_MS, callHttp(doors, row), row.name);
    assert.is(answer.status, row.expect.http, answer.text);
    assert.is(answer.json['success'], row.expect.error === undefined);
    assert.is(answer.json['error'], row.expect.error);
    if (row.expect.error === undefined) return;
    const text = String(answer.json['errorDescription']);
    assert.equal(Object.keys(answer.json).sort(), ['error', 'errorDescription', 'success']);
    assert.match(text, row.expect.says ?? /./);
    for (const field of row.expect.fields ?? [])
      assert.ok(text.includes(field.replace(/^options\./, '')), `${field} in ${text}`);
  });
}

function controlOf(row: Row): FakeControl {
  const control = new FakeControl(row.snapshot ?? IDLE_SNAPSHOT);
  control.failWith = row.failWith;
  return control;
}

/** Calls by the descriptor, so that a row needs no code of its own. Undefined when the call succeeds. */
function callGrpc(doors: Doors, row: Row): Promise<GrpcFailure | undefined> {
  const type = messageType(`mongoferry.v1.${row.method}Request`);
  const bytes = Buffer.from(toBinary(type, row.request ? fromJson(type, row.request) : create(type)));
  return callBytes(doors, row.method, bytes);
}

function callBytes(doors: Doors, method: string, bytes: Buffer): Promise<GrpcFailure | undefined> {
  const identity = (value: Buffer): Buffer => value;
  const Client = makeClientConstructor({}, 'raw');
  const client = new Client(`127.0.0.1:${doors.grpcPort}`, ChannelCredentials.createInsecure());
  const call = client.makeServerStreamRequest(`/mongoferry.v1.SyncService/${method}`, identity, identity, bytes);
  return new Promise<GrpcFailure | undefined>((resolve) => {
    call.on('data', () => undefined);
    call.on('error', (error: ServiceError) => resolve(readFailure(error)));
    call.on('end', () => resolve(undefined));
  }).finally(() => client.close());
}

function callHttp(doors: Doors, row: Row): ReturnType<Doors['http']> {
  const method = syncService.methods.find((one) => one.name === row.method);
  assert.ok(method);
  const rule = httpRule(method);
  if (rule.method === 'GET') {
    const query = new URLSearchParams(
      Object.entries(row.request ?? {}).map(([name, value]) => [name, String(value)] as [string, string]),
    );
    return doors.http({ path: `${rule.path}?${query}` });
  }
  const body = rule.body === '*' ? row.request : (row.request?.[rule.body] as JsonObject | undefined);
  return doors.http({ method: 'POST', path: rule.path, ...(body ? { body: JSON.stringify(body) } : {}) });
}

test('gRPC: bytes that are no message are an invalid request', async () => {
  await using doors = await openDoors();
  const failure = await callBytes(doors, 'Start', Buffer.from([0x0a, 0xff, 0x01]));
  assert.is(failure?.code, status.INVALID_ARGUMENT);
  assert.is(failure?.reason, 'InvalidRequest');
});

test('gRPC: an integer beyond 2^53 is an invalid request', async () => {
  await using doors = await openDoors();
  // interval { seconds: 2^62 }
  const failure = await callBytes(
    doors,
    'Progress',
    Buffer.from([0x0a, 0x0a, 0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40]),
  );
  assert.is(failure?.code, status.INVALID_ARGUMENT);
  assert.is(failure?.reason, 'InvalidRequest');
  const tooLarge = await callBytes(
    doors,
    'Progress',
    Buffer.from([0x0a, 0x0a, 0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40]),
  );
  assert.is(tooLarge?.code, status.INVALID_ARGUMENT);
});

test('gRPC: unknown fields are refused, at the top and nested, with their paths', async () => {
  await using doors = await openDoors();
  // field 99 = varint 1; include_namespaces { database: "a", field 77 = varint 1 }
  const bytes = Buffer.from([0x98, 0x06, 0x01, 0x32, 0x06, 0x0a, 0x01, 0x61, 0xe8, 0x04, 0x01]);
  const good = Buffer.from([0x0a, 8, ...Buffer.from('cluster0'), 0x12, 8, ...Buffer.from('cluster1')]);
  const failure = await callBytes(doors, 'Start', Buffer.concat([good, bytes]));
  assert.is(failure?.code, status.INVALID_ARGUMENT);
  assert.equal(
    failure?.violations.map(({ field }) => field),
    ['#99', 'includeNamespaces[0].#77'],
  );
  assert.equal(doors.control.calls, []);
});

test('gRPC: a known field of another wire type is refused as unknown', async () => {
  await using doors = await openDoors();
  const failure = await callBytes(doors, 'Start', Buffer.from([0x08, 0x01]));
  assert.equal(failure?.violations[0]?.field, '#1');
});

test('gRPC: __proto__ as a field of a shard key is refused', async () => {
  await using doors = await openDoors();
  const value = [0x11, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f];
  const entry = (name: string): number[] => {
    const inner = [0x0a, name.length, ...Buffer.from(name), 0x12, value.length, ...value];
    return [0x0a, inner.length, ...inner];
  };
  const nest = (tag: number, inner: readonly number[]): number[] => [tag, inner.length, ...inner];
  const key = [...entry('a'), ...entry('__proto__')];
  const request = nest(0x5a, nest(0x12, [0x0a, 1, 0x64, 0x12, 1, 0x63, ...nest(0x1a, nest(0x0a, key))]));
  const good = [0x0a, 8, ...Buffer.from('cluster0'), 0x12, 8, ...Buffer.from('cluster1')];
  const failure = await callBytes(doors, 'Start', Buffer.from([...good, ...request]));
  assert.ok(
    failure?.violations.some(({ field }) => field.endsWith('key[0].fields.__proto__')),
    JSON.stringify(failure),
  );
});

test('gRPC: a request over 16 MiB is refused, and the server goes on', async () => {
  await using doors = await openDoors();
  const failure = await callBytes(doors, 'Start', Buffer.alloc(16 * 1024 * 1024 + 1));
  assert.is(failure?.code, status.RESOURCE_EXHAUSTED);
  assert.is(await callBytes(doors, 'GetProgress', Buffer.alloc(0)), undefined);
});

test('gRPC: a status with thousands of violations still fits into the trailers of any client', async () => {
  await using doors = await openDoors();
  const failure = await callGrpc(doors, {
    name: '',
    method: 'Start',
    request: { ...GOOD, includeNamespaces: Array.from({ length: 900 }, () => ({})) },
    expect: invalid([]),
  });
  assert.is(failure?.code, status.INVALID_ARGUMENT);
  assert.match(failure?.violations.at(-1)?.description ?? '', /^and [\d,]+ more violations$/);
});

test('a bug is logged with its cause, once per call', async () => {
  await using doors = await openDoors();
  doors.control.failWith = new TypeError('cannot read hunter2 of undefined');
  await doors.http({ method: 'POST', path: '/api/v1/pause' });
  const errors = doors.log.filter(({ level }) => level === 'ERROR');
  assert.is(errors.length, 1);
  assert.is(errors[0]?.fields?.['error'], doors.control.failWith);
});

test('without the token every call is refused at both doors, and with it none', async () => {
  await using doors = await openDoors(new FakeControl(), { authToken: 's3cret-token' });
  const failure = await callBytes(doors, 'GetProgress', Buffer.alloc(0));
  assert.is(failure?.code, status.UNAUTHENTICATED);
  assert.is(failure?.reason, 'Unauthenticated');
  const wrong = await doors.http({ path: '/api/v1/progress', headers: { authorization: 'Bearer wrong' } });
  assert.is(wrong.status, 401);
  assert.is(wrong.json['error'], 'Unauthenticated');
  const stream = await callBytes(doors, 'Progress', Buffer.alloc(0));
  assert.is(stream?.code, status.UNAUTHENTICATED);
  const right = await doors.http({ path: '/api/v1/progress', headers: { authorization: 'Bearer s3cret-token' } });
  assert.is(right.status, 200);
  assert.is((await doors.http({ path: '/healthz' })).status, 200);
  assert.is((await doors.http({ path: '/metrics' })).status, 401);
});

test.run();
