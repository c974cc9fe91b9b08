/** What the sink of the bench takes of a driver's requests, and what it passes on to the server. */
import { BSON, type Document } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { RequestReader, type TakenWrite } from '../../../bench/sink/request-reader.js';

const OP_MSG = 2013;
const OP_COMPRESSED = 2012;
const MORE_TO_COME = 2;
const CHECKSUM = 1;

function section(name: string, documents: readonly Document[]): Buffer {
  const bodies = documents.map((each) => Buffer.from(BSON.serialize(each)));
  const head = Buffer.from(`\u0001????${name}\0`, 'latin1');
  const all = Buffer.concat([head, ...bodies]);
  all.writeInt32LE(all.length - 1, 1);
  return all;
}

interface Parts {
  readonly requestId?: number;
  readonly flags?: number;
  readonly opcode?: number;
  readonly sections?: readonly Buffer[];
}

function message(command: Document, { requestId = 1, flags = 0, opcode = OP_MSG, sections = [] }: Parts = {}): Buffer {
  const all = Buffer.concat([Buffer.alloc(21), Buffer.from(BSON.serialize(command)), ...sections]);
  all.writeInt32LE(all.length, 0);
  all.writeInt32LE(requestId, 4);
  all.writeInt32LE(opcode, 12);
  all.writeUInt32LE(flags, 16);
  return all;
}

/** Reads these bytes in pieces of that size. */
function read(bytes: Buffer, pieceBytes: number): { passed: Buffer; taken: TakenWrite[] } {
  const passed: Buffer[] = [];
  const taken: TakenWrite[] = [];
  const reader = new RequestReader({ pass: (each) => passed.push(each), take: (write) => taken.push(write) });
  for (let from = 0; from < bytes.length; from += pieceBytes) reader.push(bytes.subarray(from, from + pieceBytes));
  return { passed: Buffer.concat(passed), taken };
}

const PIECES = [1, 2, 3, 7, 64, 1000, 1_000_000];
const documents = Array.from({ length: 50 }, (_, _id) => ({ _id, text: 'x'.repeat(_id * 3) }));
const insert = message(
  { insert: 'items', ordered: false, stmtIds: new Array(50).fill(-1), $db: 'shop' },
  { requestId: 7, sections: [section('documents', documents)] },
);
const update = message(
  {
    update: 'items',
    updates: [
      { q: { _id: 1 }, u: { $set: { n: 1 } } },
      { q: { _id: 2 }, u: {} },
    ],
    $db: 'shop',
  },
  { requestId: 8, flags: MORE_TO_COME },
);
const remove = message(
  { delete: 'items', $db: 'shop' },
  { requestId: 9, sections: [section('deletes', [{ q: {}, limit: 1 }]), section('deletes', [])] },
);

/** Messages that are the server's, however much they look like writes. */
const OTHERS: readonly Buffer[] = [
  message({ hello: 1, $db: 'admin' }),
  message({ find: 'items', filter: { text: 'insert' }, $db: 'shop' }),
  message({ insertion: 1, $db: 'shop' }),
  message({ insert: 'tasks', $db: 'mongosync_reserved_for_internal_use' }, { sections: [section('documents', [{}])] }),
  message({ update: 'lease', $db: 'mongosync_internal_second' }, { sections: [section('updates', [{ q: {} }])] }),
  message({ delete: 'settings', $db: 'config' }, { sections: [section('deletes', [{ q: {}, limit: 0 }])] }),
  message({ insert: 'items', $db: 'shop' }, { flags: CHECKSUM, sections: [Buffer.alloc(4, 9)] }),
  message({ insert: 'items', $db: 'shop' }, { opcode: OP_COMPRESSED }),
  message({ ping: 1 }),
];

test('statements of writes are counted wherever the pieces begin, in sequences and in commands', () => {
  for (const piece of PIECES) {
    const { passed, taken } = read(Buffer.concat([insert, update, remove, insert]), piece);
    assert.is(passed.length, 0, `pieces of ${piece}`);
    const inserted = { requestId: 7, kind: 'insert', statements: 50, isAnswered: true };
    assert.equal(taken, [
      inserted,
      { requestId: 8, kind: 'update', statements: 2, isAnswered: false },
      { requestId: 9, kind: 'delete', statements: 1, isAnswered: true },
      inserted,
    ]);
  }
});

test('everything else passes byte for byte and in order, also between writes', () => {
  for (const piece of PIECES) {
    const mixed = OTHERS.flatMap((each, index) => (index % 2 === 0 ? [each, insert] : [each]));
    const { passed, taken } = read(Buffer.concat(mixed), piece);
    assert.equal(passed, Buffer.concat([...OTHERS]), `pieces of ${piece}`);
    assert.is(taken.length, 5);
  }
});

test('a write is not taken before all of it is there', () => {
  assert.is(read(insert.subarray(0, insert.length - 1), 100).taken.length, 0);
});

test('what is passed goes on at once, not once it is whole', () => {
  const large = message({ find: 'items', filter: { text: 'y'.repeat(10_000) }, $db: 'shop' });
  assert.is(read(large.subarray(0, 5000), 1000).passed.length, 5000);
});

test('lengths that do not fit each other end the reading', () => {
  const broken = Buffer.from(insert);
  const at = broken.indexOf('documents\0') + 'documents\0'.length;
  broken.writeInt32LE(1_000_000, at);
  assert.throws(() => read(broken, 100), /a document of 1000000 bytes/);
});

test.run();
