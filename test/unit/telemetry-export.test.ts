import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadConfig } from '../../src/config/config.js';
import { metrics } from '../../src/metrics.js';
import { buildService } from '../../src/service.js';
import { startTelemetry } from '../../src/telemetry.js';
import { type LoggedLine, recordingLogger } from '../support/api-doors.js';
import { FakeMigration, IDLE_SNAPSHOT } from '../support/fake-control.js';
import { eventually, within } from '../support/within.js';

const WAIT_MS = 20_000;

// One SDK per process: the API keeps the first that is registered, which is the service's.
const received: string[] = [];
const collector = createServer((request, response) => {
  void buffer(request).then((body) => {
    if (request.url === '/v1/metrics') received.push(body.toString('latin1'));
    response.end();
  });
});
collector.listen(0, '127.0.0.1');
await once(collector, 'listening');
const url = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`;

const LAST = 123_456_789;

/** A number as a report may hold it. */
function numbers(value: number): string[] {
  const [integer, double] = [Buffer.alloc(8), Buffer.alloc(8)];
  integer.writeBigInt64LE(BigInt(value));
  double.writeDoubleLE(value);
  return [integer.toString('latin1'), double.toString('latin1')];
}

test('the interval is that of the standard variable, and the last report tells how it ended', async () => {
  const work = async () => {
    process.env['OTEL_METRIC_EXPORT_INTERVAL'] = '100';
    const config = loadConfig({
      flags: { cluster0: 'mongodb://a', cluster1: 'mongodb://b', port: '0', grpcPort: '0', otlpEndpoint: url },
      env: {},
      readFile: () => '',
    });
    const run = async () => {
      await eventually(WAIT_MS, () => received.length >= 3, 'reports');
      migration.set({ state: 'COMMITTED', totalEventsApplied: LAST });
      received.length = 0;
    };
    const migration = new FakeMigration(run, { ...IDLE_SNAPSHOT, state: 'RUNNING', totalEventsApplied: 1 });
    const door = async () => ({ port: 1, stop: async () => undefined });
    const openSink = () => ({ write: () => undefined, rotate: () => undefined, close: async () => undefined });
    const parts = { openSink, createMigration: () => migration, startGrpcServer: door, startGateway: door };
    assert.is(await buildService(config, parts).run(new AbortController().signal), 0);
    assert.ok(
      numbers(LAST).some((bytes) => received.at(-1)?.includes(bytes)),
      'not what was last',
    );
  };
  await within(WAIT_MS, work(), 'the reports');
});

for (const [what, env, said] of [
  ['by flag', {}, /the OpenTelemetry collector at 127\.0\.0\.1:1 cannot be reached \(ECONNREFUSED\)/],
  [
    'by variable',
    { OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: 'http://user:hunter2@127.0.0.1:2/v1/metrics' },
    /the OpenTelemetry collector at 127\.0\.0\.1:2 cannot be reached/,
  ],
] as const) {
  test(`a collector that is not there is said at once: ${what}`, async () => {
    const work = async () => {
      const lines: LoggedLine[] = [];
      const otlpEndpoint = what === 'by flag' ? 'http://127.0.0.1:1' : undefined;
      const config = { otlpEndpoint, instanceId: 'a', version: '1.2.3', env };
      const telemetry = startTelemetry(config, recordingLogger(lines));
      metrics.checkpoints.add(1);
      await eventually(WAIT_MS, () => lines.some(({ message }) => said.test(message)), 'the warning');
      assert.is(lines.filter(({ message }) => said.test(message)).length, 1);
      assert.not.match(JSON.stringify(lines), 'hunter2');
      await telemetry.shutdown();
    };
    await within(WAIT_MS, work(), 'the warning');
  });
}

test('an interval that is no number is said, and the usual one taken', async () => {
  const lines: LoggedLine[] = [];
  const env = { OTEL_METRIC_EXPORT_INTERVAL: '1s' };
  const telemetry = startTelemetry({ otlpEndpoint: url, instanceId: 'a', version: '1', env }, recordingLogger(lines));
  assert.ok(lines.some(({ message }) => message.startsWith('OTEL_METRIC_EXPORT_INTERVAL is not a number')));
  await telemetry.shutdown();
});

test.after(() => {
  collector.close();
  collector.closeAllConnections();
});

test.run();
