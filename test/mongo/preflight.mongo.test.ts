import { Long, Timestamp, UUID } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Cluster } from '../../src/cluster/cluster.js';
import type { Finding } from '../../src/preflight/finding.js';
import { FerryProcess } from '../support/ferry-process.js';
import { DEFAULT_START, MigrationHarness } from '../support/migration-harness.js';
import { RestClient } from '../support/rest-client.js';
import { atEnd, sharedPair } from '../support/shared-servers.js';
import { METADATA_DB, resetClusters } from '../support/stored-migration.js';
import { within } from '../support/within.js';

const TEST_MS = 60_000;

const { pair, source, destination } = await sharedPair(test);
// A check changes nothing, so one process serves for all of them.
const harness = await MigrationHarness.open(pair);
atEnd(test, () => harness.stop());

async function findings(options: Partial<typeof DEFAULT_START> = {}): Promise<readonly Finding[]> {
  return await harness.migration.check({ ...DEFAULT_START, ...options });
}

async function findingsBut(name: string): Promise<readonly Finding[]> {
  return (await findings()).filter((each) => each.name !== name);
}

const createSeries = () => source.db('shop').createCollection('series', { timeseries: { timeField: 'at' } });

const createEncrypted = () => {
  const field = {
    path: 'ssn',
    bsonType: 'string',
    keyId: new UUID('0123456789abcdef0123456789abcdef').toBinary(),
    queries: [{ queryType: 'equality', contention: Long.fromNumber(0) }],
  };
  return source.db('shop').command({ create: 'secret', encryptedFields: { fields: [field] } });
};

const createTwins = async () => {
  await source.db('shop').collection('twins').createIndex({ a: 1 }, { name: 'plain' });
  await source.db('shop').collection('twins').createIndex({ a: 1 }, { name: 'strict', unique: true });
};

const fillDestination = async () => {
  await destination.db('left').collection('over').insertOne({ a: 1 });
  await destination.db('left').createCollection('view', { viewOn: 'over', pipeline: [] });
};

/** What provokes a blocker, and what the finding must hold. */
const BLOCKERS: readonly (readonly [name: string, provoke: () => Promise<unknown>, namespaces: readonly string[]])[] = [
  ['DestinationNotEmpty', fillDestination, ['left.over', 'left.view']],
  ['TimeSeriesCollection', createSeries, ['shop.series']],
  ['EncryptedCollection', createEncrypted, ['shop.secret']],
  ['UniqueAndNonUniqueIndex', createTwins, ['shop.twins']],
  ['DestinationWritesBlocked', () => destination.db('admin').command({ setUserWriteBlockMode: 1, global: true }), []],
];

test('nothing but the short oplog is found between two fresh clusters', async () => {
  const check = async () => {
    await source.db('shop').collection('items').insertOne({ a: 1 });
    await source.db('shop').collection('items').createIndex({ a: 1 }, { unique: true });
    await source.db('shop').collection('items').createIndex({ a: -1 });
    const [finding, ...more] = await findings();
    assert.equal(more, []);
    assert.equal([finding?.name, finding?.severity], ['ShortOplogWindow', 'warning']);
    assert.ok(finding !== undefined && finding.remedy !== '');
  };
  await within(TEST_MS, check(), 'the check');
});

for (const [name, provoke, namespaces] of BLOCKERS) {
  test(`${name} is found, with its namespaces and what to do`, async () => {
    const check = async () => {
      await provoke();
      const [found, ...more] = await findingsBut('ShortOplogWindow');
      assert.equal(more, []);
      assert.equal([found?.name, found?.severity], [name, 'blocker']);
      assert.equal([...(found?.namespaces ?? [])].sort(), namespaces);
      assert.ok(found !== undefined && found.description !== '' && found.remedy !== '');
    };
    await within(TEST_MS, check(), 'the check');
  });
}

test('indexes that are not built are no obstacle', async () => {
  const check = async () => {
    await createTwins();
    const names = (await findings({ buildIndexes: 'never' })).map(({ name }) => name);
    assert.equal(names, ['ShortOplogWindow']);
  };
  await within(TEST_MS, check(), 'the check');
});

