/** Acceptance tests of the router: change streams over all shards. */
import type { ChangeStream, ChangeStreamDocument, ChangeStreamOptions, Db, Document, ResumeToken } from 'mongodb';
import type { Test } from 'uvu';
import * as assert from 'uvu/assert';
import { admin, codeOf, freshDatabase, type RouterBed, type Row, range, through } from './router-suite.js';

const WAIT_MS = 300;
/** A stream that has brought nothing for so long, with all shards' oplogs moved on, has no more. */
const IDLE_MS = 1_500;

interface Event {
  readonly _id: ResumeToken;
  readonly operationType: string;
  readonly ns?: Document;
  readonly documentKey?: Document;
}

/** Registers them. */
export function streamTests(test: Test, bed: RouterBed): void {
  wholeTests(test, bed);
  resumeTests(test, bed);
  narrowTests(test, bed);
}

/** Moves every shard's oplog on, so that no event is held back for a shard that has nothing to say. */
async function moveOn(bed: RouterBed): Promise<void> {
  await admin(bed, { appendOplogNote: 1, data: { moveOn: true } });
}

async function drain(stream: ChangeStream<Document, ChangeStreamDocument>, most = 1_000): Promise<Event[]> {
  const events: Event[] = [];
  for (let seen = Date.now(); Date.now() - seen < IDLE_MS && events.length < most; ) {
    const event = await stream.tryNext();
    if (event === null) continue;
    events.push(event as unknown as Event);
    seen = Date.now();
  }
  return events;
}

const options = (more: ChangeStreamOptions = {}): ChangeStreamOptions => ({
  showExpandedEvents: true,
  maxAwaitTimeMS: WAIT_MS,
  ...more,
});

const dataOf = (token: ResumeToken): string => String((token as { _data: string })._data);
const kindsOf = (events: readonly Event[]): string[] => events.map(({ operationType }) => operationType);

/** Everything that a change stream tells of, on a collection of two shards and on others. */
async function makeHistory(bed: RouterBed, db: Db): Promise<void> {
  const name = db.databaseName;
  const move = (to: number) => bed.cluster.moveChunk({ ns: `${name}.r`, find: { a: 100 }, to });
  await admin(bed, { shardCollection: `${name}.r`, key: { a: 1 } });
  await bed.cluster.split(`${name}.r`, { a: 100 });
  await move(1);
  const r = db.collection<Row>('r');
  await r.insertMany(range(90, 110).map((i) => ({ _id: i, a: i })));
  await r.updateOne({ a: 95 }, { $set: { x: 1 } });
  await r.updateMany({}, { $set: { y: 1 } });
  await r.updateOne({ a: 95 }, { $set: { a: 195 } });
  await r.deleteOne({ _id: 100 });
  await r.replaceOne({ a: 101 }, { a: 101, n: 1 });
  await db.collection<Row>('un').insertOne({ _id: 1 });
  await r.createIndex({ x: 1 });
  await db.command({ collMod: 'r', index: { name: 'x_1', hidden: true } });
  await r.dropIndex('x_1');
  await move(0);
  await r.insertOne({ _id: 500, a: 500 });
  await move(1);
  await r.insertOne({ _id: 501, a: 501 });
  await bed.client.withSession(async (session) =>
    session.withTransaction(async () => {
      for (const [_id, a] of [
        ['t1', 1],
        ['t2', 250],
        ['t3', 2],
      ] as const)
        await r.insertOne({ _id, a }, { session });
    }),
  );
  await admin(bed, { renameCollection: `${name}.r`, to: `${name}.r2` });
  await db.collection('r2').drop();
  await db.dropDatabase();
}

const COUNTS = {
  create: 2,
  createIndexes: 3,
  shardCollection: 1,
  insert: 27,
  update: 21,
  delete: 2,
  replace: 1,
  modify: 2,
  dropIndexes: 2,
  rename: 2,
  drop: 3,
};

