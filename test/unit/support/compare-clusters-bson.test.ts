import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { fieldsOf, orderlessText, renderValue, sameOrEqualNumbers } from '../../support/compare-clusters-bson.js';
import { nested, part, rawDocument } from '../../support/seed-data-raw.js';
import { everyId, everyValue } from '../../support/seed-data-values.js';

test('every BSON type is walked over to its end, and can be shown', () => {
  for (const value of everyValue()) {
    const doc = rawDocument([part('before', 1), { ...value, name: 'v' }, part('after', 2)]);
    const fields = [...fieldsOf(doc)];
    assert.equal(
      fields.map(({ name }) => name),
      ['before', 'v', 'after'],
      value.name,
    );
    assert.equal(fields[1]?.bytes, Buffer.from(value.bytes), value.name);
    assert.ok(renderValue({ type: value.type, bytes: Buffer.from(value.bytes) }).length > 0, value.name);
  }
});

test('seeds have every type that BSON has, most of them as _id too', () => {
  const types = new Set(everyValue().map(({ type }) => type));
  for (let type = 1; type <= 0x13; type++) assert.ok(types.has(type), `type ${type}`);
  assert.ok(types.has(0x7f) && types.has(0xff));
  assert.ok(everyId().length > 40);
});

test('documents that differ in field order alone have the same orderless text, at any depth', () => {
  const inner = (...names: string[]) =>
    nested(
      'sub',
      names.map((name) => part(name, name)),
    );
  const one = rawDocument([part('a', 1), inner('x', 'y')]);
  assert.is(orderlessText(one), orderlessText(rawDocument([inner('y', 'x'), part('a', 1)])));
  assert.is.not(orderlessText(one), orderlessText(rawDocument([inner('x', 'z'), part('a', 1)])));
  const array = (...items: unknown[]) => rawDocument([part('list', items)]);
  assert.is.not(orderlessText(array(1, 2)), orderlessText(array(2, 1)));
});

test('numbers of options are compared by value, everything else by bytes', () => {
  const raw = (value: unknown) => {
    const { type, bytes } = part('v', value);
    return { type, bytes: Buffer.from(bytes) };
  };
  assert.ok(sameOrEqualNumbers(raw(60), raw(60n)));
  assert.not.ok(sameOrEqualNumbers(raw(60), raw(61n)));
  assert.not.ok(sameOrEqualNumbers(raw('60'), raw(60)));
});

test.run();
