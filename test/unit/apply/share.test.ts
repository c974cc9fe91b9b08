/** One share of a stretch of changes, from prepared batches. */
import { setImmediate as turn } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ApplyWindow } from '../../../src/apply/apply-window.js';
import { Lanes } from '../../../src/apply/lanes.js';
import type { AppliedCollection, Operation } from '../../../src/apply/operation.js';
import {
  applyShare,
  type ShareContext,
  type ShareEnd,
  type SharePlace,
  type ShareTask,
} from '../../../src/apply/share.js';
import { encode, Timestamp } from '../../../src/bson/bson.js';
import { UNSHARDED } from '../../../src/bson/key-query.js';
import { Position } from '../../../src/bson/position.js';
import { uuidFrom, uuidText } from '../../../src/bson/uuid.js';
import type { ChangeEvent } from '../../../src/documents/change-event.js';
import type { ChangeBatch, ChangeOptions } from '../../../src/documents/change-source.js';

const PLAIN = uuidFrom(Buffer.alloc(16, 1));
const CAPPED = uuidFrom(Buffer.alloc(16, 2));
const { signal } = new AbortController();

/** A resume token of a second; `after`: its place among those of that second. */
function token(t: number, after = ''): { _data: string } {
  return { _data: `82${t.toString(16).padStart(8, '0')}00000001${after}` };
}

function at(t: number, after = ''): Position {
  return Position.ofResumeToken(token(t, after));
}

interface EventParts {
  readonly operationType?: string;
  readonly collection?: typeof PLAIN;
  readonly after?: string;
}

function eventOf(t: number, id: number, parts: EventParts = {}): Buffer {
  const { operationType = 'insert', collection = PLAIN, after = 'AA' } = parts;
  return encode({
    _id: token(t, after),
    operationType,
    clusterTime: new Timestamp({ t, i: 1 }),
    collectionUUID: collection,
    ns: { db: 'shop', coll: 'items' },
    documentKey: { _id: id },
    fullDocument: { _id: id },
  });
}

function batchOf(t: number, events: Buffer[]): ChangeBatch {
  return { events, position: at(t, 'FF'), isBetween: events.length === 0, reduced: false };
}

/** Long enough for what needs no clock. */
async function turns(): Promise<void> {
  for (let n = 0; n < 10; n++) await turn();
}

interface Applied {
  readonly end: ShareEnd;
  readonly ids: unknown[];
  readonly readFrom: Position | undefined;
  readonly stages: unknown;
  readonly places: readonly SharePlace[];
}

/** Applies a share of what these batches hold; after them the stream says nothing, for ever. */
async function apply(
  batches: readonly ChangeBatch[],
  task: Partial<ShareTask> = {},
  onWrite: (places: readonly SharePlace[]) => Promise<void> = async () => undefined,
): Promise<Applied> {
  const given: Operation[] = [];
  const places: SharePlace[] = [];
  const applier = {
    apply: async (operations: readonly Operation[]) => {
      await onWrite(places);
      given.push(...operations);
    },
  };
  const stop = new AbortController();
  const lanes = new Lanes([applier], stop.signal);
  lanes.failed.catch(() => undefined);
  let readFrom: Position | undefined;
  let stages: unknown;
  async function* read(from: Position, options: ChangeOptions): AsyncGenerator<ChangeBatch> {
    [readFrom, stages] = [from, options.stages];
    for (const batch of batches) {
      yield batch;
      await turns();
    }
    await new Promise(() => undefined);
  }
  const ns = { db: 'shop', coll: 'items' };
  const of = async ({ collection: id = '' }: ChangeEvent): Promise<AppliedCollection> => {
    const names = { id, ns, sourceNs: ns, name: 'shop.items', destinationUuid: undefined };
    return { ...names, capped: id === uuidText(CAPPED), collated: false, keyPaths: UNSHARDED };
  };
  const context: ShareContext = {
    changes: { read },
    scope: { stages: () => [] },
    filter: undefined,
    targets: { of },
    lanes,
    window: new ApplyWindow({ limitBytes: 1_000_000 }),
    onPlace: (place) => places.push(place),
    onReply: () => undefined,
  };
  const whole: ShareTask = {
    ...{ from: at(10, 'AA').toText(), until: [20, 0], share: 1, of: 2 },
    ...{ rawDeltas: true, undivided: [], catalog: '1', ...task },
  };
  const end = await applyShare(context, whole, signal);
  stop.abort();
  return { end, ids: given.map(({ key }) => key.text), readFrom, stages, places };
}

