import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { BatchSize } from '../../../src/copy/batch-size.js';

test('batches shrink with every interruption, down to a bound, and grow again to what is wanted', () => {
  const size = new BatchSize(6400);
  assert.is(size.documents, 6400);
  size.interrupted();
  assert.is(size.documents, 1600);
  for (let n = 0; n < 10; n++) size.interrupted();
  assert.is(size.documents, 100);
  for (let n = 0; n < 5; n++) size.done();
  assert.is(size.documents, 3200);
  for (let n = 0; n < 10; n++) size.done();
  assert.is(size.documents, 6400);
});

test('a batch has one document at least', () => {
  const size = new BatchSize(1);
  size.interrupted();
  assert.is(size.documents, 1);
  size.done();
  assert.is(size.documents, 1);
});

test.run();
