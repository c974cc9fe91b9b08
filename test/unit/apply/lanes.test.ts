import { BSON } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { LaneApplier } from '../../../src/apply/lane-applier.js';
import { Lanes } from '../../../src/apply/lanes.js';
import type { Operation } from '../../../src/apply/operation.js';
import { documentKey } from '../../../src/bson/document-key.js';
import { deferred } from '../../../src/lib/tasks.js';
import { migratedCollection } from '../../support/migrated-collection.js';
import { eventually, within } from '../../support/within.js';

const WAIT_MS = 20_000;

function operation(collection: string, n: number): Operation {
  const id = Buffer.from(BSON.serialize({ _id: n }));
  return {
    collection: migratedCollection({ id: collection }),
    kind: 'delete',
    id,
    wholeKey: id,
    key: documentKey(id),
    content: undefined,
  };
}

function collect(): { appliers: LaneApplier[]; applied: Operation[][] } {
  const applied: Operation[][] = [[], []];
  return { applied, appliers: applied.map((lane) => ({ apply: async (operations) => void lane.push(...operations) })) };
}

test('operations on one document keep their order in one lane', async () => {
  const { appliers, applied } = collect();
  const lanes = new Lanes(appliers, new AbortController().signal);
  for (let n = 0; n < 200; n++) lanes.push(operation('c', n % 10), () => undefined);
  await within(WAIT_MS, lanes.drain(['c']), 'draining');
  for (let key = 0; key < 10; key++) {
    assert.is(applied.filter((lane) => lane.some((each) => each.id.equals(operation('c', key).id))).length, 1);
  }
  assert.is(applied.flat().length, 200);
});

test('few operations go into one lane, many into all, and none overtakes an earlier one on its document', async () => {
  const under = { most: 0, now: 0 };
  const seen = new Map<string, number[]>();
  const applier = (lane: number): LaneApplier => ({
    apply: async (operations) => {
      under.most = Math.max(under.most, ++under.now);
      for (const each of operations) {
        const key = each.id.toString('hex');
        seen.set(key, [...(seen.get(key) ?? []), (each as Operation & { readonly n: number }).n]);
      }
      await new Promise((resolve) => setTimeout(resolve, 5 + lane));
      under.now--;
    },
  });
  const lanes = new Lanes([0, 1, 2, 3].map(applier), new AbortController().signal);
  let n = 0;
  let settled = 0;
  const push = (count: number) => {
    for (const end = n + count; n < end; n++)
      lanes.push({ ...operation('c', n % 37), n } as Operation, () => settled++);
  };
  push(300);
  await within(WAIT_MS, lanes.drain(['c']), 'draining few');
  assert.is(under.most, 1);
  const isWriting = () => under.now > 0;
  push(300);
  await eventually(WAIT_MS, isWriting, 'the first lane writing', { everyMs: 1 });
  push(1000);
  await eventually(WAIT_MS, isWriting, 'a lane writing', { everyMs: 1 });
  push(1000);
  await within(WAIT_MS, lanes.drain(['c']), 'draining many');
  assert.is(under.most, 4);
  assert.is(settled, n);
  for (const numbers of seen.values())
    assert.equal(
      numbers,
      [...numbers].sort((a, b) => a - b),
    );
});

test('draining waits for the named collections only', async () => {
  const gate = deferred<void>();
  const slow: LaneApplier = {
    apply: (operations) =>
      operations.some((each) => each.collection.id === 'slow') ? gate.promise : Promise.resolve(),
  };
  const lanes = new Lanes([slow, slow, slow, slow], new AbortController().signal);
  lanes.push(operation('slow', 1), () => undefined);
  await within(WAIT_MS, lanes.drain(['other']), 'draining what is not there');
  let drained = false;
  const draining = lanes.drain(['slow', 'other']).then(() => {
    drained = true;
  });
  await Promise.resolve();
  assert.not(drained);
  gate.resolve();
  await within(WAIT_MS, draining, 'draining');
});

test('the first failure is told, and what follows it is not settled', async () => {
  const broken: LaneApplier = { apply: () => Promise.reject(new Error('refused')) };
  const lanes = new Lanes([broken], new AbortController().signal);
  let settled = false;
  lanes.push(operation('c', 1), () => {
    settled = true;
  });
  const reason = await within(
    WAIT_MS,
    lanes.failed.catch((error: Error) => error.message),
    'failing',
  );
  assert.is(reason, 'refused');
  assert.not(settled);
});

test('stopping ends the wait for lanes that will never markApplied', async () => {
  const stop = new AbortController();
  const hanging: LaneApplier = {
    apply: (_, signal) =>
      new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
  };
  const lanes = new Lanes([hanging], stop.signal);
  lanes.push(operation('c', 1), () => undefined);
  const waiting = Promise.race([lanes.drain(['c']), lanes.failed]).catch((error: Error) => error.message);
  stop.abort(new Error('stopped'));
  assert.is(await within(WAIT_MS, waiting, 'the wait ending'), 'stopped');
  await within(WAIT_MS, lanes.stopped(), 'the lanes stopping');
});

test.run();