async function refuseAndGoOn(): Promise<void> {
  await using ferry = await FerryProcess.between(pair);
  const rest = new RestClient(() => ferry.httpUrl);
  await rest.waitFor('IDLE', ({ state }) => state === 'IDLE');
  for (const [, provoke] of BLOCKERS) await provoke();
  const body = '{"source": "cluster0", "destination": "cluster1"}';
  const check = await rest.post('check', body);
  assert.equal([check.status, check.body['success'], check.body['ok']], [200, true, false]);
  const all = check.body['findings'] as { name: string; severity: string }[];
  const blockers = all.filter(({ severity }) => severity === 'blocker').map(({ name }) => name);
  assert.equal([...blockers].sort(), BLOCKERS.map(([name]) => name).sort());
  assert.is(all.at(-1)?.severity, 'warning', 'blockers come first');
  const refused = await rest.post('start', body);
  assert.equal([refused.status, refused.body['error']], [412, blockers[0]]);
  for (const name of blockers.slice(1)) assert.match(String(refused.body['errorDescription']), new RegExp(name));
  assert.is((await rest.progress())['state'], 'IDLE');
  const databases = await destination.db().admin().listDatabases({ nameOnly: true });
  assert.not.ok(
    databases.databases.some(({ name }) => name === METADATA_DB),
    'a refused start leaves nothing',
  );

  await resetClusters(source, destination);
  await source.db('shop').collection('items').insertOne({ a: 1 });
  assert.is((await rest.post('start', body)).status, 200, 'once all is mended the same process starts');
  await rest.waitFor('canCommit', ({ canCommit }) => canCommit === true);
}

test('all blockers are told at once, start refuses by the first one with 412, and the process goes on', async () => {
  await within(TEST_MS, refuseAndGoOn(), 'the refusal');
});

test("a sync tool's leftovers on the destination are refused by name, and stay as they are", async () => {
  const refuse = async () => {
    await destination.db(METADATA_DB).collection('resumeData').insertOne({ phase: 'x' });
    const error = await harness.migration.start(DEFAULT_START).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    assert.is((error as { code?: string } | undefined)?.code, 'ForeignMetadata');
    assert.is(await destination.db(METADATA_DB).collection('resumeData').countDocuments(), 1);
    assert.is(harness.snapshot.state, 'IDLE');
    const [found, ...more] = await findingsBut('ShortOplogWindow');
    assert.equal([found?.name, found?.severity, more.length], ['ForeignMetadata', 'blocker', 0]);
    const left = await destination.db(METADATA_DB).listCollections().toArray();
    assert.equal(
      left.map(({ name }) => name),
      ['resumeData'],
      'nothing is added to what is not ours',
    );
  };
  await within(TEST_MS, refuse(), 'the refusals');
});

type Read = Cluster['read'];

/** Lets the replies of a command look as they would on servers that cannot be had here. */
async function withReplies<T>(command: string, change: (reply: never) => object, work: () => Promise<T>): Promise<T> {
  const original: Read = Cluster.prototype.read;
  Cluster.prototype.read = async function read(...args: Parameters<Read>) {
    const reply = await original.apply(this, args);
    return command in args[2] ? { ...reply, ...change(reply as never) } : reply;
  };
  try {
    return await work();
  } finally {
    Cluster.prototype.read = original;
  }
}

test('InsufficientDestinationDiskSpace is found by what the destination tells of its disk, unless it is not to be', async () => {
  const check = async () => {
    await source.db('shop').collection('items').insertOne({ a: 1 });
    const full = () => ({ fsTotalSize: 1e12, fsUsedSize: 1e12 - 1 });
    await withReplies('dbStats', full, async () => {
      const [found, ...more] = await findingsBut('ShortOplogWindow');
      assert.equal([found?.name, found?.severity, more.length], ['InsufficientDestinationDiskSpace', 'blocker', 0]);
      const names = (await findings({ skipDiskSpaceCheck: true })).map(({ name }) => name);
      assert.equal(names, ['ShortOplogWindow']);
      await using own = await MigrationHarness.open(pair);
      const refused = await own.migration.start(DEFAULT_START).catch((reason: unknown) => reason);
      assert.is((refused as { code?: string }).code, 'InsufficientDestinationDiskSpace');
      await own.sync({ skipDiskSpaceCheck: true });
      await own.commit();
      assert.is(await destination.db('shop').collection('items').countDocuments(), 1);
    });
    await resetClusters(destination);
    await withReplies(
      'dbStats',
      () => ({ fsTotalSize: 1e12, fsUsedSize: 0 }),
      async () => {
        assert.equal(await findingsBut('ShortOplogWindow'), []);
      },
    );
  };
  await within(TEST_MS, check(), 'the check');
});

test('NamesDifferOnlyInCase is found in catalogs of old, which a server no longer lets come about', async () => {
  const check = async () => {
    await source.db('shop').collection('items').insertOne({ a: 1 });
    const both = ({ databases }: { databases: { name: string }[] }) =>
      databases.some(({ name }) => name === 'shop') ? { databases: [...databases, { name: 'Shop' }] } : {};
    await withReplies('listDatabases', both, async () => {
      const [found] = await findingsBut('ShortOplogWindow');
      assert.equal([found?.name, found?.severity], ['NamesDifferOnlyInCase', 'blocker']);
      assert.match(found?.description ?? '', /shop, Shop/);
    });
  };
  await within(TEST_MS, check(), 'the check');
});

