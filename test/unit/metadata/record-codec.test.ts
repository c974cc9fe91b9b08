import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Binary, type Doc, encode, Timestamp } from '../../../src/bson/bson.js';
import { Position } from '../../../src/bson/position.js';
import * as codec from '../../../src/metadata/record-codec.js';
import type { MigrationRecord } from '../../../src/metadata/records.js';
import { completeOptions, resolveStartOptions } from '../../../src/start/options.js';
import { DEFAULT_START } from '../../support/migration-harness.js';

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

const RECORD: MigrationRecord = {
  state: 'RUNNING',
  phase: 'initialise',
  options: {
    ...completeOptions(resolveStartOptions(DEFAULT_START), undefined),
    documentFilter: { field: 'a.b', matchValues: [{ $oid: '0123456789abcdef01234567' }, { $set: 2 }] },
  },
  sourceId: 's',
  destinationId: 'd',
  blockedDestination: false,
  canWrite: false,
  eventsApplied: 3,
  rawDeltas: true,
  warnings: [],
};
const TIME = new Timestamp({ t: 7, i: 1 });

test('options may hold any names: they are stored as a text', () => {
  const doc = codec.fromMigration(RECORD);
  assert.type(doc['options'], 'string');
  assert.equal(codec.toMigration({ ...doc, term: 4 }), RECORD);
});

test('options of an earlier version have the defaults of what it did not know', () => {
  const { source, destination, buildIndexes, writeBlocking } = RECORD.options;
  const options = JSON.stringify({ source, destination, buildIndexes, writeBlocking });
  const read = codec.toMigration({ ...codec.fromMigration(RECORD), options });
  assert.is(read.options.documentFilter, null);
  assert.is(read.options.verification, true);
});

const NOT_WHOLE: readonly [string, Record<string, unknown>][] = [
  ['a state that no version knows', { state: 'LOST' }],
  ['a phase that is none of its state', { phase: 'done' }],
  ['no start time after the catalog was read', { phase: 'copy' }],
  ['no end of the copy while changes are applied', { phase: 'apply', startTime: TIME }],
  ['a commit that nobody has called', { commit: { step: 'drain' } }],
  ['a destination that accepts writes during the copy', { canWrite: true }],
  ['a commit without its step', { state: 'COMMITTING', phase: 'apply', startTime: TIME, copyEndTime: TIME }],
  ['a committed migration without the times of its handover', { state: 'COMMITTED', phase: 'done', canWrite: true }],
  ['options of no known form', { options: '{"source":"cluster2"}' }],
];

for (const [what, fields] of NOT_WHOLE) {
  test(`a record is not believed with ${what}`, () => {
    assert.throws(
      () => codec.toMigration({ ...codec.fromMigration(RECORD), ...fields }),
      (error: unknown) => (error as { code: string }).code === 'MetadataUnreadable',
    );
  });
}

test.run();
