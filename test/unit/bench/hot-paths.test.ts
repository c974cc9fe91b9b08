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
import { type DocumentBatches, matchDocuments } from '../../../src/matching/match.js';
import { costRatio, tellCost } from '../../support/cost-ratio.js';
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

/** Two streams of equal documents, in replies of a thousand. */
async function match(documents: number, compare: typeof matchDocuments): Promise<number> {
  const batch = Array.from({ length: 1000 }, (_, n) => bulkDocument(n, BYTES));
  const stream = (): DocumentBatches => {
    let left = documents / batch.length;
    const next = () => Promise.resolve(left-- > 0 ? { value: { documents: batch } } : { done: true, value: undefined });
    return { next } as unknown as DocumentBatches;
  };
  const begun = performance.now();
  await compare(stream(), stream(), { onRead: () => undefined, onDiffering: () => Promise.resolve() });
  return performance.now() - begun;
}

test('matching equal documents costs a fraction of a walk over each', async () => {
  const walked = Math.min(...Array.from({ length: 9 }, () => measured(walk)));
  const all: number[] = [];
  for (let round = 0; round < 9; round++) all.push(await match(TIMES, matchDocuments));
  const ratio = Math.min(...all) / walked;
  tellCost(`matching: ${ratio.toFixed(2)}`);
  assert.ok(ratio < 0.5, `${ratio.toFixed(1)} times`);
});

function measured(work: () => void): number {
  const begun = performance.now();
  work();
  return performance.now() - begun;
}

test.after(() => assert.type(sink, 'number'));

test.run();
