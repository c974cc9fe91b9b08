import { Client, credentials, type ServiceError } from '@grpc/grpc-js';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { StartRequest } from '../../gen/mongoferry/v1/start_options.js';
import { CheckRequest } from '../../gen/mongoferry/v1/sync_service.js';
import { sendHttp } from '../support/api-doors.js';
import { DoorsProcess } from '../support/doors-process.js';
import { within } from '../support/within.js';

/**
 * What a request may cost is a matter of its bytes, whatever they are: each shape is sent next to a plain request of the
 * same size, and the CPU time of the server's process is compared. Work over n² is hundreds of times the plain one's.
 */
const WAIT_MS = 300_000;
const SMALL = 256 * 1024;
const LARGE = 16 * 1024 * 1024 - 1024;
/** What one request of each size costs besides, before its code is compiled: in milliseconds. */
const FIXED_MS = 500;
const MAX_RATIO = 8;
const MAX_ANSWER_BYTES = 32 * 1024;

function repeated(text: string, bytes: number): string {
  return text.repeat(Math.max(1, Math.floor(bytes / text.length)));
}

function numbered(make: (index: number) => string, bytes: number): string {
  const parts: string[] = [];
  for (let length = 0, i = 0; length < bytes; i++) {
    const part = make(i);
    parts.push(part);
    length += part.length + 1;
  }
  return parts.join(',');
}

const CLUSTERS = '"source":"cluster0","destination":"cluster1"';
const plain = (bytes: number): string => `{${CLUSTERS},"buildIndexes":"${'a'.repeat(bytes)}"}`;

