import { Writable } from 'node:stream';
import { BSON } from 'mongodb';
import { OpMsgRequest } from 'mongodb/lib/cmap/commands.js';
import { Connection } from 'mongodb/lib/cmap/connection.js';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadDriverMessages } from '../../../src/documents/driver-messages.js';

interface Message {
  toBin(): Uint8Array[];
}
type MessageClass = new (db: string, command: object, options: object) => Message;

const documents = [{ _id: 1 }, { _id: 2, text: 'é'.repeat(100) }].map((each) => Buffer.from(BSON.serialize(each)));

test('messages that are made with less copying are the same, and nothing in them is copied', async () => {
  const messages = await loadDriverMessages();
  assert.ok(messages);
  const parts = (): Uint8Array[] => {
    const sequence = new messages.Sequence('documents');
    for (const document of documents) sequence.push(null, document);
    const command = { insert: 'c', documents: sequence, ordered: false };
    return new (OpMsgRequest as MessageClass)('db', command, { requestId: 7 }).toBin();
  };
  messages.copyAsBefore();
  const before = parts();
  messages.copyLess();
  const less = parts();
  messages.copyLess();
  messages.copyAsBefore();
  assert.equal(Buffer.concat(less).toString('hex'), Buffer.concat(before).toString('hex'));
  assert.equal(Buffer.concat(parts()).toString('hex'), Buffer.concat(before).toString('hex'));
  for (const document of documents) assert.ok(less.includes(document));
});

test('messages without raw documents are the same, too', async () => {
  const messages = await loadDriverMessages();
  const ping = (): Uint8Array[] => new (OpMsgRequest as MessageClass)('db', { ping: 1 }, { requestId: 7 }).toBin();
  messages?.copyAsBefore();
  const before = Buffer.concat(ping()).toString('hex');
  messages?.copyLess();
  assert.is(Buffer.concat(ping()).toString('hex'), before);
});

interface Writing {
  writeCommand(command: Message, options: { agreedCompressor: string }): Promise<void>;
}

/** What a connection writes of an insert of one document, and whether that was told as done before it was. */
async function writtenOf(bytes: number, agreedCompressor = 'none') {
  const messages = await loadDriverMessages();
  assert.ok(messages);
  messages.copyLess();
  const document = Buffer.from(BSON.serialize({ _id: 1, text: 'x'.repeat(bytes) }));
  const sequence = new messages.Sequence('documents');
  sequence.push(null, document);
  const command = { insert: 'c', documents: sequence };
  const request = new (OpMsgRequest as MessageClass)('db', command, { requestId: 7 });
  const calls: Buffer[][] = [];
  let left = 0;
  const finish = (chunks: Buffer[], done: () => void): void => {
    calls.push(chunks.filter(({ length }) => length > 0));
    setImmediate(() => {
      left += chunks.reduce((sum, { length }) => sum + length, 0);
      done();
    });
  };
  const socket = new Writable({
    write: (chunk: Buffer, _, done) => finish([chunk], done),
    writev: (chunks, done) =>
      finish(
        chunks.map(({ chunk }) => chunk as Buffer),
        done,
      ),
  });
  const prototype = (Connection as { readonly prototype: Writing }).prototype;
  await prototype.writeCommand.call(Object.assign(Object.create(prototype), { socket }), request, { agreedCompressor });
  const pieces = calls.filter((each) => each.length > 0);
  return { document, pieces, total: Buffer.concat(pieces.flat()), left };
}

test('a large message is written in its pieces by one call, none of which is copied, and waited for', async () => {
  const { document, pieces, total, left } = await writtenOf(300_000);
  assert.is(pieces.length, 1);
  assert.ok(pieces[0]?.includes(document));
  assert.equal([total.readInt32LE(0), left], [total.length, total.length]);
  assert.ok(total.subarray(-document.length).equals(document));
});

test('a small message, and one that is to be compressed, are written in one piece', async () => {
  for (const { pieces, document, total } of [await writtenOf(100), await writtenOf(300_000, 'zlib')]) {
    assert.is(pieces.flat().length, 1);
    assert.not.ok(pieces.flat().includes(document));
    assert.is(total.readInt32LE(0), total.length);
  }
});

test.run();
