import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { inChunks } from '../../../src/lib/in-chunks.js';

const cut = (items: readonly number[], count: number, bytes: number): number[][] => [
  ...inChunks(items, count, bytes, (item) => item),
];

test('items are cut by number and by bytes; one that is too large goes alone', () => {
  assert.equal(cut([1, 1, 1, 1, 1], 2, 100), [[1, 1], [1, 1], [1]]);
  assert.equal(cut([4, 4, 4, 50, 1], 10, 8), [[4, 4], [4], [50], [1]]);
  assert.equal(cut([], 10, 8), []);
});

test.run();
