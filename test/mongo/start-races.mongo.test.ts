import type { MongoClient } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { AppError } from '../../src/errors.js';
import { heldMigration, rolesOf } from '../../src/start/held-migration.js';
import { resolveStartOptions, type StartOptions } from '../../src/start/options.js';
import { newRecord, prepareStart, undoStart } from '../../src/start/starting.js';
import { compareClusters } from '../support/compare-clusters.js';
import { FAIL_POINTS, holdCommands } from '../support/fail-points.js';
import { DEFAULT_START, MigrationHarness } from '../support/migration-harness.js';
import { refusal } from '../support/refusal.js';
import { sharedCluster, sharedSet } from '../support/shared-servers.js';
import { silentLogger } from '../support/silent-logger.js';
import { isBlocked, METADATA_DB, resetClusters, storedWhen } from '../support/stored-migration.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 60_000;
const HOLD_MS = 2000;

const start = (name: string) => sharedSet(test, { name, setParameters: FAIL_POINTS });
const sets = await Promise.all([start('a'), start('b'), start('c')]);
const source = await sharedCluster(test, 'cluster0', sets[0]);
const destination = await sharedCluster(test, 'cluster1', sets[2]);
const [a, b, c] = await Promise.all([sets[0].connect(), sets[1].connect(), sets[2].connect()]);

test.before.each(async () => {
  await resetClusters(a, b, c);
  await a
    .db('shop')
    .collection('items')
    .insertMany([{ n: 1 }, { n: 2 }]);
  await b
    .db('office')
    .collection('desks')
    .insertMany([{ n: 3 }, { n: 4 }]);
});

const open = (from: 0 | 1, migrationName?: string): Promise<MigrationHarness> =>
  MigrationHarness.open({ source: sets[from], destination: sets[2] }, { migrationName });

const only = (database: string): Partial<StartOptions> => ({
  includeNamespaces: [{ database, collections: [] }],
  preExistingDestinationData: true,
});
const ALONE: Partial<StartOptions> = { enableUserWriteBlocking: 'none' };

const startRefusal = (harness: MigrationHarness, options: Partial<StartOptions>): Promise<AppError> =>
  refusal(harness.migration.start({ ...DEFAULT_START, ...options }));

/** Holds the storing of the next start's record, and does `meanwhile` once it waits. */
async function whileStoring(harness: MigrationHarness, options: Partial<StartOptions>, meanwhile: () => Promise<void>) {
  const namespace = `${METADATA_DB}.migration`;
  await holdCommands(c, { commands: ['update'], times: 1, namespace }, HOLD_MS);
  const refused = startRefusal(harness, options);
  await eventually(20_000, () => c.db(METADATA_DB).collection('schema').findOne(), 'the start being stored');
  await meanwhile();
  return await refused;
}

test('two migrations into one destination, each with preExistingDestinationData, run side by side to COMMITTED', async () => {
  const migrate = async () => {
    await using first = await open(0);
    await using second = await open(1, 'second');
    await first.sync(only('shop'));
    await second.sync(only('office'));
    await a.db('shop').collection('items').insertOne({ n: 5 });
    await b.db('office').createCollection('chairs');
    await first.commit();
    await c.db('shop').collection('items').insertOne({ n: 6 });
    await b.db('office').collection('chairs').insertOne({ n: 7 });
    await second.commit();
    const isOffice = (db: string) => db === 'office';
    const isShop = (db: string) => db === 'shop';
    await c.db('shop').collection('items').deleteOne({ n: 6 });
    assert.equal(await compareClusters(a, c, { isForeign: isOffice }), []);
    assert.equal(await compareClusters(b, c, { isForeign: isShop }), []);
  };
  await within(TEST_MS, migrate(), 'the migrations');
});

for (const [name, running, wanted, text] of [
  ['one that takes the destination for its own', ALONE, only('office'), /it needs the whole destination/],
  ['one that shares it, for another that does not', only('shop'), ALONE, /this one needs the whole destination/],
] as const) {
  test(`beside ${name} no other is accepted`, async () => {
    const refuse = async () => {
      await using first = await open(0);
      await using second = await open(1, 'second');
      await first.sync(running);
      const found = await second.migration.check({ ...DEFAULT_START, ...wanted });
      const [other, ...more] = found.filter((each) => each.name === 'OtherMigrationExists');
      assert.equal(more, []);
      assert.match(other?.description ?? '', text);
      const error = await startRefusal(second, wanted);
      assert.is(error.code, 'OtherMigrationExists');
      assert.match(error.message, text);
      await first.commit();
    };
    await within(TEST_MS, refuse(), 'the refusal');
  });
}

test('another migration that is started in the same moment is found once the own record is stored', async () => {
  const race = async () => {
    await using first = await open(0);
    await using second = await open(1, 'second');
    const error = await whileStoring(first, ALONE, async () => {
      await second.migration.start({ ...DEFAULT_START, ...only('office') });
    });
    assert.is(error.code, 'OtherMigrationExists');
    assert.is(first.snapshot.state, 'IDLE');
    assert.is(await c.db(METADATA_DB).collection('migration').countDocuments(), 0, 'nothing is left of it');
    await second.commit();
  };
  await within(TEST_MS, race(), 'the race');
});