test('a share ends once the stream has passed the time, and tells how far that is', async () => {
  const { end, ids } = await apply([
    batchOf(11, [eventOf(11, 1)]),
    batchOf(21, [eventOf(12, 2), eventOf(21, 3)]),
    batchOf(30, [eventOf(30, 4)]),
  ]);
  assert.is(ids.length, 3);
  assert.is(end.events, 3);
  assert.is(end.position, at(21, 'FF').toText());
});

test('a share ends before a change of the catalog, wherever in a reply that is', async () => {
  const { end, ids } = await apply([
    batchOf(11, [eventOf(11, 1)]),
    batchOf(14, [eventOf(12, 2), eventOf(13, 0, { operationType: 'rename' }), eventOf(14, 3)]),
  ]);
  assert.is(ids.length, 2);
  assert.is(end.position, at(12, 'AA').toText());
});

test('a share tells how far it is, and never goes past a change of the catalog with that', async () => {
  const { places } = await apply([
    batchOf(10, []),
    batchOf(11, [eventOf(11, 1), eventOf(11, 2, { after: 'BB' })]),
    batchOf(12, []),
    batchOf(14, [eventOf(13, 3), eventOf(13, 0, { operationType: 'rename', after: 'BB' }), eventOf(14, 4)]),
  ]);
  assert.equal(places, [
    { position: at(10, 'FF').toText(), isBetween: true, events: 0 },
    { position: at(11, 'FF').toText(), isBetween: false, events: 2 },
    { position: at(12, 'FF').toText(), isBetween: true, events: 2 },
  ]);
});

test('a share is nowhere that is not written yet', async () => {
  const seen: number[] = [];
  const { places } = await apply(
    [batchOf(11, [eventOf(11, 1)]), batchOf(12, []), batchOf(21, [])],
    {},
    async (told) => {
      await turns();
      seen.push(told.length);
    },
  );
  assert.equal(seen, [0]);
  assert.is(places.at(-1)?.events, 1);
});

test('a share that begins at a change of the catalog ends where it began', async () => {
  const { end } = await apply([batchOf(14, [eventOf(13, 0, { operationType: 'drop' })])]);
  assert.equal(end, { position: at(10, 'AA').toText(), isBetween: false, events: 0 });
});

test('the stream begins at the time, and what comes no later than the position is passed over', async () => {
  const { end, ids, readFrom } = await apply([
    batchOf(10, [
      eventOf(10, 1, { operationType: 'create', after: '00' }),
      eventOf(10, 2, { after: 'AA' }),
      eventOf(10, 3, { after: 'BB' }),
    ]),
    batchOf(21, []),
  ]);
  assert.ok(readFrom?.isStart, 'a token of another share cannot be gone on from');
  assert.equal(readFrom?.time, at(10).time);
  assert.is(ids.length, 1);
  assert.is(end.events, 1);
});

test('events that say nothing do not end a share', async () => {
  const { ids } = await apply([batchOf(21, [eventOf(11, 0, { operationType: 'endOfTransaction' }), eventOf(12, 1)])]);
  assert.is(ids.length, 1);
});

test('collections with an order belong to share 0 alone', async () => {
  const batches = [batchOf(21, [eventOf(11, 1, { collection: CAPPED }), eventOf(12, 2)])];
  const second = await apply(batches);
  assert.is(second.ids.length, 1);
  const first = await apply(batches, { share: 0, undivided: [uuidText(CAPPED)] });
  assert.is(first.ids.length, 2);
  assert.match(JSON.stringify(first.stages), 'collectionUUID');
  assert.not.match(JSON.stringify(second.stages), 'collectionUUID');
});

test.run();
