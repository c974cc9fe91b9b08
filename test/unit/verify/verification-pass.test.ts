import { Timestamp } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encode } from '../../../src/bson/bson.js';
import { Position } from '../../../src/bson/position.js';
import { uuidFrom } from '../../../src/bson/uuid.js';
import type { Cluster } from '../../../src/cluster/cluster.js';

import { MemoryVerificationState } from '../../../src/verify/memory-state.js';
import { VerificationPass } from '../../../src/verify/verification-pass.js';
import { answeringCluster } from '../../support/answering-cluster.js';
import { streamReply } from '../../support/answering-stream.js';
import { migratedCollection } from '../../support/migrated-collection.js';
import { rawCursor } from '../../support/raw-replies.js';
import { verifyContext } from '../../support/verify-context.js';
import { eventually } from '../../support/within.js';

const TIME = new Timestamp({ t: 16, i: 1 });
const UUID = uuidFrom(Buffer.alloc(16, 1));
const WAIT_MS = 30_000;
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** A cluster whose change stream gives these events, and which has these documents, whatever is asked for. */
async function clusterOf(events: readonly Buffer[], documents: readonly Buffer[]): Promise<Cluster> {
  const cluster = await answeringCluster(async (command) => {
    if ('aggregate' in command) return streamReply({ batch: events });
    if ('find' in command) return { cursor: rawCursor({ ns: 'shop.items', batch: documents }) };
    if ('getMore' in command) await pause(50);
    return streamReply({ batch: [], isNext: true });
  });
  cluster.saw(TIME);
  return cluster;
}

test('what a round has put into the backlog while the end is awaited is judged, too', async () => {
  const store = new MemoryVerificationState();
  await store.save({
    sourceStart: TIME,
    destinationStart: TIME,
    sourcePosition: Position.startAt(TIME),
    destinationPosition: Position.startAt(TIME),
    planned: true,
  });
  const ns = { db: 'shop', coll: 'items' };
  const live = migratedCollection({ id: 'a'.repeat(32), ns, destinationUuid: UUID });
  const event = encode({ documentKey: { _id: 1 }, collectionUUID: UUID, ns });
  let isApplied = false;
  let isAwaited = false;
  const context = verifyContext({
    source: await clusterOf([], []),
    destination: await clusterOf([event], [encode({ _id: 1 })]),
    store,
    collections: { get: () => live, live: () => [live], views: () => [] },
    applied: async () => {
      isAwaited = true;
      while (!isApplied) await pause(20);
    },
  });
  const stop = new AbortController();
  const pass = await VerificationPass.begin(context, stop.signal);
  void pass.run(stop.signal).catch(() => undefined);
  // The first round has taken what the streams named, and waits for the applier.
  await eventually(WAIT_MS, () => isAwaited, 'the first round');
  const settled = pass.compareUpTo(TIME, TIME, stop.signal);
  await eventually(WAIT_MS, () => store.firstBacklog(), 'what the round puts into the backlog');
  isApplied = true;
  await settled;
  assert.is(pass.comparison.mismatches.total, 1);
  stop.abort();
});

test.run();
