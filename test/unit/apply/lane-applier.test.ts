import { BSON } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { documentKey } from '../../../src/apply/document-key.js';
import { LocalLaneApplier } from '../../../src/apply/lane-applier.js';
import type { Operation } from '../../../src/apply/operation.js';
import type { Cluster } from '../../../src/cluster/cluster.js';
import type { DocumentWriter } from '../../../src/documents/document-writer.js';
import type { MigratedCollection } from '../../../src/metadata/collections.js';
import { silentLogger } from '../../support/silent-logger.js';

const { signal } = new AbortController();

test('deltas of one document are joined, but never into a statement that the server would refuse', async () => {
  const sent: number[] = [];
  const writer = {
    send: async (_target: unknown, { statements }: { readonly statements: readonly Buffer[] }) => {
      sent.push(...statements.map((each) => each.length));
      return [];
    },
  } as unknown as DocumentWriter;
  const readTime = (): undefined => undefined;
  const refetching = { filter: undefined, readTime, onStateGone: () => Promise.resolve() };
  const applier = new LocalLaneApplier({} as Cluster, writer, silentLogger, refetching);
  const id = Buffer.from(BSON.serialize({ _id: 1 }));
  const collection = { id: 'c', ns: { db: 'a', coll: 'b' }, destinationUuid: {}, capped: false, collated: false };
  const delta = (bytes: number): Operation => ({
    collection: collection as unknown as MigratedCollection,
    kind: 'delta',
    id,
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

test.run();
