/**
 * What runs for every document and every event is held against a plain loop over the bytes of a document in the same
 * process. The limits are about five times what was measured: they catch work of another order, not a slow day.
 */
import { BSON, Timestamp, UUID } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { documentKey } from '../../../src/bson/document-key.js';
import { holdsEmptyTimestamp } from '../../../src/bson/raw-document.js';
import { deltaStatement } from '../../../src/bson/raw-statements.js';
import { parseEvent } from '../../../src/documents/change-event.js';
import { RawBatch } from '../../../src/documents/raw-batch.js';
import { type DocumentBatches, matchDocuments } from '../../../src/matching/match.js';
import { costRatio, tellCost } from '../../support/cost-ratio.js';
import { rawArray } from '../../support/raw-replies.js';
import { bulkDocument } from '../../support/seed-data-bulk.js';

const TIMES = 4000;
const BYTES = 826;
const document = bulkDocument(4711, BYTES);
const id = Buffer.from(BSON.serialize({ _id: 4711 }));
const diff = Buffer.from(BSON.serialize({ $v: 2, diff: { u: { word: 'changed', visits: 7 } } }));
const event = Buffer.from(
  BSON.serialize({
    _id: { _data: '82'.repeat(60) },
    operationType: 'insert',
    clusterTime: new Timestamp({ t: 1_800_000_000, i: 5 }),
    collectionUUID: new UUID(),
    wallTime: new Date(),
    fullDocument: BSON.deserialize(document),
    ns: { db: 'bulk', coll: 'c0' },
    documentKey: { _id: 4711 },
  }),
);

let sink = 0;

/** One step of the plain loop for each byte of the document. */
function walk(): void {
  for (let time = 0; time < TIMES; time++) {
    for (let index = 0; index < document.length; index++) sink = (sink + (document[index] as number)) | 0;
  }
}

function times(work: () => unknown): () => void {
  return () => {
    for (let time = 0; time < TIMES; time++) if (work() === walk) sink++;
  };
}

/** What is done, and the most that it may cost of a walk over 826 bytes. */
const PATHS: readonly (readonly [what: string, work: () => unknown, limit: number])[] = [
  ['reading an event', () => parseEvent(event), 5],
  ['the key of a document', () => documentKey(id), 2],
  ['a statement that applies a delta', () => deltaStatement(id, [diff]), 1.5],
  ['looking for an empty timestamp', () => holdsEmptyTimestamp(document), 0.3],
];

for (const [what, work, limit] of PATHS) {
  test(`${what} costs at most ${limit} times what a walk over a document does`, () => {
    const ratio = costRatio(times(work), walk);
    tellCost(`${what}: ${ratio.toFixed(2)}`);
    assert.ok(ratio < limit, `${ratio.toFixed(1)} times`);
  });
}

test('large documents are looked through by fields, not by bytes', () => {
  const large = bulkDocument(1, 2_000_000);
  const ratio = costRatio(
    times(() => holdsEmptyTimestamp(large)),
    times(() => holdsEmptyTimestamp(document)),
  );
  assert.ok(ratio < 10, `${ratio.toFixed(1)} times as long for 2 MB`);
});

/** A stream of {@link TIMES} documents, in replies of so many. */
function streamOf(perReply: number): DocumentBatches {
  const documents = Array.from({ length: TIMES }, (_, n) => bulkDocument(n, BYTES));
  const replies = Array.from({ length: TIMES / perReply }, (_, n) =>
    rawArray(documents.slice(n * perReply, (n + 1) * perReply)),
  );
  return (async function* () {
    for (const reply of replies) yield new RawBatch(reply);
  })();
}

/** Milliseconds of matching two streams of equal documents. */
async function match([one, other]: readonly [number, number]): Promise<number> {
  const [source, destination] = [streamOf(one), streamOf(other)];
  let read = 0;
  const onRead = (ofSource: number, ofDestination: number): void => {
    read += ofSource + ofDestination;
  };
  const begun = performance.now();
  await matchDocuments(source, destination, { onRead, onDiffering: () => Promise.reject(new Error('they are equal')) });
  const took = performance.now() - begun;
  assert.is(read, 2 * TIMES);
  return took;
}

/** Documents in a reply of either side, and the most that matching them may cost of a walk over each. */
const MATCHED: readonly (readonly [what: string, perReply: readonly [number, number], limit: number])[] = [
  ['in equal replies', [1000, 1000], 1.5],
  ['in replies that end elsewhere', [1000, 800], 2.5],
];

for (const [what, perReply, limit] of MATCHED) {
  test(`matching equal documents ${what} costs at most ${limit} times what a walk over each does`, async () => {
    const walked = Math.min(...Array.from({ length: 9 }, () => measured(walk)));
    const all: number[] = [];
    for (let round = 0; round < 9; round++) all.push(await match(perReply));
    const ratio = Math.min(...all) / walked;
    tellCost(`matching ${what}: ${ratio.toFixed(2)}`);
    assert.ok(ratio < limit, `${ratio.toFixed(1)} times`);
  });
}

function measured(work: () => void): number {
  const begun = performance.now();
  work();
  return performance.now() - begun;
}

test.after(() => assert.type(sink, 'number'));

test.run();
