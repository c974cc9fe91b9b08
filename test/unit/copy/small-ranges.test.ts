import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parallelOf } from '../../../src/copy/small-ranges.js';

test('of many ranges that are copied in a moment four times as many are copied at once', () => {
  assert.is(parallelOf(4, 20 * 100, 1000), 16);
  assert.is(parallelOf(1, 0, 1000), 4);
});

test('large ones, and the last ones, are not: another instance may come to help', () => {
  assert.is(parallelOf(4, 64 * 1024 * 1024, 1000), 4);
  assert.is(parallelOf(4, 20 * 100, 99), 4);
});

test.run();
