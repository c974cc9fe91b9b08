import * as fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encode, idText } from '../../../src/bson/bson.js';
import { RawBatch } from '../../../src/documents/raw-batch.js';
import { type DocumentBatches, matchDocuments } from '../../../src/matching/match.js';
import { rawArray } from '../../support/raw-replies.js';

type Doc = readonly [id: number, value: number];

async function* inBatches(docs: readonly Doc[], size: number): AsyncGenerator<RawBatch> {
  for (let from = 0; from < docs.length; from += size) {
    const documents = docs.slice(from, from + size).map(([_id, value]) => encode({ _id, value }));
    yield new RawBatch(rawArray(documents));
  }
}

async function differing(source: DocumentBatches, destination: DocumentBatches): Promise<number[]> {
  const found: number[] = [];
  const onDiffering = async (ids: Buffer[]) => {
    found.push(...ids.map((id) => Number(idText(id))));
  };
  await matchDocuments(source, destination, { onRead: () => undefined, onDiffering });
  return [...new Set(found)].sort((a, b) => a - b);
}

test('replies that are the same are given back as soon as that is known', async () => {
  const documents = Array.from({ length: 4 }, (_, _id) => encode({ _id }));
  const batches = () => [documents.slice(0, 2), documents.slice(2)].map((some) => new RawBatch(rawArray(some)));
  const [source, destination] = [batches(), batches()];
  const stream = async function* (some: readonly RawBatch[]) {
    yield* some;
  };
  assert.equal(await differing(stream(source), stream(destination)), []);
  for (const each of [...source, ...destination]) assert.throws(() => each.documents, /memory was given back/);
});

/** Two versions of one sorted collection, cut into batches of different sizes. */
const sides = fc.record({
  ids: fc.uniqueArray(fc.integer({ min: 0, max: 200 }), { maxLength: 80 }),
  missing: fc.uniqueArray(fc.integer({ min: 0, max: 200 }), { maxLength: 10 }),
  changed: fc.uniqueArray(fc.integer({ min: 0, max: 200 }), { maxLength: 10 }),
  extra: fc.uniqueArray(fc.integer({ min: 201, max: 220 }), { maxLength: 5 }),
  sizes: fc.tuple(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 1, max: 30 })),
});

test('exactly what is missing, more or otherwise is found, however the sides are cut', async () => {
  const property = fc.asyncProperty(sides, async ({ ids, missing, changed, extra, sizes }) => {
    const sorted = [...ids].sort((a, b) => a - b);
    const source = sorted.map((id): Doc => [id, 1]);
    const kept = sorted.filter((id) => !missing.includes(id));
    const destination = [
      ...kept.map((id): Doc => [id, changed.includes(id) ? 2 : 1]),
      ...[...extra].sort((a, b) => a - b).map((id): Doc => [id, 1]),
    ];
    const expected = [
      ...sorted.filter((id) => missing.includes(id) || changed.includes(id)),
      ...[...extra].sort((a, b) => a - b),
    ];
    assert.equal(await differing(inBatches(source, sizes[0]), inBatches(destination, sizes[1])), expected);
  });
  await fc.assert(property, { numRuns: 300 });
});

test('an order that neither side shares with the other does not matter', async () => {
  const source: Doc[] = [
    [1, 1],
    [2, 1],
    [3, 1],
  ];
  const destination: Doc[] = [
    [3, 1],
    [1, 1],
    [2, 9],
  ];
  assert.equal(await differing(inBatches(source, 2), inBatches(destination, 1)), [2]);
});

test('a side that is almost empty is told in bounded portions', async () => {
  const source = Array.from({ length: 60_000 }, (_, id): Doc => [id, 1]);
  const portions: number[] = [];
  const onDiffering = async (ids: Buffer[]) => {
    portions.push(ids.length);
  };
  const events = { onRead: () => undefined, onDiffering };
  await matchDocuments(inBatches(source, 1000), inBatches([[59_999, 1]], 10), events);
  assert.is(portions.reduce((sum, each) => sum + each, 0) >= 59_999, true);
  assert.ok(Math.max(...portions) < 25_000, String(portions));
});

test('large ids are given up by their bytes, long before there are many', async () => {
  const source = async function* (): AsyncGenerator<RawBatch> {
    for (let n = 0; n < 40; n++) yield new RawBatch(rawArray([encode({ _id: `${n}${'x'.repeat(500_000)}` })]));
  };
  const portions: number[] = [];
  const onDiffering = async (ids: Buffer[]) => {
    portions.push(ids.length);
  };
  await matchDocuments(source(), inBatches([[1, 1]], 10), { onRead: () => undefined, onDiffering });
  assert.ok(portions.length > 1 && Math.max(...portions) < 20, String(portions));
});

test.run();
