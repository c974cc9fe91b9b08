import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Binary, type Doc, encode } from '../../../src/cluster/bson.js';
import { Position } from '../../../src/cluster/position.js';
import * as codec from '../../../src/metadata/record-codec.js';

/** As the driver gives back what was stored: without what is undefined, and bytes as binary values. */
function stored(doc: Doc): Doc {
  const entries = Object.entries(doc).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries.map(([name, value]) => [name, storedValue(value)]));
}

function storedValue(value: unknown): unknown {
  if (Buffer.isBuffer(value)) return new Binary(value);
  if (Array.isArray(value)) return value.map(storedValue);
  const isDocument = typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;
  return isDocument ? stored(value as Doc) : value;
}

const raw = Buffer.from(encode({ _id: 7 }));

test('a collection, a view and a partition are read as they were stored', () => {
  const collection = {
    id: '0a',
    db: 'there',
    coll: 'c',
    sourceDb: 'here',
    destinationUuid: new Binary(Buffer.alloc(16, 1), 4),
    options: raw,
    indexes: [raw],
    kept: [raw],
    dropped: true,
    copy: { status: 'done', estimatedDocuments: 2, estimatedBytes: 3 },
  } as const;
  assert.equal(codec.toCollection(stored(codec.fromCollection(collection))), collection);
  const droppedBy = Position.fromText('82aa');
  const dropped = stored(codec.fromCollection({ ...collection, droppedBy }));
  assert.is(dropped['droppedBy'], '82aa');
  assert.is(codec.toCollection(dropped).droppedBy?.toText(), '82aa');
  const view = { db: 'there', coll: 'v', sourceDb: 'here', options: raw };
  assert.is(codec.fromView(view)['_id'], 'here.v');
  assert.equal(codec.toView(stored(codec.fromView(view))), view);
  const mark = { resumeAfter: raw, process: 'p', documents: 1, bytes: 2 };
  const counts = { done: false, documents: 4, bytes: 5 };
  const partition = { id: '0a:1', collection: '0a', lower: raw, natural: true, resumable: true, marks: [mark] };
  const whole = { ...partition, upper: undefined, ...counts };
  assert.equal(codec.toPartition(stored(codec.fromPartition(whole))), whole);
  const position = { id: raw, documents: 1, bytes: 2 };
  const positioned = { ...whole, marks: [], position };
  assert.equal(codec.toPartition(stored(codec.fromPartition(positioned))), positioned);
  const { marks: _, ...older } = stored(codec.fromPartition(whole));
  assert.equal(codec.toPartition(older), { ...whole, marks: [] });
});

test('what is absent reads as its default, and what is not of our form is said', () => {
  assert.equal(codec.toDdl(undefined), { done: undefined, intent: undefined });
  const [done, position] = [Position.fromText('82aa'), Position.fromText('82bb')];
  const ddl = stored(codec.fromDdl({ done, intent: { position, event: raw } }));
  assert.equal([ddl['done'], (ddl['intent'] as { token: string }).token], ['82aa', '82bb']);
  const read = codec.toDdl(ddl);
  assert.equal([read.done?.toText(), read.intent?.position.toText(), read.intent?.event], ['82aa', '82bb', raw]);
  const checkpoint = codec.toCheckpoint({ token: '82cc:01', eventsApplied: 7 });
  assert.equal(codec.fromCheckpoint(checkpoint), { _id: 'checkpoint', token: '82cc:01', eventsApplied: 7 });
  assert.throws(
    () => codec.toView({ db: 'd', coll: 'v', sourceDb: 's', options: {} }),
    (error: unknown) => (error as { code: string }).code === 'MetadataUnreadable',
  );
});

test('options may hold any names: they are stored as a text', () => {
  const options = { $oid: 1, 'a.b': { $set: 2 } };
  const record = { state: 'RUNNING', options, eventsApplied: 3 } as unknown as Parameters<
    typeof codec.fromMigration
  >[0];
  const doc = codec.fromMigration(record);
  assert.type(doc['options'], 'string');
  assert.equal(codec.toMigration({ ...doc, term: 4 }), record);
});

test.run();
