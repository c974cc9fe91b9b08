import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Health, type MonitoredCluster, monitor } from '../../../src/progress/monitor.js';
import { silentLogger } from '../../support/silent-logger.js';
import { within } from '../../support/within.js';

/** A cluster whose oldest oplog entry is of that second. */
function clusterLike(oldest: number): MonitoredCluster {
  const entry = { ts: { getHighBitsUnsigned: () => oldest } };
  return {
    name: `c${oldest}`,
    isSharded: false,
    ping: async () => oldest,
    read: async () => ({ cursor: { firstBatch: [entry] } }),
  };
}

test('after a reversal, what was known of the other cluster is forgotten and looked up anew', async () => {
  const health: Health = { sourcePingMs: undefined, destinationPingMs: undefined, oldestOplogSeconds: undefined };
  const [one, two] = [clusterLike(1), clusterLike(2)];
  let roles = { source: one, destination: two };
  const stop = new AbortController();
  const seen: (number | undefined)[][] = [];
  const onTick = () => {
    const known = [health.sourcePingMs, health.destinationPingMs, health.oldestOplogSeconds];
    if (known.includes(undefined)) return;
    seen.push(known);
    if (seen.length === 2) stop.abort();
    roles = { source: two, destination: one };
  };
  const watching = monitor(() => roles, health, { onTick, onProgressLog: () => undefined }, silentLogger, stop.signal);
  await within(
    10_000,
    watching.catch(() => undefined),
    'two looks',
  );
  assert.equal(seen, [
    [1, 2, 1],
    [2, 1, 2],
  ]);
});

test.run();
