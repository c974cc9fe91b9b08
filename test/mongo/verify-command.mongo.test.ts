import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ferryExecutable } from '../support/ferry-process.js';
import { sharedPair } from '../support/shared-servers.js';
import { setExpiry } from '../support/stored-migration.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 60_000;

const { pair, source, destination } = await sharedPair(test);

test.before.each(async () => {
  for (const client of [source, destination]) {
    const shop = client.db('shop');
    await shop.collection<{ _id: number }>('items').insertMany(Array.from({ length: 3000 }, (_, n) => ({ _id: n, n })));
    await shop.collection('items').createIndex({ n: 1 }, { unique: true });
    await shop.createCollection('cheap', { viewOn: 'items', pipeline: [{ $match: { n: { $lt: 9 } } }] });
    await shop.createCollection('log', { capped: true, size: 10_000 });
    await shop.collection<{ _id: number }>('log').insertMany([{ _id: 1 }, { _id: 2 }]);
  }
});

interface Verification {
  readonly child: ChildProcess;
  /** Standard output's lines, parsed. */
  readonly differences: Record<string, unknown>[];
  readonly told: () => string;
  readonly ended: Promise<number>;
}

function verify(...flags: string[]): Verification {
  const clusters = ['--cluster0', pair.source.uri, '--cluster1', pair.destination.uri];
  const child = spawn(process.execPath, [ferryExecutable(), 'verify', ...clusters, ...flags]);
  let out = '';
  let err = '';
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    err += chunk.toString();
  });
  const differences: Record<string, unknown>[] = [];
  const ended = once(child, 'close').then(([code]) => {
    for (const line of out.split('\n')) if (line !== '') differences.push(JSON.parse(line));
    return code as number;
  });
  return { child, differences, told: () => err, ended };
}

/** Looks for its cluster for fifteen seconds, in which the other tests run. */
async function verifyNowhere(): Promise<unknown> {
  const nowhere = 'mongodb://127.0.0.1:1/?directConnection=true';
  const words = ['verify', '--cluster0', nowhere, '--cluster1', nowhere];
  const child = spawn(process.execPath, [ferryExecutable(), ...words], { stdio: 'ignore' });
  const [code] = await once(child, 'close');
  return code;
}

const unreachable = verifyNowhere();

test('two equal clusters are found equal, and neither is written to', async () => {
  const verification = verify();
  assert.is(await within(TEST_MS, verification.ended, 'the comparison'), 0, verification.told());
  assert.equal(verification.differences, []);
  assert.match(verification.told(), /3002 documents of 2 collections compared: the clusters are equal\n$/);
  const { databases } = await destination.db('admin').admin().listDatabases();
  assert.equal(databases.map(({ name }) => name).sort(), ['admin', 'config', 'local', 'shop']);
});

test('every kind of difference is named, a line each', async () => {
  const shop = destination.db('shop');
  await shop.collection<{ _id: number }>('items').deleteOne({ _id: 7 });
  await shop.collection<{ _id: number }>('items').updateOne({ _id: 8 }, { $set: { n: 'eight' } });
  await shop.collection<{ _id: string | number }>('items').insertOne({ _id: 'more' });
  await shop.collection('items').dropIndex('n_1');
  await shop.collection('own').insertOne({});
  await shop.command({ collMod: 'cheap', viewOn: 'items', pipeline: [] });
  await source.db('other').collection('c').insertOne({});
  const log = shop.collection<{ _id: number }>('log');
  await log.deleteOne({ _id: 1 });
  await log.insertOne({ _id: 1 });
  const verification = verify();
  assert.is(await within(TEST_MS, verification.ended, 'the comparison'), 1, verification.told());
  const found = verification.differences.map(({ namespace, kind, documentId = '' }) =>
    `${namespace} ${kind} ${documentId}`.trim(),
  );
  assert.equal(found.sort(), [
    'other.c missing',
    'shop.cheap options',
    'shop.items content 8',
    'shop.items extra "more"',
    'shop.items index',
    'shop.items missing 7',
    'shop.log order',
    'shop.own extra',
  ]);
  assert.match(verification.told(), /: 8 differences\n$/);
});

const textOf = ({ namespace, kind, documentId, field, detail }: Record<string, unknown>) =>
  [namespace, kind, documentId, field, detail].filter((each) => each !== undefined).join(' ');

test('the options of start tell which part of the source the destination is to hold, and under which names', async () => {
  await destination.db('shop').dropDatabase();
  await destination.db('elsewhere').collection('others').insertOne({});
  const copy = destination.db('copy');
  const items = Array.from({ length: 10 }, (_, n) => ({ _id: n, n }));
  await copy.collection<{ _id: number }>('items').insertMany(items);
  await copy.collection<{ _id: number }>('items').updateOne({ _id: 4 }, { $set: { n: 'four' } });
  await copy.collection<{ _id: number; n: number }>('items').insertOne({ _id: 400, n: 400 });
  await copy.collection('more').insertOne({});
  const wanted = [
    ['--includeNamespaces', '[{"database":"shop","collections":["items"],"collectionsRegex":{"pattern":"^m"}}]'],
    ['--namespaceRemap', '[{"from":{"database":"shop"},"to":{"database":"copy"}}]'],
    ['--documentFilter', JSON.stringify({ field: 'n', matchValues: items.map(({ n }) => n) })],
    ['--buildIndexes', 'never'],
  ];
  const verification = verify(...wanted.flat());
  assert.is(await within(TEST_MS, verification.ended, 'the comparison'), 1, verification.told());
  assert.equal(verification.differences.map(textOf).sort(), [
    'copy.more extra the collection exists only on the destination',
    'shop.items content 4 n',
    'shop.items extra 400',
  ]);
  await copy.collection('more').drop();
  await copy.collection<{ _id: number }>('items').deleteOne({ _id: 400 });
  await copy.collection<{ _id: number }>('items').updateOne({ _id: 4 }, { $set: { n: 4 } });
  const mended = verify(...wanted.flat());
  assert.is(await within(TEST_MS, mended.ended, 'the comparison'), 0, mended.told());
});

