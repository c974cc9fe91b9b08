import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encode } from '../../../src/bson/bson.js';
import { idKey } from '../../../src/matching/id-key.js';
import { countIds, DirtySet } from '../../../src/verify/dirty-set.js';

const { signal } = new AbortController();

test('it is full by the number of documents or by the bytes of their ids, and has room once it is taken', async () => {
  const byNumber = new DirtySet({ documents: 2, bytes: 1_000_000 });
  byNumber.add('c', encode({ _id: 1 }));
  byNumber.add('c', encode({ _id: 1 }));
  assert.not.ok(byNumber.isFull);
  byNumber.add('c', encode({ _id: 2 }));
  assert.ok(byNumber.isFull);
  const byBytes = new DirtySet({ documents: 100, bytes: 1000 });
  byBytes.add('c', encode({ _id: 'x'.repeat(2000) }));
  assert.ok(byBytes.isFull);
  const room = byBytes.room(signal);
  assert.is(countIds(byBytes.take()), 1);
  await room;
});

test('keys tell different bytes apart and stay small', () => {
  const large = encode({ _id: 'x'.repeat(100_000) });
  assert.ok(idKey(large).length < 100);
  assert.is.not(idKey(large), idKey(encode({ _id: `${'x'.repeat(99_999)}y` })));
  assert.is.not(idKey(encode({ _id: 1 })), idKey(encode({ _id: 2 })));
});

test.run();
