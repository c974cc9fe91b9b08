import { Int32, ObjectId } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encode } from '../../../src/bson/bson.js';
import { queryValue } from '../../../src/bson/carried-value.js';
import { documentOf } from '../../../src/bson/raw-document.js';

const text = (...bytes: number[]): Buffer => Buffer.from([bytes.length + 1, 0, 0, 0, ...bytes, 0]);
const nested = Buffer.concat([
  Buffer.from([19, 0, 0, 0]),
  ...Array(2).fill(Buffer.from([16, 97, 0, 1, 0, 0, 0])),
  Buffer.from([0]),
]);

const IDS: readonly [what: string, id: Buffer][] = [
  ['an ordinary number', encode({ _id: new Int32(7) })],
  ['an ObjectId', encode({ _id: new ObjectId() })],
  ['text that is not UTF-8', documentOf('_id', 2, text(0xff, 0x07, 0xfe))],
  ['a symbol, which is no longer written', documentOf('_id', 14, text(0x61))],
  ['a name that occurs twice', documentOf('_id', 3, nested)],
];

for (const [what, id] of IDS) {
  test(`${what} is carried byte for byte, wherever it stands in a command`, () => {
    const value = queryValue(id);
    assert.ok(encode({ _id: value }).equals(id));
    const list = encode({ $in: [new Int32(7), value] });
    assert.ok(list.includes(id.subarray(9, -1)), 'the bytes of the value');
    const type = list[list.lastIndexOf(id.subarray(9, -1)) - 3];
    assert.is(type, id[4]);
  });
}

test.run();
