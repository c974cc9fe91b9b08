import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { trace } from '@opentelemetry/api';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type GaugeSource, metrics, observeMigration } from '../../src/metrics.js';
import { startTelemetry } from '../../src/telemetry.js';
import { silentLogger } from '../support/silent-logger.js';

// One SDK per process: the API keeps the first that is registered, so one collector serves all tests of this file.
const received: { readonly path: string; readonly body: string }[] = [];
const collector: Server = createServer((request, response) => {
  void buffer(request).then((body) => {
    received.push({ path: request.url ?? '', body: body.toString('latin1') });
    response.end();
  });
});
collector.listen(0, '127.0.0.1');
await once(collector, 'listening');

metrics.documentsCopied.add(1);
const telemetry = startTelemetry(
  {
    otlpEndpoint: `http://127.0.0.1:${(collector.address() as AddressInfo).port}/`,
    instanceId: 'shard0',
    version: '1.2.3',
    env: {},
  },
  silentLogger,
);

const running: GaugeSource = {
  state: 'RUNNING',
  canCommit: true,
  canWrite: false,
  info: 'change event application',
  lag: { overallSeconds: 3 },
  totalEventsApplied: 42,
  copy: { totalBytes: 100, copiedBytes: 60 },
  sourcePingMs: 2,
  destinationPingMs: undefined,
  verification: { source: { lagSeconds: 1 }, destination: { lagSeconds: 4 } },
  queuedBytes: 7,
};

test('what is counted shows under the names of mongosync', async () => {
  metrics.documentsCopied.add(12);
  metrics.copiedBytes.add(1200);
  metrics.eventsApplied.add(3, { kind: 'crud' });
  metrics.eventsApplied.add(1, { kind: 'ddl' });
  metrics.retries.add(1, { operation: 'insert' });
  metrics.applyBatchDuration.record(15);
  const lines = (await telemetry.metricsText()).split('\n');
  for (const line of [
    'mongosync_collection_copy_copied_docs_count 12',
    'mongosync_collection_copy_copied_bytes_count 1200',
    '# TYPE mongosync_collection_copy_copied_bytes_count counter',
    'mongosync_cea_total_crud_events_applied 3',
    'mongosync_cea_total_ddl_events_applied 1',
    'mongosync_retry_count{operation="insert"} 1',
    'mongosync_cea_destination_write_op_duration_bucket{le="20"} 1',
    'mongosync_cea_destination_write_op_duration_bucket{le="10"} 0',
  ]) {
    assert.ok(lines.includes(line), line);
  }
});

test('gauges are read when asked for, and say when a value is no longer known', async () => {
  let now = running;
  const stop = observeMigration(['IDLE', 'RUNNING'], () => now);
  const text = await telemetry.metricsText();
  for (const line of [
    'mongoferry_state{state="RUNNING"} 1',
    'mongoferry_state{state="IDLE"} 0',
    'mongosync_phase{phase="change event application"} 1',
    'mongosync_phase{phase="collection copy"} 0',
    'mongosync_lag_time 3',
    'mongosync_cea_total_events_applied 42',
    'mongoferry_copy_copied_bytes 60',
    'mongoferry_can_commit 1',
    'mongoferry_can_write 0',
    'mongosync_src_ping_latency 2',
    'mongoferry_queued_bytes 7',
    'mongoferry_verifier_lag 4',
  ]) {
    assert.ok(text.split('\n').includes(line), line);
  }
  assert.not.match(text, 'mongosync_dst_ping_latency');
  now = { ...running, info: 'commit completed', lag: undefined };
  const later = (await telemetry.metricsText()).split('\n');
  assert.ok(later.includes('mongosync_lag_time NaN'));
  assert.ok(later.includes('mongosync_phase{phase="change event application"} 0'));
  stop();
});

test('a configured collector gets traces and metrics, and no command line', async () => {
  trace.getTracer('test').startSpan('a phase').end();
  await telemetry.shutdown();
  collector.close();
  assert.equal([...new Set(received.map(({ path }) => path))].sort(), ['/v1/metrics', '/v1/traces']);
  const sent = received.map(({ body }) => body).join();
  assert.match(sent, 'a phase');
  assert.match(sent, 'shard0');
  assert.not.match(sent, 'process.command');
  assert.not.match(sent, process.argv[1] ?? 'unknown');
});

test.run();
