import * as net from 'node:net';
import { context, createContextKey, ROOT_CONTEXT, trace } from '@opentelemetry/api';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { metrics } from '../../src/metrics.js';
import { startTelemetry } from '../../src/telemetry.js';
import { silentLogger } from '../support/silent-logger.js';

test('without a collector nothing leaves the process', async () => {
  let connections = 0;
  const connect = net.Socket.prototype.connect;
  net.Socket.prototype.connect = function (this: net.Socket) {
    connections++;
    return this;
  } as typeof connect;
  try {
    const telemetry = startTelemetry({ otlpEndpoint: undefined, instanceId: 'x', version: '1', env: {} }, silentLogger);
    trace.getTracer('test').startSpan('a phase').end();
    assert.is(await follows(), undefined, 'no context is looked after from one promise to the next');
    metrics.documentsCopied.add(1);
    assert.match(await telemetry.metricsText(), 'mongosync_collection_copy_copied_docs_count 1');
    await telemetry.shutdown();
  } finally {
    net.Socket.prototype.connect = connect;
  }
  assert.is(connections, 0);
});

/** What work that has waited finds of the context it was begun in. */
function follows(): Promise<unknown> {
  const key = createContextKey('test');
  return context.with(ROOT_CONTEXT.setValue(key, 'here'), async () => {
    await Promise.resolve();
    return context.active().getValue(key);
  });
}

test.run();
