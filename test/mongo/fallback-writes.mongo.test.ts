import type { Binary } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { survivesDecoding } from '../../src/bson/bson.js';
import { UNSHARDED } from '../../src/bson/key-query.js';
import { DocumentWriter, type WriteTarget } from '../../src/documents/document-writer.js';
import { RawWriter } from '../../src/documents/raw-writes.js';
import { AppError } from '../../src/errors.js';
import { rawAll } from '../support/compare-clusters-read.js';
import { seedEverything } from '../support/seed-data.js';
import { sharedCluster, sharedSet } from '../support/shared-servers.js';
import { within } from '../support/within.js';

const TEST_MS = 60_000;
const { signal } = new AbortController();

const set = await sharedSet(test);
const client = await set.connect();
const cluster = await sharedCluster(test, 'cluster1', set);
await seedEverything(client, { large: false, mixedIds: { count: 50, bytes: 100 } });
const documents: Buffer[] = [];
for (const coll of ['types', 'names', 'ids', 'other ids']) {
  documents.push(...(await rawAll(client, { db: 'values', command: { find: coll } })));
}

async function makeTarget(coll: string): Promise<WriteTarget> {
  const db = client.db('copies');
  await db.createCollection(coll);
  const [entry] = await db.listCollections({ name: coll }).toArray();
  return {
    ns: { db: 'copies', coll },
    uuid: (entry as unknown as { info: { uuid: Binary } }).info.uuid,
    keyPaths: UNSHARDED,
  };
}

/** Writes each document into a collection of its own name; resolves with those that came out otherwise, and the refused. */
async function writeEach(coll: string, raw: RawWriter): Promise<{ changed: Buffer[]; refused: Buffer[] }> {
  const target = await makeTarget(coll);
  const writer = new DocumentWriter(cluster, raw, async () => undefined);
  const changed: Buffer[] = [];
  const refused: Buffer[] = [];
  for (const document of documents) {
    try {
      await writer.putSurely(target, [document], signal);
    } catch (error) {
      const { code, message } = AppError.from(error);
      assert.is(code, 'DocumentNotCarried', message);
      assert.match(message, new RegExp(`copies\\.${coll}`));
      refused.push(document);
      continue;
    }
    const [stored, ...more] = await rawAll(client, { db: 'copies', command: { find: coll } });
    if (stored === undefined || more.length > 0 || !stored.equals(document)) changed.push(document);
    await client.db('copies').collection(coll).deleteMany({});
  }
  return { changed, refused };
}

test('with the pass-through every document arrives byte for byte', async () => {
  const write = async () => {
    const raw = await RawWriter.create(cluster, 'probes', signal);
    assert.ok(raw.passesThrough, 'this driver has none any more');
    const { changed, refused } = await writeEach('raw', raw);
    assert.equal([changed.length, refused.length], [0, 0]);
  };
  await within(TEST_MS, write(), 'the writes');
});

test('without the pass-through every document arrives byte for byte, or is refused as DocumentNotCarried', async () => {
  const write = async () => {
    const raw = await RawWriter.create(cluster, 'probes', signal, false);
    assert.not.ok(raw.passesThrough);
    const { changed, refused } = await writeEach('decoded', raw);
    assert.equal(
      changed.map((each) => each.toString('hex')),
      [],
      'changed on the way, and nobody told',
    );
    // Some, or the refusal is not tried; few, or the path is of no use.
    assert.ok(refused.length > 0 && refused.length < documents.length / 4, `${refused.length} of ${documents.length}`);
    assert.equal(refused.filter(survivesDecoding), [], 'refused without need');
  };
  await within(TEST_MS, write(), 'the writes');
});

test('one document that cannot be carried stops its whole batch before anything of it is written', async () => {
  const write = async () => {
    const raw = await RawWriter.create(cluster, 'probes', signal, false);
    const target = await makeTarget('batch');
    const bad = documents.find((each) => !survivesDecoding(each)) as Buffer;
    const good = documents.find((each) => survivesDecoding(each)) as Buffer;
    const command = {
      ...target.ns,
      kind: 'insert',
      statements: [good, bad],
      ordered: true,
      uuid: target.uuid,
    } as const;
    const error = await raw.write(command, signal).then(() => undefined, AppError.from);
    assert.is(error?.code, 'DocumentNotCarried');
    assert.is(await client.db('copies').collection('batch').countDocuments(), 0);
  };
  await within(TEST_MS, write(), 'the batch');
});

test.run();
