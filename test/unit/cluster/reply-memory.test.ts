import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { allocateReply, freeReply } from '../../../src/cluster/reply-memory.js';

const LARGE = 1024 * 1024;

test('the memory of a large reply is given back with any part of it, at once', () => {
  const memory = allocateReply(LARGE);
  const [first, last] = [memory.subarray(0, 10), memory.subarray(LARGE - 10)];
  const before = process.memoryUsage().arrayBuffers;
  freeReply(first);
  assert.equal([memory.length, last.length, memory.buffer.byteLength], [0, 0, 0]);
  assert.ok(before - process.memoryUsage().arrayBuffers >= LARGE);
  freeReply(last);
});

test('no other memory is: not of small replies, nor what was no reply', () => {
  const [small, other, part] = [allocateReply(1000), Buffer.alloc(LARGE, 1), Buffer.from('some text')];
  for (const each of [small, other, part]) {
    const { length } = each;
    freeReply(each);
    assert.is(each.length, length);
  }
  assert.is(part.toString(), 'some text');
});

test.run();
