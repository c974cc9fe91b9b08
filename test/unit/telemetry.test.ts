import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { trace } from '@opentelemetry/api';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { commandKind, type GaugeSource, metrics, observeMigration, takeStageStats } from '../../src/metrics.js';
import { startTelemetry } from '../../src/telemetry.js';
import { silentLogger } from '../support/silent-logger.js';
import { eventually, within } from '../support/within.js';

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
  sourceUnavailable: false,
  destinationUnavailable: true,
  verification: {
    source: { lagSeconds: 1, hashedDocuments: 10, estimatedDocuments: 20, scannedCollections: 3 },
    destination: { lagSeconds: 4, hashedDocuments: 9, estimatedDocuments: 20, scannedCollections: 3 },
  },
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
    'mongosync_src_unavailable 0',
    'mongosync_dst_unavailable 1',
    'mongoferry_queued_bytes 7',
    'verifier_lag_time 4',
    'verifier_auditor_num_docs_hashed 19',
    'verifier_auditor_estimated_docs_count 40',
    'verifier_auditor_scanned_collection_count 3',
  ]) {
    assert.ok(text.split('\n').includes(line), line);
  }
  const memory = Number(/^mongosync_host_memory_percent_used (.*)$/m.exec(text)?.[1]);
  assert.ok(memory > 0 && memory <= 100, `${memory} percent`);
  now = { ...running, info: 'commit completed', lag: undefined };
  const later = (await telemetry.metricsText()).split('\n');
  assert.ok(later.includes('mongosync_lag_time NaN'));
  assert.ok(later.includes('mongosync_phase{phase="change event application"} 0'));
  stop();
});

test('each metric is described, with its unit in words, and has no lines that only OpenMetrics has', async () => {
  metrics.copyReadDuration.record(1);
  metrics.copiedBytes.add(1);
  const lines = (await telemetry.metricsText()).split('\n');
  const helps = lines.filter((line) => line.startsWith('# HELP mongosync_collection_copy_'));
  assert.ok(
    helps.includes(
      '# HELP mongosync_collection_copy_source_read_op_duration Time of one read of the copy. Unit: milliseconds.',
    ),
    helps.join('\n'),
  );
  assert.ok(helps.some((line) => /_copied_bytes_count .* Unit: bytes\.$/.test(line)));
  assert.equal(
    lines.filter((line) => line.startsWith('# UNIT')),
    [],
  );
});

test('the load of the host is known after a second', async () => {
  const stop = observeMigration(['IDLE'], () => running);
  let text = '';
  const isKnown = async (): Promise<boolean> => {
    text = await telemetry.metricsText();
    return /^mongosync_host_cpu_usage \d/m.test(text);
  };
  await within(20_000, eventually(20_000, isKnown, 'the load'), 'the load');
  const load = Number(/^mongosync_host_cpu_usage (.*)$/m.exec(text)?.[1]);
  assert.ok(load >= 0 && load <= 100, `${load} percent`);
  stop();
});

test('every histogram has few buckets, whatever commands and calls there are', async () => {
  for (const cluster of ['cluster0', 'cluster1']) {
    for (const name of ['find', 'getMore', 'insert', 'update', 'ping', 'listCollections', 'collMod', 'hello'])
      metrics.commandDuration.record(3, { cluster, kind: commandKind(name) });
  }
  const lines = (await telemetry.metricsText()).split('\n');
  assert.ok(lines.filter((line) => line.startsWith('mongoferry_command_duration')).length <= 50);
  const counts = new Map<string, number>();
  for (const [, series = ''] of lines
    .map((line) => /^(.*)(?:,|\{)le="/.exec(line) ?? [])
    .filter(({ length }) => length > 0))
    counts.set(series, (counts.get(series) ?? 0) + 1);
  assert.ok(counts.size > 3);
  for (const [series, count] of counts) assert.ok(count <= 12, `${series}: ${count} buckets`);
});

test('the times of the four stages are summed up since the last look', () => {
  takeStageStats();
  metrics.copyReadDuration.record(10);
  metrics.copyReadDuration.record(21);
  metrics.applyBatchDuration.record(0.126);
  const none = { averageDurationMs: 0, maximumDurationMs: 0, numOperations: 0 };
  assert.equal(takeStageStats(), {
    CollectionCopySourceRead: { averageDurationMs: 15.5, maximumDurationMs: 21, numOperations: 2 },
    CollectionCopyDestinationWrite: none,
    CEASourceRead: none,
    CEADestinationWrite: { averageDurationMs: 0.13, maximumDurationMs: 0.13, numOperations: 1 },
  });
  assert.equal(takeStageStats().CollectionCopySourceRead, none);
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
