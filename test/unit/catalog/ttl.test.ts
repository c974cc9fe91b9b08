import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decodeOrdered, encode, type OrderedDoc } from '../../../src/bson/bson.js';
import { ttlRules } from '../../../src/catalog/ttl.js';

const ordered = (fields: Record<string, unknown>): OrderedDoc => decodeOrdered(encode(fields));
const index = (key: Record<string, unknown>, more: Record<string, unknown> = {}): OrderedDoc =>
  ordered({ v: 2, key, name: 'i', expireAfterSeconds: 60, ...more });
const fieldsOf = (options: OrderedDoc, ...indexes: OrderedDoc[]): string[] =>
  ttlRules(options, indexes).map(({ field }) => field);

test('an index of one field expires documents, one of several fields never does', () => {
  assert.equal(fieldsOf(new Map(), index({ at: 1 }), index({ at: 1, n: 1 })), ['at']);
});

test('a clustered collection expires by its own option', () => {
  const options = ordered({ clusteredIndex: { key: { _id: 1 }, unique: true }, expireAfterSeconds: 5 });
  assert.equal(fieldsOf(options), ['_id']);
});

test('the filter of a partial index is part of its rule', () => {
  const [rule] = ttlRules(new Map(), [index({ at: 1 }, { partialFilterExpression: { kind: 'session' } })]);
  assert.equal([...(rule?.partial?.filter ?? [])], [['kind', 'session']]);
});

test.run();
