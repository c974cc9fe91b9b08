/** Proves that a workload is the same for a seed. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { startPair } from './replica-set.js';
import { eventually, within } from './within.js';
import { DDL_KINDS, Workload } from './workload.js';

const TEST_MS = 120_000;

test('one seed does the same on two servers, with every kind of operation', async () => {
  await using pair = await within(TEST_MS, startPair(), 'two replica sets');
  const runs = [pair.source, pair.destination].map(async (set) => {
    const workload = new Workload({ client: await set.connect(), seed: 5, workers: 1 });
    await workload.prepare();
    return await workload.run({ operations: 1500 });
  });
  const [one, other] = await within(TEST_MS, Promise.all(runs), 'two workloads');
  assert.is(one?.operations, 1500);
  assert.equal(one?.done, other?.done);
  assert.ok(Object.keys(one?.done ?? {}).length >= 22, JSON.stringify(one));
});

test('kinds can be left out, the pace is kept, and a signal stops it at once', async () => {
  await using pair = await within(TEST_MS, startPair(), 'two replica sets');
  const client = await pair.source.connect();
  const workload = new Workload({ client, seed: 1, without: DDL_KINDS });
  await workload.prepare();
  const began = performance.now();
  await within(TEST_MS, workload.run({ operations: 101, opsPerSecond: 100 }), 'the paced workload');
  const ms = performance.now() - began;
  assert.ok(ms >= 990, `100 pauses of 10 ms took ${ms} ms`);
  const stop = new AbortController();
  const running = workload.run({ signal: stop.signal });
  await eventually(TEST_MS, () => workload.report().operations > 200, 'operations at full speed');
  stop.abort();
  const { operations } = workload.report();
  const report = await within(TEST_MS, running, 'the workload after its signal');
  assert.ok(report.operations <= operations + 2, 'no more than each worker had under way');
  const kinds = new Set([...Object.keys(report.done), ...Object.keys(report.refused).map((key) => key.split(':')[0])]);
  for (const kind of DDL_KINDS) assert.not.ok(kinds.has(kind), kind);
});

test.run();
