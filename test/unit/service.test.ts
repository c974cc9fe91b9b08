import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Config, loadConfig } from '../../src/config/config.js';
import { AppError } from '../../src/errors.js';
import { aborted } from '../../src/lib/signals.js';
import type { Migration } from '../../src/migration/migration.js';
import { buildService, type ServiceParts } from '../../src/service.js';
import { FakeMigration } from '../support/fake-control.js';

type Line = Record<string, unknown> & { level: string; message: string };

/** A service of fakes that write down what happens to them. */
function harness(
  options: {
    readonly run?: Migration['run'];
    readonly flags?: Record<string, unknown>;
    readonly parts?: Partial<ServiceParts>;
  } = {},
) {
  const events: string[] = [];
  const lines: Line[] = [];
  const note = (event: string) => () => {
    events.push(event);
  };
  const parts: Partial<ServiceParts> = {
    openSink: () => ({
      write: (line) => lines.push(JSON.parse(line) as Line),
      rotate: () => undefined,
      close: async () => note('log closed')(),
    }),
    startTelemetry: () => ({ metricsText: async () => 'text', shutdown: async () => note('telemetry stopped')() }),
    createMigration: () =>
      new FakeMigration(async (signal) => {
        events.push('migration runs');
        await (options.run ?? aborted)(signal);
        events.push('migration ended');
      }),
    startGrpcServer: async ({ host, port }) => {
      events.push(`grpc on ${host}:${port}`);
      return { port: 1001, stop: async () => note('grpc stopped')() };
    },
    startGateway: async ({ metricsText }) => {
      events.push(`http serving ${await metricsText()}`);
      return { port: 1002, stop: async () => note('http stopped')() };
    },
    ...options.parts,
  };
  const config: Config = loadConfig({
    flags: { cluster0: 'mongodb://u:hunter2@a', cluster1: 'mongodb://b', verbosity: 'INFO', ...options.flags },
    env: {},
    readFile: () => '',
  });
  return { service: buildService(config, parts), events, lines, stop: new AbortController() };
}

test('the doors open first, and everything closes in reverse order', async () => {
  const { service, events, lines, stop } = harness();
  const running = service.run(stop.signal);
  while (!events.includes('migration runs')) await Promise.resolve();
  assert.equal(events, ['http serving text', 'grpc on 127.0.0.1:27183', 'migration runs']);
  const listening = lines.find(({ message }) => message === 'listening');
  assert.equal([listening?.['grpcPort'], listening?.['httpPort']], [1001, 1002]);
  stop.abort(new AppError('ShuttingDown', 'SIGTERM'));
  assert.is(await running, 0);
  assert.equal(events.slice(-2), ['telemetry stopped', 'log closed']);
  for (const event of ['grpc stopped', 'http stopped', 'migration ended']) {
    assert.is(events.filter((item) => item === event).length, 1, event);
    assert.ok(events.indexOf(event) < events.indexOf('telemetry stopped'));
  }
  assert.not.match(JSON.stringify(lines), 'hunter2');
});

const failing = (error: Error) => async () => {
  throw error;
};

const endings: [string, Error, number][] = [
  ['failed for good', new AppError('OplogRolledOver', 'too late'), 4],
  ['failed before it began', new AppError('DestinationNotEmpty', 'has data'), 3],
  ['given up for now', new AppError('ClusterUnreachable', '30 minutes'), 1],
  ['a bug', new TypeError('x is not a function'), 1],
];
for (const [what, error, exitCode] of endings) {
  test(`${what}: one fatal line and exit code ${exitCode}`, async () => {
    const { service, events, lines, stop } = harness({ run: failing(error) });
    assert.is(await service.run(stop.signal), exitCode);
    const fatal = lines.filter(({ level }) => level === 'fatal');
    assert.is(fatal.length, 1);
    assert.match(fatal[0]?.message ?? '', error.message);
    assert.is(fatal[0]?.['exitCode'], exitCode);
    assert.equal(events.slice(-2), ['telemetry stopped', 'log closed']);
  });
}

test('--stayUpOnFailure keeps answering after a failure for good, until stopped', async () => {
  const { service, events, lines, stop } = harness({
    run: failing(new AppError('OplogRolledOver', 'too late')),
    flags: { stayUpOnFailure: true },
  });
  const running = service.run(stop.signal);
  while (!lines.some(({ level }) => level === 'fatal')) await Promise.resolve();
  assert.not.ok(events.includes('grpc stopped'));
  stop.abort();
  assert.is(await running, 4);
  assert.ok(events.includes('grpc stopped'));
});

test('--stayUpOnFailure does not keep a process that a supervisor should restart', async () => {
  const { service, stop } = harness({
    run: failing(new AppError('LeaseLost', 'taken over')),
    flags: { stayUpOnFailure: true },
  });
  assert.is(await service.run(stop.signal), 1);
});

