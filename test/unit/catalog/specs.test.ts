import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  Binary,
  Decimal128,
  Double,
  decodeOrdered,
  encode,
  Int32,
  Long,
  type OrderedDoc,
} from '../../../src/bson/bson.js';
import {
  carriedOptions,
  comparableOptions,
  createCommand,
  immediateChange,
  modifiedOptions,
  restoreCommand,
} from '../../../src/catalog/collection-spec.js';
import {
  builtText,
  comparableIndex,
  modifiedIndex,
  relaxedIndex,
  restoration,
} from '../../../src/catalog/index-spec.js';

function ordered(doc: Record<string, unknown>): OrderedDoc {
  return decodeOrdered(encode(doc));
}

const CAPPED = ordered({ capped: true, size: 4096, max: 5 });

test('a collection is created without what would change or drop its documents', () => {
  const options = ordered({
    uuid: new Binary(Buffer.alloc(16), 4),
    temp: true,
    capped: true,
    size: 4096,
    max: 5,
    expireAfterSeconds: 9,
    changeStreamPreAndPostImages: { enabled: true },
    validator: { a: 1 },
  });
  const command = createCommand('c', carriedOptions(options));
  assert.equal(Object.keys(command).sort(), ['capped', 'create', 'size', 'validator']);
  assert.is((command['size'] as Long).toNumber(), 2 ** 50);
});

test('the commit gives back capped sizes and pre-images', () => {
  assert.is(Number((restoreCommand(CAPPED)['cappedSize'] as Int32).value), 4096);
  assert.not.ok(
    'cappedMax' in restoreCommand(ordered({ capped: true, size: 1 })),
    'it would leave a maximum in the options',
  );
  assert.is(restoreCommand(ordered({ capped: true, size: 1, max: 2_147_483_647 }))['cappedMax'], 0);
  assert.ok(
    restoreCommand(ordered({ changeStreamPreAndPostImages: { enabled: true } }))['changeStreamPreAndPostImages'],
  );
  assert.equal(restoreCommand(ordered({ validator: { a: 1 } })), {});
});

test('a collMod changes the recorded options as it changes the source', () => {
  const resized = modifiedOptions(CAPPED, ordered({ cappedSize: 8192, cappedMax: 0 }));
  assert.is(comparableOptions(resized), comparableOptions(ordered({ capped: true, size: 8192, max: 2_147_483_647 })));
  const plain = modifiedOptions(
    ordered({ validator: { a: 1 }, expireAfterSeconds: 5 }),
    ordered({ validator: {}, expireAfterSeconds: 'off' }),
  );
  assert.is(plain.size, 0);
  assert.equal(immediateChange(ordered({ cappedSize: 1, validator: { a: 1 }, index: { name: 'a' } })), {
    validator: new Map([['a', new Int32(1)]]),
  });
});

test('options that mean the same compare as equal', () => {
  assert.is(
    comparableOptions(ordered({ size: 1000, capped: true })),
    comparableOptions(ordered({ capped: true, size: Long.fromNumber(1024) })),
  );
  assert.is(
    comparableOptions(ordered({ validator: { a: 1 } })),
    comparableOptions(ordered({ validator: { a: 1 }, validationLevel: 'strict', validationAction: 'error' })),
  );
  assert.is.not(
    comparableOptions(ordered({ validator: { a: 1 } })),
    comparableOptions(ordered({ validator: { a: 2 } })),
  );
});

test('an index is built without uniqueness, expiry and hiding, and gets them back', () => {
  const spec = ordered({
    v: 2,
    key: { a: 1 },
    name: 'a_1',
    unique: true,
    expireAfterSeconds: 60,
    hidden: true,
    sparse: true,
  });
  assert.equal([...relaxedIndex(spec, new Map()).spec.keys()], ['v', 'key', 'name', 'sparse']);
  const back = restoration(spec);
  assert.ok(back.unique && back.hidden);
  assert.is(Number((back.expireAfterSeconds as Int32).value), 60);
});

