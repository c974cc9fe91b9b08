/** One share of a stretch of changes, from prepared batches. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Lanes } from '../../../src/apply/lanes.js';
import type { AppliedCollection, Operation } from '../../../src/apply/operation.js';
import { applyShare, type ShareContext, type ShareEnd, type ShareTask } from '../../../src/apply/share.js';
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

interface Applied {
  readonly end: ShareEnd;
  readonly ids: unknown[];
  readonly readFrom: Position | undefined;
  readonly stages: unknown;
}

/** Applies a share of what these batches hold; after them the stream says nothing, for ever. */
async function apply(batches: readonly ChangeBatch[], task: Partial<ShareTask> = {}): Promise<Applied> {
  const given: Operation[] = [];
  const applier = { apply: async (operations: readonly Operation[]) => void given.push(...operations) };
  const stop = new AbortController();
  const lanes = new Lanes([applier], stop.signal);
  lanes.failed.catch(() => undefined);
  let readFrom: Position | undefined;
  let stages: unknown;
  async function* read(from: Position, options: ChangeOptions): AsyncGenerator<ChangeBatch> {
    [readFrom, stages] = [from, options.stages];
    yield* batches;
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
    admit: async () => () => undefined,
    onReply: () => undefined,
  };
  const whole: ShareTask = {
    ...{ from: at(10, 'AA').toText(), until: [20, 0], share: 1, of: 2 },
    ...{ rawDeltas: true, undivided: [], catalog: '1', ...task },
  };
  const end = await applyShare(context, whole, signal);
  stop.abort();
  return { end, ids: given.map(({ key }) => key.text), readFrom, stages };
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