test('a block that somebody sets on the destination while a migration is being started is not lifted', async () => {
  const race = async () => {
    await using harness = await open(0);
    const error = await whileStoring(harness, {}, async () => {
      await c.db('admin').command({ setUserWriteBlockMode: 1, global: true });
    });
    assert.is(error.code, 'DestinationWritesBlocked');
    assert.ok(await isBlocked(c), 'it is somebody else’s');
    await c.db('admin').command({ setUserWriteBlockMode: 1, global: false });
    await harness.sync();
    await harness.commit();
    await storedWhen(c, 'COMMITTED', ({ state }) => state === 'COMMITTED');
  };
  await within(TEST_MS, race(), 'the race');
});

test('a start whose lease another process has taken ends its process, whose connections the other one waits for', async () => {
  const race = async () => {
    await using harness = await open(0);
    const error = await whileStoring(harness, {}, async () => {
      const taken = { q: { _id: 'lease' }, u: { $set: { owner: 'another process' }, $inc: { term: 1 } } };
      await c.db(METADATA_DB).command({ update: 'lease', updates: [taken], mayBypassWriteBlocking: true });
    });
    assert.is(error.code, 'LeaseLost');
    assert.is((await harness.failure()).code, 'LeaseLost');
  };
  await within(TEST_MS, race(), 'the race');
});

test('a start that waited for the lease of a process that died in its own start undoes what that has left', async () => {
  const race = async (signal: AbortSignal) => {
    const roles = rolesOf(source, destination, { db: METADATA_DB, logger: silentLogger, instance: 'test' });
    await roles.lease.take(signal);
    const prepare = () => {
      const options = { ...resolveStartOptions(DEFAULT_START), buildIndexes: 'afterDataCopy' } as const;
      const held = heldMigration(roles, newRecord(options, source, destination, []));
      return prepareStart(held, true, async () => [], signal);
    };
    // The first one dies here: its record is one that is starting, and users are blocked.
    await prepare();
    assert.ok(await isBlocked(c));
    await prepare();
    assert.ok(await isBlocked(c));
    await undoStart(roles, signal);
    assert.not(await isBlocked(c));
    await roles.lease.release();
  };
  await within(TEST_MS, race, 'the starts');
});

test('a check that takes long holds up no other call', async () => {
  const look = async () => {
    await using harness = await open(0);
    await harness.sync();
    await holdCommands(a, { commands: ['listCollections'], times: 1 }, HOLD_MS);
    let checked = false;
    const checking = harness.migration.check(DEFAULT_START).then((found) => {
      checked = true;
      return found;
    });
    await harness.migration.pause();
    await harness.migration.resume();
    assert.not(checked);
    assert.is((await checking)[0]?.name, 'MigrationExists');
    await harness.commit();
  };
  await within(TEST_MS, look(), 'the calls');
});

for (const [name, write, error] of [
  [
    'ForeignMetadata',
    (client: MongoClient) => client.db(METADATA_DB).collection('resumeData').insertOne({ phase: 'x' }),
    /mongosync_reserved_for_internal_use, which mongoferry did not write/,
  ],
  [
    'MetadataUnreadable',
    (client: MongoClient) =>
      client
        .db(METADATA_DB)
        .collection<{ _id: string }>('schema')
        .insertOne({ _id: 'schema', product: 'mongoferry', version: 99 } as { _id: string }),
    /has version 99/,
  ],
] as const) {
  test(`${name}: only on the destination it is in the way, and is named with its cluster`, async () => {
    const look = async () => {
      await write(a);
      {
        await using harness = await open(0);
        assert.is(harness.snapshot.state, 'IDLE');
        assert.ok(
          harness.logLines.some((line) => line.includes('cluster0') && error.test(line)),
          'the log tells of it',
        );
        await harness.sync();
        await harness.commit();
      }
      await resetClusters(c);
      await write(c);
      await using harness = await open(0);
      assert.is(harness.snapshot.state, 'IDLE');
      const refused = await startRefusal(harness, {});
      assert.is(refused.code, name);
      assert.match(refused.message, /cluster1: 127/);
      assert.match(refused.message, error);
    };
    await within(TEST_MS, look(), 'the refusal');
  });
}

test('ForeignMetadata: what newer sync tools leave on the destination under another name', async () => {
  const refuse = async () => {
    await c.db('__mdb_internal_mongosync_state').collection('x').insertOne({ phase: 'x' });
    await using harness = await open(0);
    const refused = await startRefusal(harness, {});
    assert.is(refused.code, 'ForeignMetadata');
    assert.match(refused.message, /cluster1: 127.*__mdb_internal_mongosync_state/);
  };
  await within(TEST_MS, refuse(), 'the refusal');
});

test.run();
