import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { BatchSize, documentsOfReply } from '../../../src/copy/batch-size.js';

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

const MB = 1024 * 1024;

test('replies have 2 MB of small documents, and more of large ones, up to what a reply can hold', () => {
  const bytes = (average: number) => documentsOfReply(average) * average;
  for (const average of [300, 826, 2048]) assert.ok(Math.abs(bytes(average) - 2 * MB) < average, `${average}`);
  assert.is(documentsOfReply(4096), 1024);
  for (const average of [20_000, 2_000_000]) assert.ok(bytes(average) > 9 * MB && bytes(average) <= 12 * MB);
});

test('a reply has one document at least, and 10,000 at most, also where nothing is known of their size', () => {
  assert.is(documentsOfReply(16 * MB), 1);
  assert.equal([documentsOfReply(100), documentsOfReply(0)], [10_000, 10_000]);
});

test.run();
