import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Cluster } from '../../src/cluster/cluster.js';
import { assertEqualClusters } from '../support/compare-clusters.js';
import { DEFAULT_START, MigrationHarness } from '../support/migration-harness.js';
import { sharedPair } from '../support/shared-servers.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 60_000;

const { pair, source, destination } = await sharedPair(test);

test('a database is migrated unless its name is exactly one of migration tools', async () => {
  const migrate = async () => {
    const migrated = ['mongosync_metrics', 'mongosync_', '__mdb_internal', '__mdb_internal_data', 'mongosync_reserved'];
    for (const name of migrated) await source.db(name).collection('items').insertOne({ n: 1 });
    const reserved = ['mongosync_internal_other', 'mongosync_reserved_for_something', '__mdb_internal_mongosync_x'];
    for (const name of reserved) await source.db(name).collection('items').insertOne({ n: 1 });
    await using harness = await MigrationHarness.open(pair);
    const found = (await harness.migration.check(DEFAULT_START)).filter(({ name }) => name !== 'ShortOplogWindow');
    assert.equal(
      found.map(({ name, severity, namespaces }) => [name, severity, [...namespaces].sort()]),
      [['DatabasesNotMigrated', 'warning', [...reserved].sort()]],
    );
    await harness.sync();
    for (const name of migrated) await source.db(name).collection('items').insertOne({ n: 2 });
    await harness.commit();
    await assertEqualClusters(source, destination);
    for (const name of migrated) assert.is(await destination.db(name).collection('items').countDocuments(), 2, name);
    const { databases } = await destination.db().admin().listDatabases({ nameOnly: true });
    for (const name of reserved) assert.not.ok(databases.some((each) => each.name === name));
  };
  await within(TEST_MS, migrate(), 'the migration');
});

test('what no migration carries is told by name, by check and by warnings', async () => {
  const admin = source.db('admin');
  const tell = async () => {
    await source.db('shop').collection('items').insertOne({ n: 1 });
    await source
      .db('shop')
      .collection('system.js')
      .insertOne({ _id: 'f' as never, value: 'function () {}' });
    await admin.collection('settings').insertOne({ n: 1 });
    await admin.command({ createUser: 'app', pwd: 'secret', roles: [] });
    await source.db('shop').command({ createRole: 'clerk', privileges: [], roles: [] });
    const told: Readonly<Record<string, RegExp>> = {
      AdminCollectionsNotMigrated: /admin\.settings/,
      SearchIndexesNotMigrated: /shop\.items \(default\)/,
      SystemCollectionsNotMigrated: /shop\.system\.js/,
      UsersNotMigrated: /users: admin\.app; roles: shop\.clerk/,
    };
    await using harness = await MigrationHarness.open(pair);
    const found = await harness.migration.check(DEFAULT_START);
    for (const [name, text] of Object.entries(told)) {
      const finding = found.find((each) => each.name === name);
      assert.is(finding?.severity, 'warning', name);
      assert.match(finding?.description ?? '', text);
    }
    await harness.sync();
    for (const [name, text] of Object.entries(told)) {
      const isTold = () => harness.snapshot.warnings.some((each) => text.test(each));
      await eventually(5000, isTold, `${name} among the warnings`);
    }
    const filter = { includeNamespaces: [{ database: 'shop', collections: [] }] };
    const names = (await harness.migration.check({ ...DEFAULT_START, ...filter })).map(({ name }) => name);
    assert.ok(names.includes('SystemCollectionsNotMigrated') && !names.includes('AdminCollectionsNotMigrated'));
  };
  const tellAndTidyUp = async () => {
    try {
      await withSearchIndexes(tell);
    } finally {
      await tidyUp();
    }
  };
  await within(TEST_MS, tellAndTidyUp(), 'the check');

  async function tidyUp() {
    await admin.dropCollection('settings');
    await admin.command({ dropUser: 'app' });
    await source.db('shop').command({ dropRole: 'clerk' });
  }
});

/** Lets the servers answer as ones that have search indexes do, which cannot be had here. */
async function withSearchIndexes<T>(work: () => Promise<T>): Promise<T> {
  const { read } = Cluster.prototype;
  Cluster.prototype.read = function readOther(...args: Parameters<typeof read>) {
    const [stage] = (args[2]['pipeline'] as object[] | undefined) ?? [];
    if (stage === undefined || !('$listSearchIndexes' in stage)) return read.apply(this, args);
    return Promise.resolve({ cursor: { firstBatch: [{ name: 'default' }] } });
  };
  try {
    return await work();
  } finally {
    Cluster.prototype.read = read;
  }
}

test.run();