test('a migration that is stopped while it waits is no failure', async () => {
  const run = async (signal: AbortSignal) => {
    await aborted(signal);
    throw signal.reason;
  };
  const { service, lines, stop } = harness({ run });
  const running = service.run(stop.signal);
  stop.abort(new AppError('ShuttingDown', 'SIGTERM'));
  assert.is(await running, 0);
  assert.not.ok(lines.some(({ level }) => level === 'fatal'));
});

test('a port that is taken ends the process, and the other door with it', async () => {
  const startGateway = failing(new Error('listen EADDRINUSE')) as ServiceParts['startGateway'];
  const { service, events, lines, stop } = harness({ parts: { startGateway } });
  assert.is(await service.run(stop.signal), 1);
  assert.not.ok(events.some((event) => event.startsWith('grpc')));
  assert.not.ok(events.includes('migration runs'));
  assert.match(
    lines.find(({ level }) => level === 'fatal')?.message ?? '',
    'cannot listen on port 27182 (option port): listen EADDRINUSE',
  );
});

test('a gRPC port that is taken is fatal only if it was asked for', async () => {
  const opened: number[] = [];
  const startGrpcServer: ServiceParts['startGrpcServer'] = async ({ port }) => {
    opened.push(port);
    if (port !== 0) throw new Error('No address added out of total 1 resolved');
    return { port: 40_001, stop: async () => undefined };
  };
  const fine = harness({ run: async () => undefined, parts: { startGrpcServer } });
  assert.is(await fine.service.run(fine.stop.signal), 0);
  assert.equal(opened, [27_183, 0]);
  assert.ok(fine.lines.some(({ message }) => message.startsWith('port 27183 is taken; gRPC listens on a free port')));
  assert.is(fine.lines.find(({ message }) => message === 'listening')?.['grpcPort'], 40_001);
  const asked = harness({ flags: { grpcPort: '27183' }, parts: { startGrpcServer } });
  assert.is(await asked.service.run(asked.stop.signal), 1);
  assert.match(asked.lines.find(({ level }) => level === 'fatal')?.message ?? '', 'option grpcPort');
  assert.ok(asked.events.includes('http stopped'));
});

test('a part that fails to close is a warning, and the others close all the same', async () => {
  const startTelemetry: ServiceParts['startTelemetry'] = () => ({
    metricsText: async () => '',
    shutdown: failing(new Error('collector gone')),
  });
  const { service, events, lines, stop } = harness({ run: async () => undefined, parts: { startTelemetry } });
  assert.is(await service.run(stop.signal), 0);
  assert.match(
    lines
      .filter(({ level }) => level === 'warn')
      .map(({ message }) => message)
      .join(),
    'closing failed: telemetry',
  );
  assert.is(events.at(-1), 'log closed');
});

test("the log begins with the version and the options, as readers of mongosync's logs expect, without passwords", async () => {
  const { service, lines, stop } = harness({ run: async () => undefined, flags: { port: '8080', id: 'shard0' } });
  await service.run(stop.signal);
  const [version, options] = lines;
  assert.is(version?.message, 'Version info');
  for (const name of ['version', 'os', 'arch']) assert.type(version?.[name], 'string', name);
  assert.is(options?.message, 'Mongosync Options');
  assert.equal([options?.['port'], options?.['id'], options?.['loadLevel']], [8080, 'shard0', 3]);
  assert.is(options?.['cluster0'], 'mongodb://[redacted]@a');
});

test('metrics are written to their file at the beginning and at the end, in the form of mongosync', async () => {
  const written: string[] = [];
  const opened: string[] = [];
  const openMetricsSink: ServiceParts['openMetricsSink'] = (directory) => {
    opened.push(directory);
    return { write: (line) => written.push(line), rotate: () => undefined, close: async () => undefined };
  };
  let looks = 0;
  const startTelemetry: ServiceParts['startTelemetry'] = () => ({
    metricsText: async () => `# HELP a b\nlooks ${++looks}\n`,
    shutdown: async () => void written.push('telemetry stopped'),
  });
  const { service, stop } = harness({
    run: async () => undefined,
    flags: { metricsLoggingFilepath: '/m' },
    parts: { openMetricsSink, startTelemetry },
  });
  assert.is(await service.run(stop.signal), 0);
  assert.equal(opened, ['/m']);
  assert.is(written.at(-1), 'telemetry stopped');
  const lines = written.slice(0, -1).map((line) => JSON.parse(line) as Line & { time: string });
  assert.ok(lines.length >= 2);
  assert.is(lines.at(-1)?.message, `looks ${looks}\n`);
  for (const { time, level } of lines) {
    assert.is(level, 'info');
    assert.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00$/);
  }
});

test('flags without effect are named once each', async () => {
  const { service, lines, stop } = harness({
    run: async () => undefined,
    flags: { acceptDisclaimer: true, hotDocIDs: 'x' },
  });
  await service.run(stop.signal);
  assert.is(lines.filter(({ message }) => message.includes('has no effect')).length, 2);
});

test.run();
