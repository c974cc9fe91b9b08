import { BSON } from 'mongodb';
import { OpMsgRequest } from 'mongodb/lib/cmap/commands.js';
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

test.run();
