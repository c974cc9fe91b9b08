import { once } from 'node:events';
import { type AddressInfo, createConnection, createServer, type OnReadOpts, type Socket } from 'node:net';
import fc from 'fast-check';
import { MongoClient } from 'mongodb';
import { BufferPool } from 'mongodb/lib/utils.js';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readWholeReplies } from '../../../src/cluster/whole-replies.js';

const server = createServer().listen(0, '127.0.0.1');
await once(server, 'listening');
test.after(() => void server.close());

/** Two ends of a connection; the first one reads as clients of the driver do. */
async function connection(): Promise<{ reader: Socket; writer: Socket }> {
  const client = new MongoClient('mongodb://127.0.0.1');
  readWholeReplies(client);
  const { onread } = client.options as unknown as { onread: OnReadOpts };
  const accepted = once(server, 'connection');
  const { port } = server.address() as AddressInfo;
  const reader = createConnection({ host: '127.0.0.1', port, onread });
  const [writer] = (await accepted) as [Socket];
  writer.setNoDelay(true);
  return { reader, writer };
}

/** A message of so many bytes, each other than its neighbours. */
function message(length: number, seed: number): Buffer {
  const bytes = Buffer.from(Uint8Array.from({ length }, (_, index) => index * 31 + seed));
  bytes.writeInt32LE(length, 0);
  return bytes;
}

/** What has been read once the writer has ended. */
async function readAll(reader: Socket): Promise<Buffer[]> {
  const pieces: Buffer[] = [];
  reader.on('data', (piece: Buffer) => pieces.push(piece));
  await once(reader, 'end');
  return pieces;
}

test('whatever the pieces in which bytes come, each message is read whole, and is none other', async () => {
  const lengths = fc.oneof(fc.integer({ min: 16, max: 200 }), fc.integer({ min: 16_000, max: 90_000 }));
  await fc.assert(
    fc.asyncProperty(
      fc.array(lengths, { minLength: 1, maxLength: 12 }),
      fc.array(fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 60_000 })), { maxLength: 20 }),
      async (sizes, cuts) => {
        const { reader, writer } = await connection();
        const sent = sizes.map(message);
        let rest = Buffer.concat(sent);
        const reading = readAll(reader);
        for (const cut of cuts) {
          await new Promise<void>((resolve) => writer.write(rest.subarray(0, cut), () => resolve()));
          rest = rest.subarray(cut);
        }
        writer.end(rest);
        const read = await reading;
        assert.equal(
          read.map((each) => each.length),
          sizes,
        );
        assert.ok(read.every((each, index) => each.equals(sent[index] as Buffer)));
      },
    ),
    { numRuns: 60 },
  );
});

test('messages are kept while nobody reads them, and none is lost', async () => {
  const { reader, writer } = await connection();
  const sent = Array.from({ length: 200 }, (_, index) => message(50_000, index));
  writer.end(Buffer.concat(sent));
  reader.pause();
  await once(reader, 'readable');
  const read = await readAll(reader);
  assert.ok(Buffer.concat(read).equals(Buffer.concat(sent)));
});

for (const length of [-1, 0, 15, 0x50545448]) {
  test(`a connection that brings a message of ${length} bytes is no server's and is ended`, async () => {
    const { reader, writer } = await connection();
    const bytes = Buffer.alloc(40);
    bytes.writeInt32LE(length, 0);
    writer.write(bytes);
    writer.on('error', () => undefined);
    const [error] = await once(reader, 'error').catch((cause: unknown) => [cause]);
    assert.match(String(error), `one of ${length} bytes`);
    assert.ok(reader.destroyed);
  });
}

test('what comes to an end within a message brings nothing of it', async () => {
  const { reader, writer } = await connection();
  const reading = readAll(reader);
  writer.end(Buffer.concat([message(100, 1), message(40_000, 2).subarray(0, 30_000)]));
  assert.equal(
    (await reading).map((each) => each.length),
    [100],
  );
});

test('a proxy that says other things first is read as always', () => {
  const client = new MongoClient('mongodb://127.0.0.1/?proxyHost=127.0.0.1');
  readWholeReplies(client);
  assert.not.ok('onread' in client.options);
});

test('the driver takes a piece that is one message without copying it, and puts others together', () => {
  const pool = new BufferPool();
  const [whole, half, other] = [message(20, 1), message(30, 2).subarray(0, 10), message(30, 2).subarray(10)];
  for (const piece of [whole, half, other]) pool.append(piece);
  assert.is(pool.read(20), whole);
  assert.ok(Buffer.from(pool.read(30)).equals(message(30, 2)));
  assert.is(pool.totalByteLength, 0);
});

test.run();
