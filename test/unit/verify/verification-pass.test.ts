import { Timestamp } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encode } from '../../../src/bson/bson.js';
import { Position } from '../../../src/bson/position.js';
import { uuidFrom } from '../../../src/bson/uuid.js';
import type { Cluster } from '../../../src/cluster/cluster.js';
import { liveChanges } from '../../../src/documents/change-stream.js';

import { createLogger } from '../../../src/lib/logger.js';
import type { MigratedCollection } from '../../../src/metadata/collections.js';
import type { VerifyContext } from '../../../src/verify/context.js';
import { MemoryVerificationState } from '../../../src/verify/memory-state.js';
import { VerificationPass } from '../../../src/verify/verification-pass.js';
import { streamReply } from '../../support/answering-stream.js';
import { rawCursor } from '../../support/raw-replies.js';
import { eventually } from '../../support/within.js';

const TIME = new Timestamp({ t: 16, i: 1 });
const UUID = uuidFrom(Buffer.alloc(16, 1));
const WAIT_MS = 30_000;
const logger = createLogger({ level: 'ERROR', mongosyncId: 'test', sink: { write: () => undefined } });
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** A cluster whose change stream gives these events, and which has these documents, whatever is asked for. */
function cluster(events: readonly Buffer[], documents: readonly Buffer[]): Cluster {
  const command = async (_db: string, asked: object): Promise<unknown> => {
    if ('aggregate' in asked) return streamReply({ batch: events });
    if ('find' in asked) return { cursor: rawCursor({ ns: 'shop.items', batch: documents }) };
    if ('getMore' in asked) await pause(50);
    return streamReply({ batch: [], isNext: true });
  };
  return {
    now: TIME,
    isAtLeast: () => true,
    tellOutage: () => undefined,
    attempt: (_what: string, _signal: AbortSignal, work: () => unknown) => work(),
    startSession: () => ({ endSession: () => Promise.resolve() }),
    command,
  } as unknown as Cluster;
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
  const collection = { id: 'a'.repeat(32), ns, sourceNs: ns, name: 'shop.items', destinationUuid: UUID, indexes: [] };
  const live = { ...collection, options: new Map(), dropped: false } as unknown as MigratedCollection;
  const event = encode({ documentKey: { _id: 1 }, collectionUUID: UUID, ns });
  let isApplied = false;
  let isAwaited = false;
  const [source, destination] = [cluster([], []), cluster([event], [encode({ _id: 1 })])];
  const context = {
    source,
    destination,
    changes: { source: liveChanges(source, logger), destination: liveChanges(destination, logger) },
    filter: undefined,
    narrowing: { source: [], destination: [] },
    store,
    collections: { get: () => live, live: () => [live], views: () => [] },
    applied: async () => {
      isAwaited = true;
      while (!isApplied) await pause(20);
    },
    copyAgain: undefined,
    logger,
    onChange: () => undefined,
  } as unknown as VerifyContext;
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
