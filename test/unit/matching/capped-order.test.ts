import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encode } from '../../../src/bson/bson.js';
import { inRelativeOrder } from '../../../src/matching/capped-order.js';

async function* documents(ids: readonly number[]): AsyncGenerator<Buffer> {
  for (const _id of ids) yield encode({ _id });
}

const CASES: readonly [what: string, source: number[], destination: number[], same: boolean][] = [
  ['the same', [1, 2, 3], [1, 2, 3], true],
  ['the oldest evicted, the newest not yet applied', [3, 4, 5, 6], [1, 2, 3, 4], true],
  ['one missing in between', [1, 2, 3, 4], [1, 3, 4], true],
  ['nothing in common', [1, 2], [3, 4], true],
  ['one at the end that was in between', [1, 2, 3], [1, 3, 2], false],
  ['the first two exchanged', [1, 2, 3], [2, 1, 3], false],
  ['one far behind its place', [1, 2, 3, 4, 5, 6], [2, 3, 4, 5, 6, 1], false],
  ['exchanged, with others on either side only', [9, 1, 8, 2, 7], [6, 2, 5, 1], false],
];

for (const [what, source, destination, same] of CASES) {
  test(`${what}: ${same ? 'in one order' : 'another order'}`, async () => {
    assert.is(await inRelativeOrder(documents(source), documents(destination)), same);
  });
}

test.run();
