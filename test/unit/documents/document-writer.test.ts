import { BSON, UUID } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { UNSHARDED } from '../../../src/bson/key-query.js';
import { TransientError } from '../../../src/cluster/errors.js';
import { DocumentWriter, type WriteTarget } from '../../../src/documents/document-writer.js';
import { RawBatch } from '../../../src/documents/raw-batch.js';
import type { RawWrite, WriteError } from '../../../src/documents/raw-writes.js';
import { AppError } from '../../../src/errors.js';
import { answeringCluster, unasked } from '../../support/answering-cluster.js';
import { rawArray } from '../../support/raw-replies.js';

const { signal } = new AbortController();
const target: WriteTarget = { ns: { db: 'db', coll: 'c' }, uuid: new UUID(), keyPaths: UNSHARDED };
const documents = [1, 2, 3].map((_id) => Buffer.from(BSON.serialize({ _id })));

/** Nothing is tried again. */
const cluster = await answeringCluster(unasked, { retryLimitMs: 0 });

/** A writer whose server answers with what `answer` gives; and how often its indexes were removed. */
function writerOf(answer: (write: RawWrite) => readonly WriteError[]): { writer: DocumentWriter; removals: number[] } {
  const removals: number[] = [];
  const raw = { write: async (write: RawWrite) => [...answer(write)] };
  const writer = new DocumentWriter(cluster, raw, async () => {
    removals.push(1);
  });
  return { writer, removals };
}

test('an append that meets the same _id for ever is refused', async () => {
  let inserts = 0;
  const { writer } = writerOf(({ kind }) => {
    if (kind !== 'insert') return [];
    if (++inserts > 100) throw new Error('it would go on for ever');
    return [{ index: 0, code: 11000, keyPattern: { _id: 1 }, text: 'duplicate' }];
  });
  const error = await writer.append(target, documents, signal).catch(AppError.from);
  assert.is(error?.code, 'WriteRefused', error?.message);
});

test('a replacement in place goes on without the indexes that do not take a document', async () => {
  let sent: number[] = [];
  let refuses = true;
  const { writer, removals } = writerOf(({ statements }) => {
    sent.push(statements.length);
    const error = { index: 1, code: 17280, keyPattern: undefined, text: 'key too large' };
    return refuses && removals.length === 0 ? [error] : [];
  });
  await writer.replaceInPlace(target, documents, signal);
  assert.equal(sent, [3, 2]);
  assert.is(removals.length, 1);
  sent = [];
  removals.length = 0;
  refuses = false;
  const stubborn = writerOf(() => [{ index: 0, code: 171, keyPattern: undefined, text: 'no' }]);
  const error = await stubborn.writer.replaceInPlace(target, documents, signal).catch(AppError.from);
  assert.is(error?.code, 'WriteRefused');
  assert.is(stubborn.removals.length, 1);
});

const WAYS = {
  putSurely: (writer: DocumentWriter) => writer.putSurely(target, documents, signal),
  append: (writer: DocumentWriter) => writer.append(target, documents, signal),
  replaceInPlace: (writer: DocumentWriter) => writer.replaceInPlace(target, documents, signal),
};

for (const [way, write] of Object.entries(WAYS)) {
  test(`${way}: no index falls, and no document is refused for good, for what is no fault of theirs`, async () => {
    for (const [code, name] of [
      [14031, 'TransientError'],
      [72, 'CommandRefused'],
      [9999, 'CommandRefused'],
    ] as const) {
      const { writer, removals } = writerOf(() => [{ index: 0, code, keyPattern: undefined, text: 'no' }]);
      const error = await write(writer).then(
        () => undefined,
        (thrown: unknown) => thrown as Error,
      );
      assert.is(error instanceof AppError ? error.code : error?.name, name, `${code}: ${error?.message}`);
      assert.match(error?.message ?? '', `(code ${code})`);
      assert.is(removals.length, 0, `${code}`);
    }
  });
}

/** A batch that was written, in as many tries as there are answers; whether its memory was given back. */
async function isUsedUp(...answers: (() => readonly WriteError[])[]): Promise<boolean> {
  const batch = new RawBatch(rawArray(documents));
  const patient = await answeringCluster(unasked);
  const writer = new DocumentWriter(
    patient,
    { write: async () => [...(answers.shift() ?? (() => []))()] },
    async () => undefined,
  );
  await writer.put(target, batch, signal);
  try {
    return batch.documents.length === 0;
  } catch (error) {
    assert.is(AppError.from(error).code, 'Internal');
    return true;
  }
}

test('a batch is used up once the server has taken it, unless a connection that was given up may still send it', async () => {
  const none = (): readonly WriteError[] => [];
  assert.is(await isUsedUp(none), true);
  const lost = (): never => {
    throw new TransientError('the answer was lost');
  };
  assert.is(await isUsedUp(lost, none), false);
  const refused = () => [{ index: 0, code: 17280, keyPattern: undefined, text: 'key too large' }];
  assert.is(await isUsedUp(refused), false);
});

test.run();
