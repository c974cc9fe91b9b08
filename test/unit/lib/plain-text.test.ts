import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { fromPlainText, plainText } from '../../../src/lib/plain-text.js';

test('bytes, dates and maps come back as they were, at any depth', () => {
  const value = {
    bytes: Uint8Array.of(0, 255, 7),
    list: [new Date(5), null, 'text', 1.5, true, { inner: new Map([['a.b', 1]]) }],
    number: Number.MAX_SAFE_INTEGER,
  };
  assert.equal(fromPlainText(plainText(value)), value);
});

test('a Buffer comes back as plain bytes with memory of their own', () => {
  const bytes = fromPlainText<Uint8Array>(plainText(Buffer.from('abc')));
  assert.equal(bytes, Uint8Array.from(Buffer.from('abc')));
  assert.is(bytes.buffer.byteLength, 3);
});

test('what is undefined is left out', () => {
  assert.equal(Object.keys(fromPlainText<object>(plainText({ a: undefined, b: 1 }))), ['b']);
});

test.run();