test('where the destination holds data of others, views are not compared', async () => {
  await destination.db('shop').collection('cheap').drop();
  const part = ['--includeNamespaces', '[{"database":"shop"}]'];
  const whole = verify(...part);
  assert.is(await within(TEST_MS, whole.ended, 'the comparison'), 1, whole.told());
  assert.equal(whole.differences.map(textOf), ['shop.cheap missing the view exists only on the source']);
  const shared = verify(...part, '--preExistingDestinationData');
  assert.is(await within(TEST_MS, shared.ended, 'the comparison'), 0, shared.told());
});

test('the request of a start is taken as a file, also one that goes from cluster1 to cluster0', async () => {
  const file = path.join(os.tmpdir(), `mongoferry-verify-${process.pid}.json`);
  await destination.db('shop').collection<{ _id: number }>('items').deleteOne({ _id: 7 });
  await destination.db('other').collection('c').insertOne({});
  try {
    const request = { source: 'cluster1', destination: 'cluster0', excludeNamespaces: [{ database: 'other' }] };
    await writeFile(file, JSON.stringify({ ...request, buildIndexes: 'beforeDataCopy', reversible: false }));
    const verification = verify('--file', file);
    assert.is(await within(TEST_MS, verification.ended, 'the comparison'), 1, verification.told());
    assert.equal(verification.differences.map(textOf), ['shop.items extra 7']);
  } finally {
    await rm(file, { force: true });
  }
});

test('options that are not well formed are a usage error, each named', async () => {
  const verification = verify('--includeNamespaces', '[{"database":"admin"}]', '--documentFilter', '{"field":"a.b"}');
  assert.is(await within(TEST_MS, verification.ended, 'the comparison'), 2, verification.told());
  assert.match(verification.told(), /documentFilter\.matchValues: /);
  assert.match(verification.told(), /includeNamespaces\[0\]\.database: /);
});

test('with --follow, what changes meanwhile is compared again until it is told that writes have stopped', async () => {
  const work = async () => {
    const verification = verify('--follow');
    await eventually(30_000, async () => /stream hashing/.test(verification.told()), 'the first comparison');
    await source
      .db('shop')
      .collection<{ _id: number }>('items')
      .updateOne({ _id: 1 }, { $set: { n: -1 } });
    await source
      .db('shop')
      .collection<{ _id: number }>('items')
      .updateOne({ _id: 2 }, { $set: { n: -2 } });
    await destination
      .db('shop')
      .collection<{ _id: number }>('items')
      .updateOne({ _id: 1 }, { $set: { n: -1 } });
    verification.child.kill('SIGINT');
    assert.is(await verification.ended, 1, verification.told());
    assert.equal(
      verification.differences.map(({ documentId, kind }) => `${documentId} ${kind}`),
      ['2 content'],
    );
  };
  await within(TEST_MS, work(), 'the comparison');
});

test('what is not compared is named, and never passed as equal', async () => {
  for (const client of [source, destination])
    await client.db('shop').createCollection('weather', { timeseries: { timeField: 'at' } });
  const verification = verify();
  assert.is(await within(TEST_MS, verification.ended, 'the comparison'), 1, verification.told());
  assert.equal(
    verification.differences.map(({ namespace, kind }) => `${namespace} ${kind}`),
    ['shop.weather unverified'],
  );
});

test('a document that has expired may be gone on either side already, one that has not may not', async () => {
  for (const client of [source, destination]) {
    await setExpiry(client, false);
    await client.db('shop').collection('sessions').createIndex({ at: 1 }, { expireAfterSeconds: 0 });
  }
  const expired = new Date(0);
  await source
    .db('shop')
    .collection<{ _id: number; at: Date }>('sessions')
    .insertMany([
      { _id: 1, at: expired },
      { _id: 2, at: new Date(Date.now() + 3_600_000) },
    ]);
  await destination.db('shop').collection<{ _id: number; at: Date }>('sessions').insertOne({ _id: 3, at: expired });
  const verification = verify();
  assert.is(await within(TEST_MS, verification.ended, 'the comparison'), 1, verification.told());
  assert.equal(
    verification.differences.map(({ kind, documentId }) => `${kind} ${documentId}`),
    ['missing 2'],
  );
});

test('a collection that is renamed while the clusters are followed is named', async () => {
  const work = async () => {
    const verification = verify('--follow');
    await eventually(30_000, async () => /stream hashing/.test(verification.told()), 'the first comparison');
    for (const client of [source, destination]) await client.db('shop').renameCollection('log', 'journal');
    verification.child.kill('SIGINT');
    assert.is(await verification.ended, 1, verification.told());
    assert.equal(
      verification.differences.map(({ namespace, kind }) => `${namespace} ${kind}`),
      ['shop.journal unverified'],
    );
  };
  await within(TEST_MS, work(), 'the comparison');
});

test('a cluster that cannot be reached has an exit code of its own', async () => {
  assert.is(await within(TEST_MS, unreachable, 'the attempt'), 3);
});

test('a standalone flag that is no option, or a missing cluster, is a usage error', async () => {
  const child = spawn(process.execPath, [ferryExecutable(), 'verify', '--cluster0', pair.source.uri]);
  const [code] = (await once(child, 'close')) as [number];
  assert.is(code, 2);
});

test.run();