/** What is worth a warning: its name, what provokes it, and the namespaces it must hold. */
const WARNINGS: readonly (readonly [name: string, provoke: () => Promise<unknown>, namespaces: readonly string[]])[] = [
  [
    'ProfilingNotMigrated',
    async () => {
      await source.db('shop').command({ profile: 2 });
      await source.db('shop').collection('items').insertOne({ a: 1 });
      await source.db('shop').command({ profile: 0 });
    },
    ['shop'],
  ],
  [
    'ManyIndexes',
    () =>
      source
        .db('shop')
        .collection('items')
        .createIndexes(Array.from({ length: 63 }, (_, n) => ({ key: { [`f${n}`]: 1 } }))),
    ['shop.items'],
  ],
];

for (const [name, provoke, namespaces] of WARNINGS) {
  test(`${name} is told, with its namespaces and what to do`, async () => {
    const check = async () => {
      await provoke();
      const [found, ...more] = await findingsBut('ShortOplogWindow');
      assert.equal(more, []);
      assert.equal([found?.name, found?.severity], [name, 'warning']);
      assert.equal(found?.namespaces, namespaces);
      assert.ok(found !== undefined && found.remedy !== '');
    };
    await within(TEST_MS, check(), 'the check');
  });
}

test('NamespaceTooLong is found where another name of the database makes it so', async () => {
  const check = async () => {
    const name = 'c'.repeat(235);
    await source.db('shop').collection(name).insertOne({ a: 1 });
    const to = 'a_far_longer_name';
    const [found] = await findings({ namespaceRemap: [{ from: 'shop', to: `${to}_too` }] });
    assert.equal([found?.name, found?.severity], ['NamespaceTooLong', 'blocker']);
    assert.equal(found?.namespaces, [`${to}_too.${name}`]);
    assert.equal(
      (await findings({ namespaceRemap: [{ from: 'shop', to }] })).map((each) => each.name),
      ['ShortOplogWindow'],
    );
  };
  await within(TEST_MS, check(), 'the check');
});

test('Arbiters are told, on either side', async () => {
  const check = async () => {
    await source.db('shop').collection('items').insertOne({ a: 1 });
    const withArbiter = ({ config }: { config: { members: object[] } }) => ({
      config: { ...config, members: [...config.members, { host: 'arbiter:1', arbiterOnly: true }] },
    });
    await withReplies('replSetGetConfig', withArbiter, async () => {
      const found = await findingsBut('ShortOplogWindow');
      assert.equal(
        found.map(({ name, severity, description }) => [name, severity, description.slice(0, 9)]),
        [
          ['Arbiters', 'warning', 'cluster0:'],
          ['Arbiters', 'warning', 'cluster1:'],
        ],
      );
      assert.match(found[0]?.description ?? '', /arbiter:1/);
    });
  };
  await within(TEST_MS, check(), 'the check');
});

test('the oplog is to last twice as long as a slow copy of the data, and an hour', async () => {
  const check = async () => {
    await source.db('shop').collection('items').insertOne({ a: 1 });
    let asked = 0;
    // The oldest entry is asked for, then the newest one.
    const twoHours = () => ({
      cursor: { firstBatch: [{ ts: new Timestamp({ t: asked++ % 2 === 0 ? 1000 : 8200, i: 1 }) }] },
    });
    const ofSize = (bytes: number) => (reply: { databases: { name: string }[] }) => ({
      databases: reply.databases.map((each) => (each.name === 'shop' ? { ...each, sizeOnDisk: bytes } : each)),
    });
    const told = (bytes: number) =>
      withReplies('find', twoHours, () =>
        withReplies('listDatabases', ofSize(bytes), () => findings({ skipDiskSpaceCheck: true })),
      );
    assert.equal(await told(50e9), []);
    const [found, ...more] = await told(200e9);
    assert.equal([found?.name, found?.severity, more.length], ['ShortOplogWindow', 'warning', 0]);
    assert.match(found?.description ?? '', /spans 2 hours of writes so far; 5\.6 would be/);
  };
  await within(TEST_MS, check(), 'the check');
});

test('options that exclude each other are refused before anything is looked at', async () => {
  const error = await findings({ reversible: true, enableUserWriteBlocking: 'none' }).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  const { code, violations } = error as { code: string; violations: { field: string }[] };
  assert.is(code, 'InvalidRequest');
  assert.ok(
    violations.some(({ field }) => field === 'reversible'),
    JSON.stringify(violations),
  );
});

test.run();
