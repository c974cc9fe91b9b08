import { BSON, Timestamp } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { LocalLaneApplier } from '../../../src/apply/lane-applier.js';
import { laneText, type Operation, operationOf } from '../../../src/apply/operation.js';
import { documentKey } from '../../../src/bson/document-key.js';
import { parseEvent } from '../../../src/documents/change-event.js';
import { DocumentWriter } from '../../../src/documents/document-writer.js';
import { eachOf } from '../../../src/documents/documents-to-write.js';
import type { RawWrite } from '../../../src/documents/raw-writes.js';
import { answeringCluster, unasked } from '../../support/answering-cluster.js';
import { migratedCollection } from '../../support/migrated-collection.js';
import { silentLogger } from '../../support/silent-logger.js';

const { signal } = new AbortController();

const cluster = await answeringCluster(unasked);
const collection = migratedCollection();

/** An applier to a destination that takes every write, and is told of each. */
function applierTo(onWrite: (statements: readonly Buffer[]) => void): LocalLaneApplier {
  const raw = {
    write: async ({ statements }: RawWrite) => {
      onWrite(eachOf(statements));
      return [];
    },
  };
  const writer = new DocumentWriter(cluster, raw, () => Promise.reject(new Error('no index stands in the way')));
  const refetching = { filter: undefined, readTime: () => undefined, onStateGone: () => Promise.resolve() };
  return new LocalLaneApplier(cluster, writer, silentLogger, refetching);
}

test('deltas of one document are joined, but never into a statement that the server would refuse', async () => {
  const sent: number[] = [];
  const applier = applierTo((statements) => sent.push(...statements.map((each) => each.length)));
  const id = Buffer.from(BSON.serialize({ _id: 1 }));
  const delta = (bytes: number): Operation => ({
    collection,
    kind: 'delta',
    id,
    wholeKey: id,
    key: documentKey(id),
    content: Buffer.from(BSON.serialize({ u: { a: 'x'.repeat(bytes) } })),
  });
  await applier.apply(
    Array.from({ length: 20 }, () => delta(100)),
    signal,
  );
  assert.is(sent.length, 1);
  sent.length = 0;
  await applier.apply(
    Array.from({ length: 20 }, () => delta(900_000)),
    signal,
  );
  assert.is(sent.length, 20);
  sent.length = 0;
  await applier.apply(
    Array.from({ length: 20 }, () => delta(300_000)),
    signal,
  );
  assert.ok(Math.max(...sent) < 1.1 * 1024 * 1024, `${Math.max(...sent)} bytes`);
  assert.ok(sent.length < 10, `${sent.length} statements`);
});

/** What is sent for these changes, one list for each command. */
async function commandsOf(keys: readonly { readonly key: object; readonly n: number }[]): Promise<number[][]> {
  const sent: number[][] = [];
  const applier = applierTo((documents) => sent.push(documents.map((each) => BSON.deserialize(each)['n'] as number)));
  const operations = keys.map(({ key, n }) => {
    const documentOfIt = Buffer.from(BSON.serialize({ ...key, n }));
    const event = {
      operationType: 'insert',
      clusterTime: new Timestamp({ t: 1, i: n }),
      documentKey: key,
      fullDocument: BSON.deserialize(documentOfIt),
    };
    return operationOf(parseEvent(Buffer.from(BSON.serialize(event))), collection);
  });
  for (const operation of operations) assert.equal(Object.keys(BSON.deserialize(operation.id)), ['_id']);
  assert.is(new Set(operations.filter(({ key }) => key.text === operations[0]?.key.text).map(laneText)).size, 1);
  await applier.apply(operations, signal);
  return sent;
}

test('of a sharded source, changes are joined only if their whole keys are equal, and keep their order by _id', async () => {
  const [ours, theirs] = [
    { a: 95, _id: 1 },
    { a: 96, _id: 1 },
  ];
  assert.equal(
    await commandsOf([
      { key: ours, n: 1 },
      { key: ours, n: 2 },
    ]),
    [[2]],
    'one document',
  );
  assert.equal(
    await commandsOf([
      { key: ours, n: 1 },
      { key: theirs, n: 2 },
      { key: ours, n: 3 },
    ]),
    [[1], [2], [3]],
    'two documents of one _id share no command',
  );
  assert.equal(
    await commandsOf([
      { key: { a: 1, _id: 1 }, n: 1 },
      { key: { a: 1, _id: 2 }, n: 2 },
    ]),
    [[1, 2]],
    'what shares a value of the shard key is not one document',
  );
});

test.run();
