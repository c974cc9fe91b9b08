import { BSON } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  deleteStatement,
  deltaStatement,
  literalReplaceStatement,
  replaceStatement,
} from '../../../src/bson/raw-statements.js';

const raw = (doc: object): Buffer => Buffer.from(BSON.serialize(doc));
const KEY = raw({ _id: { a: 'ü' } });
const DOC = raw({ _id: { a: 'ü' }, n: 1 });

test('statements are the BSON that an encoder would write', () => {
  const key = { _id: { a: 'ü' } };
  const doc = { _id: { a: 'ü' }, n: 1 };
  assert.equal(replaceStatement(KEY, DOC), raw({ q: key, u: doc, upsert: true }));
  assert.equal(
    literalReplaceStatement(KEY, DOC),
    raw({ q: key, u: [{ $replaceWith: { $literal: doc } }], upsert: true }),
  );
  assert.equal(deleteStatement(KEY), raw({ q: key, limit: 1 }));
});

for (const count of [1, 2, 12]) {
  test(`${count} deltas become the stages of one update`, () => {
    const deltas = Array.from({ length: count }, (_, n) => ({ $v: 2, diff: { u: { [`f${n}`]: n } } }));
    const expected = raw({
      q: { _id: { a: 'ü' } },
      u: deltas.map((oplogUpdate) => ({ $_internalApplyOplogUpdate: { oplogUpdate } })),
    });
    assert.equal(deltaStatement(KEY, deltas.map(raw)), expected);
  });
}

test.run();
