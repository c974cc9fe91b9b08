import { context, propagation, trace } from '@opentelemetry/api';
import { core, tracing } from '@opentelemetry/sdk-node';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openDoors } from '../support/api-doors.js';
import { eventually } from '../support/within.js';

const exporter = new tracing.InMemorySpanExporter();
const provider = new tracing.BasicTracerProvider({ spanProcessors: [new tracing.SimpleSpanProcessor(exporter)] });
trace.setGlobalTracerProvider(provider);
propagation.setGlobalPropagator(new core.W3CTraceContextPropagator());

test("every call is a span of the caller's trace, named after the method, with the error it ended with", async () => {
  await using doors = await openDoors();
  const traceId = '0af7651916cd43dd8448eb211c80319c';
  const headers = { traceparent: `00-${traceId}-b7ad6b7169203331-01` };
  await doors.http({ path: '/api/v1/progress', headers });
  await doors.http({ method: 'POST', path: '/api/v1/pause', headers });
  await new Promise<void>((resolve) => doors.client.getProgress({ details: 0 }, () => resolve()));
  const spans = await eventually(
    2000,
    () => exporter.getFinishedSpans().length === 3 && exporter.getFinishedSpans(),
    'three spans',
  );
  assert.equal(
    spans.map(({ name, attributes }) => [name, attributes['mongoferry.door'], attributes['error.type']]),
    [
      ['mongoferry.v1.SyncService/GetProgress', 'http', undefined],
      ['mongoferry.v1.SyncService/Pause', 'http', 'InvalidStateTransition'],
      ['mongoferry.v1.SyncService/GetProgress', 'grpc', undefined],
    ],
  );
  assert.is(spans[0]?.spanContext().traceId, traceId);
  assert.is.not(spans[2]?.spanContext().traceId, traceId);
  context.disable();
});

test.run();