function wholeTests(test: Test, bed: RouterBed): void {
  test(through(bed, 'a stream brings all shards’ events in order, and can be taken up after each'), async () => {
    const db = await freshDatabase(bed, 'streams');
    const { operationTime } = await admin(bed, { hello: 1 });
    const from = options({ startAtOperationTime: operationTime, fullDocument: 'updateLookup' });
    const stream = bed.client.watch([], from);
    await makeHistory(bed, db);
    await moveOn(bed);
    const own = { 'ns.db': 'streams' };
    const events = (await drain(stream)).filter(({ ns }) => ns?.['db'] === 'streams');
    const tokens = events.map(({ _id }) => dataOf(_id));
    assert.equal(tokens, [...tokens].sort());
    const counts = Object.fromEntries(
      Object.keys(COUNTS).map((kind) => [kind, kindsOf(events).filter((each) => each === kind).length]),
    );
    assert.equal(counts, COUNTS);
    const moved = events.find(
      ({ operationType, documentKey }) => operationType === 'delete' && documentKey?.['_id'] === 95,
    );
    assert.equal(Object.entries(moved?.documentKey ?? {}), [
      ['a', 95],
      ['_id', 95],
    ]);
    assert.ok(
      events.filter(({ operationType }) => operationType === 'update').every((event) => 'fullDocument' in event),
    );
    assert.ok(dataOf(stream.resumeToken) >= (tokens.at(-1) ?? ''));
    await stream.close();
    for (const index of [3, 25, events.length - 3]) {
      const after = bed.client.watch([{ $match: own }], options({ resumeAfter: events[index]?._id }));
      // Two events may have one token: what resumes after it leaves out both.
      const expected = tokens.slice(index + 1).filter((token) => token !== tokens[index]);
      assert.equal(
        (await drain(after, expected.length)).map(({ _id }) => dataOf(_id)),
        expected,
      );
      await after.close();
    }
    const drops = bed.client.watch(
      [{ $match: { ...own, operationType: 'drop' } }],
      options({ resumeAfter: events[3]?._id }),
    );
    assert.equal(kindsOf(await drain(drops, 3)), ['drop', 'drop', 'drop']);
    await drops.close();
    const bogus = { _data: `${tokens[10]?.slice(0, -4)}0104` };
    const lost = bed.client.watch([], options({ resumeAfter: bogus }));
    assert.is(await codeOf(lost.tryNext()), 280);
    await lost.close();
  });
}

function resumeTests(test: Test, bed: RouterBed): void {
  test(
    through(bed, 'a stream is taken up at a high-water mark, and a note on all shards brings an event at once'),
    async () => {
      const db = await freshDatabase(bed, 'marks');
      const first = bed.client.watch([], options());
      await first.tryNext();
      await moveOn(bed);
      await first.tryNext();
      const mark = first.resumeToken;
      await first.close();
      await db.collection<Row>('q').insertOne({ _id: 1 });
      const stream = db.watch([{ $match: { operationType: 'insert' } }], options({ resumeAfter: mark }));
      await moveOn(bed);
      assert.equal(
        (await drain(stream, 1)).map(({ documentKey }) => documentKey?.['_id']),
        [1],
      );
      const started = Date.now();
      await db.collection<Row>('q').insertOne({ _id: 2 });
      await moveOn(bed);
      assert.equal(
        (await drain(stream, 1)).map(({ documentKey }) => documentKey?.['_id']),
        [2],
      );
      assert.ok(Date.now() - started < 3_000, `the event took ${Date.now() - started} ms`);
      await stream.close();
    },
  );

  test(through(bed, 'a stream goes on after a shard was down'), async () => {
    const db = await freshDatabase(bed, 'outage');
    await admin(bed, { shardCollection: 'outage.h', key: { _id: 'hashed' } });
    const h = db.collection<Row>('h');
    const stream = h.watch([], options());
    await stream.tryNext();
    await h.insertMany(range(0, 20).map((_id) => ({ _id })));
    await bed.cluster.stopShard(1);
    await bed.cluster.startShard(1);
    await h.insertMany(range(20, 40).map((_id) => ({ _id })));
    await moveOn(bed);
    const ids = (await drain(stream, 40)).map(({ documentKey }) => Number(documentKey?.['_id']));
    assert.equal(
      ids.sort((a, b) => a - b),
      range(0, 40),
    );
    await stream.close();
  });
}

function narrowTests(test: Test, bed: RouterBed): void {
  test(through(bed, 'streams of one collection and of one database end with it'), async () => {
    const db = await freshDatabase(bed, 'narrow');
    await admin(bed, { shardCollection: 'narrow.s', key: { _id: 'hashed' } });
    const s = db.collection<Row>('s');
    const narrow = { maxAwaitTimeMS: 200 };
    const [ofCollection, ofDatabase] = [s.watch([], narrow), db.watch([], narrow)];
    await ofCollection.tryNext();
    await ofDatabase.tryNext();
    await s.insertMany(range(0, 20).map((_id) => ({ _id })));
    await s.drop();
    await moveOn(bed);
    const kinds = kindsOf(await drain(ofCollection, 22));
    assert.equal(kinds, [...Array<string>(20).fill('insert'), 'drop', 'invalidate']);
    await db.dropDatabase();
    await moveOn(bed);
    assert.equal(kindsOf(await drain(ofDatabase, 24)).slice(20), ['drop', 'drop', 'dropDatabase', 'invalidate']);
    await ofCollection.close();
    await ofDatabase.close();
  });
}