/** By what they are, JSON bodies of some size. */
const BODIES: Readonly<Record<string, (bytes: number) => string>> = {
  'items that are no objects': (n) => `{"includeNamespaces":[${repeated('1,', n)}1]}`,
  'filter entries that are empty': (n) => `{"excludeNamespaces":[${repeated('{},', n)}{}]}`,
  'unknown fields': (n) => `{${numbered((i) => `"f${i}":1`, n)}}`,
  'fields given twice': (n) => `{${repeated('"a":1,', n)}"a":1}`,
  'regular expressions': (n) =>
    `{${CLUSTERS},"includeNamespaces":[${numbered(() => '{"databaseRegex":{"pattern":"a"}}', n)}]}`,
  'bad options of expressions': (n) =>
    `{${CLUSTERS},"includeNamespaces":[${numbered(() => '{"databaseRegex":{"pattern":"a","options":"q"}}', n)}]}`,
  'collections without a name': (n) =>
    `{${CLUSTERS},"includeNamespaces":[{"database":"a","collections":[${repeated('"",', n)}""]}]}`,
  'databases remapped to one': (n) =>
    `{${CLUSTERS},"namespaceRemap":[${numbered((i) => `{"from":{"database":"a${i}"},"to":{"database":"A"}}`, n)}]}`,
  'natural order': (n) => `{${CLUSTERS},"copyInNaturalOrder":[${numbered(() => '{"database":""}', n)}]}`,
  'shard keys': (n) =>
    `{${CLUSTERS},"sharding":{"shardingEntries":[{"database":"a","collection":"b","shardCollection":{"key":[${numbered(() => '{"a":1}', n)}]}}]}}`,
  'collections to shard': (n) => `{${CLUSTERS},"sharding":{"shardingEntries":[${repeated('{},', n)}{}]}}`,
  'match values': (n) =>
    `{${CLUSTERS},"documentFilter":{"field":"a","matchValues":[${numbered(() => '{"$oid":"0"}', n)}]}}`,
  'a name of many parts': (n) => `{"${repeated('a.', n)}":1}`,
  'names of many parts, nested': (n) => `${repeated(`{"${'a.'.repeat(500)}":`, Math.min(n, 25_000))}1${'}'.repeat(25)}`,
  'a text of dots': (n) => `{"source":"${repeated('a.', n)}"}`,
  'a text of connection strings': (n) => `{"source":"${repeated('mongodb://', n)}"}`,
  'a text of duplicate keys': (n) => `{"source":"${repeated('dup key: {', n)}"}`,
  'a text of headers': (n) => `{"source":"${repeated('Bearer ', n)}"}`,
  'a text of passwords': (n) => `{"source":"${repeated('password = ', n)}"}`,
  'a text of escapes': (n) => `{"source":"${repeated('\\u0061', n)}"}`,
  'lines without an end': (n) => `{${repeated('\n', n)}`,
};

/** The others are cut off at the same number of values as in a small request. */
const SHOWN_BY_LARGE = new Set([
  'items that are no objects',
  'unknown fields',
  'a name of many parts',
  'a text of connection strings',
  'a text of passwords',
  'a text of escapes',
  'lines without an end',
]);

for (const bytes of [SMALL, LARGE]) {
  test(`over HTTP, ${bytes} bytes of any shape cost about what plain ones do`, async () => {
    await using server = await DoorsProcess.start();
    const send = async (path: string, body: string) => {
      const before = (await server.usage()).cpuMs;
      const sending = sendHttp(server.ports.httpPort, { method: 'POST', path, body });
      const answer = await within(WAIT_MS, sending, 'the answer');
      return { answer, cpuMs: (await server.usage()).cpuMs - before };
    };
    const limit = MAX_RATIO * (await send('/api/v1/start', plain(bytes))).cpuMs + FIXED_MS;
    for (const [name, make] of Object.entries(BODIES)) {
      if (bytes === LARGE && !SHOWN_BY_LARGE.has(name)) continue;
      for (const path of bytes === LARGE ? ['/api/v1/start'] : ['/api/v1/start', '/api/v1/check']) {
        const { answer, cpuMs } = await send(path, make(bytes - 300));
        assert.is(answer.status, 400, name);
        assert.is(answer.json['error'], 'InvalidRequest');
        assert.ok(answer.text.length < MAX_ANSWER_BYTES, `${name}: the answer has ${answer.text.length} bytes`);
        assert.ok(cpuMs < limit, `${name} at ${path}: ${cpuMs} ms of CPU time, plain ones ${limit} ms at most`);
      }
    }
  });
}

const namedEntry = (number: number, content: Buffer): Buffer => {
  const head = [(number << 3) | 2];
  let length = content.length;
  for (; length > 127; length >>>= 7) head.push((length & 127) | 128);
  return Buffer.concat([Buffer.from([...head, length]), content]);
};
const repeatedBytes = (part: Buffer, bytes: number): Buffer =>
  Buffer.concat(Array.from({ length: Math.floor(bytes / part.length) }, () => part));

/** By what they are, encoded StartRequests of some size. */
const MESSAGES: Readonly<Record<string, (bytes: number) => Buffer>> = {
  'filter entries that are empty': (n) => Buffer.alloc(n & ~1, Buffer.from([(6 << 3) | 2, 0])),
  'unknown fields': (n) => Buffer.alloc(n & ~1, Buffer.from([15 << 3, 1])),
  'collections without a name': (n) => namedEntry(6, Buffer.alloc(n & ~1, Buffer.from([(3 << 3) | 2, 0]))),
  'regular expressions': (n) => repeatedBytes(namedEntry(6, namedEntry(2, namedEntry(1, Buffer.from('a')))), n),
  'databases remapped': (n) => Buffer.alloc(n & ~1, Buffer.from([(13 << 3) | 2, 0])),
  'match values': (n) => namedEntry(14, Buffer.alloc(n & ~1, Buffer.from([(2 << 3) | 2, 0]))),
  'a source of dots': (n) => namedEntry(1, Buffer.alloc(n, 'a.')),
  'map keys of dots': (n) => namedEntry(4, namedEntry(5, namedEntry(1, namedEntry(1, Buffer.alloc(n, 'a.'))))),
};

for (const bytes of [SMALL, LARGE]) {
  test(`over gRPC, ${bytes} bytes of any shape cost about what plain ones do`, async () => {
    await using server = await DoorsProcess.start();
    const client = new Client(`127.0.0.1:${server.ports.grpcPort}`, credentials.createInsecure());
    const send = async (method: string, message: Buffer) => {
      const before = (await server.usage()).cpuMs;
      const asked = new Promise<ServiceError | null>((resolve) => {
        const same = (buffer: Buffer): Buffer => buffer;
        client.makeUnaryRequest(`/mongoferry.v1.SyncService/${method}`, same, same, message, (error) => resolve(error));
      });
      const error = await within(WAIT_MS, asked, 'the answer');
      return { error, cpuMs: (await server.usage()).cpuMs - before };
    };
    try {
      const source = { source: 'a'.repeat(bytes) };
      const cheap = Buffer.from(StartRequest.encode(StartRequest.create(source)).finish());
      const limit = MAX_RATIO * (await send('Start', cheap)).cpuMs + FIXED_MS;
      for (const [name, make] of Object.entries(MESSAGES)) {
        const message = make(bytes - 300);
        const options = Buffer.concat([namedEntry(1, message)]);
        assert.ok(CheckRequest.decode(namedEntry(1, Buffer.alloc(0))).options !== undefined);
        const calls = [['Start', message] as const, ['Check', options] as const];
        for (const [method, sent] of bytes === LARGE ? calls.slice(0, 1) : calls) {
          const { error, cpuMs } = await send(method, sent);
          assert.is(error?.code, 3, `${name}: ${error?.message}`);
          assert.ok(cpuMs < limit, `${name} to ${method}: ${cpuMs} ms of CPU time, plain ones ${limit} ms at most`);
        }
      }
    } finally {
      client.close();
    }
  });
}

test('many violations are told in part, and counted', async () => {
  await using server = await DoorsProcess.start();
  const body = `{${numbered((i) => `"f${i}":1`, 80_000)}}`;
  const count = body.split(':').length - 1;
  const answer = await sendHttp(server.ports.httpPort, { method: 'POST', path: '/api/v1/start', body });
  const described = String(answer.json['errorDescription']);
  assert.match(described, /^f0: is not a known field; f1: /);
  // source and destination are missing, too.
  assert.match(described, new RegExp(`; and ${(count + 2 - 20).toLocaleString('en-US')} more$`));
});

test.run();
