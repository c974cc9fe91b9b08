import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parallelOf } from '../../../src/copy/small-ranges.js';

test('of ranges that are copied in a moment four times as many are copied at once', () => {
  assert.is(parallelOf(4, 64 * 1024 * 1024), 4);
  assert.is(parallelOf(4, 20 * 100), 16);
  assert.is(parallelOf(1, 0), 4);
});

test.run();