test('a simple index of a collated collection says so', () => {
  const collated = ordered({ collation: { locale: 'fr' } });
  const { spec } = relaxedIndex(ordered({ key: { a: 1 }, name: 'a_1' }), collated);
  assert.equal(spec.get('collation'), new Map([['locale', 'simple']]));
  assert.is(builtText(spec), builtText(ordered({ key: { a: 1 }, name: 'a_1' })), 'listIndexes leaves it out');
});

test('legacy key values become 1 and unknown options are dropped, each with a warning', () => {
  const { spec, warnings } = relaxedIndex(
    ordered({ key: { a: '', b: true, c: 0, d: -1, e: '2d' }, name: 'x', bogus: 1, background: true }),
    new Map(),
  );
  assert.equal(
    [...(spec.get('key') as OrderedDoc).values()].map((value) => (value instanceof Int32 ? value.value : value)),
    [1, 1, 1, -1, '2d'],
  );
  assert.is(warnings.length, 4);
  assert.not.ok(spec.has('bogus') || spec.has('background'));
});

test('the order of key fields counts, also of integer-like names', () => {
  assert.is.not(
    builtText(ordered({ key: { a: 1, b: 1 }, name: 'x' })),
    builtText(ordered({ key: { b: 1, a: 1 }, name: 'x' })),
  );
});

test('a collMod of an index changes its recorded spec', () => {
  const spec = ordered({ key: { a: 1 }, name: 'a_1', prepareUnique: true });
  const unique = modifiedIndex(spec, ordered({ name: 'a_1', unique: true }));
  assert.is(comparableIndex(unique), comparableIndex(ordered({ key: { a: 1 }, name: 'a_1', unique: true })));
  assert.is(comparableIndex(modifiedIndex(unique, ordered({ name: 'a_1', hidden: false }))), comparableIndex(unique));
});

test('an option that is on or off is one or the other in all that is compared and sent, whatever an old server kept', () => {
  const on = [true, 1, -1, 0.5, new Double(1), 'yes', {}, Decimal128.fromString('2')];
  const off = [false, 0, new Double(0), null, undefined, Decimal128.fromString('0')];
  for (const name of ['sparse', 'unique', 'hidden', 'prepareUnique']) {
    const spec = (value: unknown) => ordered({ key: { a: 1 }, name: 'a_1', [name]: value });
    for (const value of on) assert.is(comparableIndex(spec(value)), comparableIndex(spec(true)), `${name} ${value}`);
    for (const value of off) assert.is(comparableIndex(spec(value)), comparableIndex(spec(false)), `${name} ${value}`);
    assert.is.not(comparableIndex(spec(true)), comparableIndex(spec(false)), name);
  }
  const sent = (sparse: unknown) => relaxedIndex(ordered({ key: { a: 1 }, name: 'a_1', sparse }), new Map()).spec;
  for (const value of on) assert.is(sent(value).get('sparse'), true);
  for (const value of off) assert.is(builtText(sent(value)), builtText(ordered({ key: { a: 1 }, name: 'a_1' })));
});

test('what old servers stored is given back as it worked there', () => {
  const unique = (value: unknown) => restoration(ordered({ key: { a: 1 }, name: 'a_1', unique: value })).unique;
  assert.equal([true, 1, 'yes', {}].map(unique), [true, true, true, true]);
  assert.equal([false, 0, null].map(unique), [false, false, false]);
  const expiry = (value: unknown) => {
    const spec = ordered({ key: { a: 1 }, name: 'a_1', expireAfterSeconds: value });
    return Number(restoration(spec).expireAfterSeconds);
  };
  assert.equal([60, 1.5, Number.NaN].map(expiry), [60, 1, 2_147_483_647]);
  const never = ordered({ key: { a: 1 }, name: 'a_1', expireAfterSeconds: Number.NaN });
  assert.match(relaxedIndex(never, new Map()).warnings.join(), /not a number/);
  assert.is(restoration(ordered({ key: { a: 1 }, name: 'a_1' })).expireAfterSeconds, undefined);
});

test.run();
