import { Long } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encode } from '../../../src/bson/bson.js';
import { rawBatches } from '../../../src/documents/raw-cursor.js';
import { answeringCluster } from '../../support/answering-cluster.js';

const { signal } = new AbortController();

/** The reply to a find of one document of so many bytes, which was the last. */
function reply(bytes: number) {
  const firstBatch = [{ _id: 1, text: 'x'.repeat(bytes) }];
  return { cursor: encode({ firstBatch, id: Long.ZERO, ns: 'db.c' }) };
}

/** In how many different turns of the event loop as many cursors, answered in the same one, go on. */
async function turnsOf(cursors: number, bytes: number): Promise<number> {
  const cluster = await answeringCluster(() => reply(bytes));
  let turn = 0;
  let isOver = false;
  const count = (): void => {
    turn++;
    if (!isOver) setImmediate(count);
  };
  setImmediate(count);
  const seen = new Set<number>();
  const read = async (): Promise<void> => {
    for await (const batch of rawBatches(cluster, { db: 'db', command: { find: 'c' } }, signal)) {
      assert.is(batch.length, 1);
      seen.add(turn);
    }
  };
  await Promise.all(Array.from({ length: cursors }, read));
  isOver = true;
  return seen.size;
}

test('of large replies that have come together one is used in each turn of the event loop', async () => {
  assert.is(await turnsOf(5, 1_000_000), 5);
});

test('small ones wait for nothing', async () => {
  assert.is(await turnsOf(5, 100), 1);
});

test.run();
