import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { AppError } from '../../../src/errors.js';
import { createLogger, type Logger, type LogLevel } from '../../../src/lib/logger.js';

const clock = { now: () => new Date('2024-05-06T07:08:09.123Z'), monotonicMs: () => 0 };

function capture(level: LogLevel = 'TRACE'): { log: Logger; lines: () => Record<string, unknown>[] } {
  const written: string[] = [];
  const log = createLogger({
    level,
    mongosyncId: 'coordinator',
    serverId: 'ab12cd34',
    clock,
    sink: { write: (line) => written.push(line) },
  });
  return { log, lines: () => written.map((line) => JSON.parse(line) as Record<string, unknown>) };
}

test('writes one JSON object per line in the shape of mongosync', () => {
  const written: string[] = [];
  const log = createLogger({
    level: 'INFO',
    mongosyncId: 'shard0',
    serverId: 'ab12cd34',
    clock,
    sink: { write: (line) => written.push(line) },
  });
  log.component('copy').info('range\ndone', { documents: 12 });
  assert.equal(written, [
    `{"time":"2024-05-06T07:08:09.123000+00:00","level":"info","serverID":"ab12cd34","mongosyncID":"shard0","pid":${process.pid},` +
      '"componentName":"copy","message":"range\\ndone","documents":12}\n',
  ]);
});

test('writes nothing below its level', () => {
  const { log, lines } = capture('WARN');
  log.trace('a');
  log.debug('b');
  log.info('c');
  log.warn('d');
  log.error('e');
  log.fatal('f');
  assert.equal(
    lines().map((line) => line['level']),
    ['warn', 'error', 'fatal'],
  );
});

test('cuts secrets from the message and from fields at any depth', () => {
  const { log, lines } = capture();
  log.info('to mongodb://u:hunter2@h', {
    uri: 'mongodb://u:hunter2@h',
    nested: [{ authToken: 'hunter2', deep: { password: 'hunter2' } }],
  });
  assert.not.match(JSON.stringify(lines()), 'hunter2');
});

test('an error becomes its name, code, message and causes', () => {
  const { log, lines } = capture();
  const root = Object.assign(new Error('connect ECONNREFUSED 127.0.0.1:1'), { code: 'ECONNREFUSED' });
  const error = new AppError('ClusterUnreachable', 'cluster0 cannot be reached', {
    cause: root,
    metadata: { cluster: 'cluster0' },
  });
  log.error('stopped', { error });
  assert.equal(lines()[0]?.['error'], {
    name: 'AppError',
    code: 'ClusterUnreachable',
    message: 'cluster0 cannot be reached',
    metadata: { cluster: 'cluster0' },
    cause: { name: 'Error', code: 'ECONNREFUSED', message: 'connect ECONNREFUSED 127.0.0.1:1' },
  });
});

test("shows no document of a driver's error", () => {
  const { log, lines } = capture();
  const error = Object.assign(new Error('update failed: { _id: 1, secretWord: "hunter2" } is bad'), {
    name: 'MongoServerError',
    code: 17_280,
    codeName: 'KeyTooLong',
    keyValue: { name: 'hunter2' },
    errorResponse: { errmsg: 'hunter2' },
  });
  log.error('stopped', { error: new AppError('Internal', 'bug', { cause: error }) });
  assert.not.match(JSON.stringify(lines()), 'hunter2');
  assert.match(JSON.stringify(lines()), 'KeyTooLong');
});

test('survives any value: cycles, big integers, bytes, dates, maps, functions', () => {
  const { log, lines } = capture();
  const cycle: Record<string, unknown> = {};
  cycle['self'] = cycle;
  log.info('odd', {
    cycle,
    big: 2n ** 70n,
    bytes: new Uint8Array(5),
    at: new Date('2024-01-01'),
    never: new Date(Number.NaN),
    map: new Map([['k', 1]]),
    set: new Set([1]),
    fn: () => 1,
    many: Array.from({ length: 1000 }, (_, i) => i),
    long: 'x'.repeat(100_000),
  });
  const line = lines()[0];
  assert.is(line?.['big'], '1180591620717411303424');
  assert.is(line?.['bytes'], '[5 bytes]');
  assert.is(line?.['never'], 'invalid date');
  assert.equal(line?.['map'], { k: 1 });
  assert.equal(line?.['set'], [1]);
  assert.ok(JSON.stringify(line).length < 20_000);
});

test("a field cannot replace a line's own facts", () => {
  const { log, lines } = capture();
  log.info('real', { message: 'fake', level: 'fatal' });
  assert.is(lines()[0]?.['message'], 'real');
  assert.is(lines()[0]?.['level'], 'info');
  assert.is(lines()[0]?.['_message'], 'fake');
});

test.run();
