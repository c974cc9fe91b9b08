import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { isWorthThread } from '../../../src/phases/verification.js';

const MB = 1024 * 1024;

const SIZES: readonly [documents: number, bytes: number, isWorth: boolean][] = [
  [0, 0, false],
  [19_999, 64 * MB - 1, false],
  [20_000, 0, true],
  [4, 64 * MB, true],
];

for (const [documents, bytes, isWorth] of SIZES) {
  test(`${documents} documents of ${bytes} bytes are ${isWorth ? '' : 'not '}worth a thread`, () => {
    assert.is(isWorthThread({ documents, bytes }), isWorth);
  });
}

test.run();
