import { randomBytes } from 'node:crypto';
import type { Db } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { NamespaceFilterEntry } from '../../src/catalog/namespace-filter.js';
import { Cluster } from '../../src/cluster/cluster.js';
import { type CompareOptions, compareClusters } from '../support/compare-clusters.js';
import { DEFAULT_START, MigrationHarness } from '../support/migration-harness.js';
import { sharedPair } from '../support/shared-servers.js';
import { resetClusters } from '../support/stored-migration.js';
import { eventually, within } from '../support/within.js';

const TEST_MS = 60_000;

const { pair, source, destination } = await sharedPair(test);

const all = (database: string): NamespaceFilterEntry => ({ database, collections: [] });
const some = (database: string, ...collections: string[]): NamespaceFilterEntry => ({ database, collections });

/** The filter of api.md: three collections of one database, and the whole of another. */
const SCHOOL = {
  includeNamespaces: [some('students', 'undergrad', 'graduate', 'adjuncts', 'archive'), all('staff')],
};
const inSchool: CompareOptions['target'] = (db, coll) =>
  db === 'staff' || (db === 'students' && ['undergrad', 'graduate', 'adjuncts', 'archive'].includes(coll))
    ? [db, coll]
    : undefined;

async function seedSchool(): Promise<Db> {
  const students = source.db('students');
  await students.collection('undergrad').insertMany([{ n: 1 }, { n: 2 }]);
  await students.collection('graduate').insertMany([{ n: 3 }, { n: 4 }]);
  await students.collection('graduate').createIndex({ n: 1 }, { unique: true });
  await students.collection('other').insertMany([{ n: 5 }]);
  await students.createCollection('view', { viewOn: 'undergrad', pipeline: [] });
  await source
    .db('staff')
    .collection('teachers')
    .insertMany([{ n: 6 }]);
  await source.db('staff').createCollection('view', { viewOn: 'teachers', pipeline: [{ $match: { n: 6 } }] });
  await source
    .db('prospects')
    .collection('current')
    .insertMany([{ n: 7 }, { n: 8 }]);
  await source.db('prospects').collection('current').createIndex({ n: -1 });
  return students;
}

async function namespacesOnDestination(): Promise<string[]> {
  const { databases } = await destination.db().admin().listDatabases({ nameOnly: true });
  const names = databases.map(({ name }) => name).filter((name) => !/^(admin|local|config|mongosync_)/.test(name));
  const found = await Promise.all(
    names.map(async (db) =>
      (await destination.db(db).listCollections({}, { nameOnly: true }).toArray()).map(({ name }) => `${db}.${name}`),
    ),
  );
  return found
    .flat()
    .filter((name) => !name.includes('.system.'))
    .sort();
}

/** What is done on the source in the steady state, under the school's filter, and is allowed. */
async function workInSchool(students: Db): Promise<void> {
  const staff = source.db('staff');
  await students.collection('undergrad').updateMany({}, { $set: { seen: true } });
  await students.collection('other').insertOne({ not: 'followed' });
  await students.collection('graduate').rename('adjuncts');
  await students.collection('graduate').insertOne({ n: 'again' });
  await students.collection('undergrad').drop();
  await students.createCollection('unnamed');
  await students.collection('unnamed').createIndex({ a: 1 });
  await students.dropCollection('view');
  await staff.collection('teachers').rename('professors');
  await staff.collection('teachers').insertOne({ fresh: true });
  await source.db('admin').command({ renameCollection: 'prospects.current', to: 'staff.newHires' });
  await staff.collection('newHires').insertOne({ n: 9 });
  await students
    .collection('other')
    .aggregate([{ $out: 'archive' }])
    .toArray();
  await students.collection('archive').createIndex({ not: 1 });
  await students.collection('archive').insertOne({ after: 'out' });
  await students
    .collection('adjuncts')
    .aggregate([{ $merge: { into: { db: 'staff', coll: 'merged' } } }])
    .toArray();
  await students
    .collection('adjuncts')
    .aggregate([{ $out: 'elsewhere' }])
    .toArray();
  // To another database that is not included: no more than a drop to the destination.
  await source.db('admin').command({ renameCollection: 'staff.merged', to: 'prospects.merged' });
  await students.command({ convertToCapped: 'adjuncts', size: 65_536 });
  await students.collection('adjuncts').insertOne({ capped: true });
  await students.command({ convertToCapped: 'elsewhere', size: 65_536 });
  await students.collection('other').rename('another');
}

test('only what the filter names is migrated, through all kinds of renames that it permits', async () => {
  const migrate = async () => {
    const students = await seedSchool();
    await using harness = await MigrationHarness.open(pair);
    await harness.sync(SCHOOL);
    assert.equal(await namespacesOnDestination(), [
      'staff.teachers',
      'staff.view',
      'students.graduate',
      'students.undergrad',
    ]);
    assert.equal(
      harness.migration.namespaces().map(({ namespace }) => namespace),
      ['staff.teachers', 'students.graduate', 'students.undergrad'],
    );
    await workInSchool(students);
    await harness.commit();
    assert.equal(await compareClusters(source, destination, { target: inSchool }), []);
    const archive = destination.db('students').collection('archive');
    assert.is(await archive.countDocuments(), 3);
    assert.ok((await archive.indexes()).some(({ name }) => name === 'not_1'));
  };
  await within(TEST_MS, migrate(), 'the filtered migration');
});

test('what happens in the middle of the copy is judged by the filter, too', async () => {
  const migrate = async () => {
    const students = await seedSchool();
    const filler = Array.from({ length: 20_000 }, (_, n) => ({ n, pad: 'x'.repeat(500) }));
    await source.db('staff').collection('filler').insertMany(filler);
    await using harness = await MigrationHarness.open(pair, { loadLevel: 1 });
    await harness.migration.start({ ...DEFAULT_START, ...SCHOOL });
    await harness.until((snapshot) => (snapshot.copy?.copiedBytes ?? 0) > 0, 'the copy beginning');
    await harness.migration.pause();
    await workInSchool(students);
    await harness.migration.resume();
    await harness.commit();
    assert.equal(await compareClusters(source, destination, { target: inSchool }), []);
  };
  await within(TEST_MS, migrate(), 'the filtered migration');
});

/** Renames that move a collection over the filter's border. */
const REFUSED: readonly (readonly [what: string, act: (students: Db) => Promise<unknown>, text: RegExp])[] = [
  [
    'out of the filter',
    (students) => students.collection('graduate').rename('gone'),
    /students\.graduate was renamed to students\.gone .* the filter does not include/,
  ],
  [
    'out of the filter, over another collection',
    (students) => students.collection('graduate').rename('other', { dropTarget: true }),
    /students\.graduate was renamed to students\.other/,
  ],
  [
    'into the filter',
    (students) => students.collection('other').rename('adjuncts'),
    /students\.other, which the filter does not include, was renamed to students\.adjuncts/,
  ],
  [
    'into the filter, over a collection in it',
    (students) => students.collection('other').rename('graduate', { dropTarget: true }),
    /students\.other, which the filter does not include, was renamed to students\.graduate/,
  ],
  [
    'into the filter from another database that is not wholly included',
    () => source.db('admin').command({ renameCollection: 'prospects.current', to: 'students.adjuncts' }),
    /a collection of another database was renamed to students\.adjuncts .* students is not wholly included/,
  ],
];

for (const [what, act, text] of REFUSED) {
  test(`a rename ${what} fails the migration, and says which`, async () => {
    const migrate = async () => {
      const students = await seedSchool();
      await using harness = await MigrationHarness.open(pair);
      await harness.sync(SCHOOL);
      await act(students);
      const error = await harness.failure();
      assert.is(error.code, 'UnsupportedChange');
      assert.match(error.message, text);
      assert.match(error.message, /Start a new migration/);
    };
    await within(TEST_MS, migrate(), 'the failure');
  });
}

test('include comes first, then exclude; what is excluded may be written to during the commit', async () => {
  const migrate = async () => {
    for (const db of ['shop', 'shop_eu', 'bank'])
      for (const coll of ['orders', 'log_1', 'log_2', 'audit']) await source.db(db).collection(coll).insertOne({ db });
    const options = {
      includeNamespaces: [{ databaseRegex: { pattern: '^SHOP', options: 'i' }, collections: [] }],
      excludeNamespaces: [
        {
          database: 'shop',
          collections: ['audit'],
          collectionsRegex: { pattern: '^log_ \\d  # numbered', options: 'x' },
        },
      ],
    };
    const target: CompareOptions['target'] = (db, coll) =>
      db === 'shop_eu' || (db === 'shop' && ['orders', 'new', 'log_x'].includes(coll)) ? [db, coll] : undefined;
    await using harness = await MigrationHarness.open(pair);
    await harness.sync(options);
    for (const coll of ['orders', 'new', 'log_x', 'log_3', 'log_1', 'audit']) {
      await source.db('shop').collection(coll).insertOne({ late: 1 });
      await source.db('bank').collection(coll).insertOne({ late: 1 });
    }
    await source.db('shop').dropCollection('log_2');
    let stop = false;
    const writing = (async () => {
      for (let n = 0; !stop; n++) {
        await source
          .db('bank')
          .collection(`c${n % 5}`)
          .insertOne({ n });
        await source.db('shop').collection('log_9').insertOne({ n });
        if (n % 5 === 4) await source.db('bank').dropDatabase();
        if (n % 5 === 3) await source.db('bank').collection('c3').rename('c_3', { dropTarget: true });
      }
    })();
    try {
      await harness.commit();
    } finally {
      stop = true;
      await writing;
    }
    assert.equal(await compareClusters(source, destination, { target }), []);
  };
  await within(TEST_MS, migrate(), 'the filtered migration');
});

test('a write to what is migrated after the commit time still fails the commit', async () => {
  const migrate = async () => {
    const students = await seedSchool();
    await using harness = await MigrationHarness.open(pair);
    await harness.sync(SCHOOL);
    let stop = false;
    const writing = (async () => {
      for (let n = 0; !stop; n++) await students.collection('undergrad').insertOne({ n });
    })();
    try {
      await harness.migration.commit();
      const error = await harness.failure();
      assert.is(error.code, 'SourceModifiedAfterCommit');
      assert.match(error.message, /students\.undergrad/);
    } finally {
      stop = true;
      await writing;
    }
  };
  await within(TEST_MS, migrate(), 'the failure');
});

test('what is created elsewhere while the catalog is read is not taken up', async () => {
  const migrate = async () => {
    await seedSchool();
    await using harness = await MigrationHarness.open(pair);
    const original = Cluster.prototype.command;
    let created: Promise<unknown> | undefined;
    Cluster.prototype.command = async function command(...args) {
      const reply = await original.apply(this, args);
      const isListing = 'listIndexes' in args[1] && harness.snapshot.state === 'RUNNING';
      if (isListing)
        created ??= Promise.all([
          source.db('prospects').collection('late').insertOne({ n: 1 }),
          source.db('students').collection('late').insertOne({ n: 1 }),
          source.db('staff').collection('late').insertOne({ n: 1 }),
        ]);
      await created;
      return reply;
    };
    try {
      await harness.sync(SCHOOL);
    } finally {
      Cluster.prototype.command = original;
    }
    assert.ok(created !== undefined);
    await harness.commit();
    assert.equal(await compareClusters(source, destination, { target: inSchool }), []);
    assert.ok((await namespacesOnDestination()).includes('staff.late'));
  };
  await within(TEST_MS, migrate(), 'the filtered migration');
});

test('a pattern that the server refuses is refused at start and check, with its text', async () => {
  const refuse = async () => {
    await seedSchool();
    await using harness = await MigrationHarness.open(pair);
    const options = {
      ...DEFAULT_START,
      includeNamespaces: [{ database: 'a', collections: [], collectionsRegex: { pattern: 'a++(b', options: '' } }],
      excludeNamespaces: [{ databaseRegex: { pattern: '*', options: 'i' }, collections: ['c'] }],
    };
    for (const call of ['start', 'check'] as const) {
      const error = await harness.migration[call](options).then(
        () => undefined,
        (reason: unknown) => reason as { code: string; violations: { field: string; description: string }[] },
      );
      assert.is(error?.code, 'InvalidRequest');
      assert.equal(
        error?.violations.map(({ field, description }) => `${field}: ${description}`),
        [
          'includeNamespaces[0].collectionsRegex.pattern: the server refuses it: missing )',
          'excludeNamespaces[0].databaseRegex.pattern: the server refuses it: nothing to repeat',
        ],
      );
    }
  };
  await within(TEST_MS, refuse(), 'the refusals');
});

test('what would stop a migration is looked for in what is migrated only', async () => {
  const check = async () => {
    await seedSchool();
    await source.db('students').createCollection('series', { timeseries: { timeField: 'at' } });
    await source.db('prospects').collection('twins').createIndex({ a: 1 }, { name: 'plain' });
    await source.db('prospects').collection('twins').createIndex({ a: 1 }, { name: 'strict', unique: true });
    await using harness = await MigrationHarness.open(pair);
    const names = async (options: object) =>
      (await harness.migration.check({ ...DEFAULT_START, ...options }))
        .map(({ name }) => name)
        .filter((name) => name !== 'FilterEntryNotFound');
    assert.equal((await names({})).slice(0, 2), ['TimeSeriesCollection', 'UniqueAndNonUniqueIndex']);
    assert.equal(await names(SCHOOL), ['ShortOplogWindow']);
    assert.equal(await names({ includeNamespaces: [all('Staff')] }), ['FilterMatchesNothing', 'ShortOplogWindow']);
    assert.equal(await names({ excludeNamespaces: [all('prospects'), some('students', 'series')] }), [
      'ShortOplogWindow',
    ]);
  };
  await within(TEST_MS, check(), 'the checks');
});

test('every entry of a filter that names nothing is told, by what of it is not there', async () => {
  const check = async () => {
    await seedSchool();
    await using harness = await MigrationHarness.open(pair);
    const regex = (pattern: string) => ({ pattern, options: '' });
    const found = await harness.migration.check({
      ...DEFAULT_START,
      includeNamespaces: [
        { database: 'students', collections: ['undergrad', 'gradaute'], collectionsRegex: regex('^x') },
        all('staff'),
        all('Staff'),
        { databaseRegex: regex('^pros'), collections: [] },
        { databaseRegex: regex('^cons'), collections: [] },
      ],
      excludeNamespaces: [
        some('staff', 'nobody'),
        { database: 'staff', collections: [], collectionsRegex: regex('.') },
      ],
    });
    const told = found.filter(({ name }) => name === 'FilterEntryNotFound');
    assert.equal(
      told.map(({ severity, description }) => `${severity}: ${description}`),
      [
        'warning: includeNamespaces[0] names databases or collections that are not on the source: students.gradaute, students./^x/',
        'warning: includeNamespaces[2] names databases or collections that are not on the source: Staff',
        'warning: includeNamespaces[4] names databases or collections that are not on the source: /^cons/',
        'warning: excludeNamespaces[0] names databases or collections that are not on the source: staff.nobody',
      ],
    );
  };
  await within(TEST_MS, check(), 'the check');
});

test('an expression that the server gives up on is refused by name, at the start and when such a name comes', async () => {
  const refuse = async () => {
    const name = `${'a'.repeat(40)}b`;
    const options = {
      includeNamespaces: [{ database: 'shop', collections: [], collectionsRegex: { pattern: '^(a+)+$', options: '' } }],
    };
    await source.db('shop').collection('aa').insertOne({ n: 1 });
    await using harness = await MigrationHarness.open(pair);
    await harness.sync(options);
    await source.db('shop').createCollection(name);
    const failure = await harness.failure();
    assert.is(failure.code, 'UnsupportedChange');
    assert.match(failure.message, /gives up on the regular expression \^\(a\+\)\+\$/);
    await resetClusters(destination);
    await using again = await MigrationHarness.open(pair);
    const error = await again.migration.start({ ...DEFAULT_START, ...options }).then(
      () => undefined,
      (reason: unknown) => reason as { code: string; message: string },
    );
    assert.is(error?.code, 'OptionNotSupported', error?.message);
    assert.match(error?.message ?? '', /gives up on the regular expression/);
  };
  await within(TEST_MS, refuse(), 'the refusals');
});

/** How often each command went to the migration's source meanwhile. */
async function countingCommands(uri: string, work: () => Promise<void>): Promise<Map<string, number>> {
  const commands = new Map<string, number>();
  const original = Cluster.prototype.command;
  Cluster.prototype.command = function command(...args) {
    const name = Object.keys(args[1])[0] ?? '';
    if (uri.includes(this.facts.address)) commands.set(name, (commands.get(name) ?? 0) + 1);
    return original.apply(this, args);
  };
  try {
    await work();
  } finally {
    Cluster.prototype.command = original;
  }
  return commands;
}

test('the disk space that is needed is that of what is migrated', async () => {
  const check = async () => {
    const noise = Array.from({ length: 200 }, () => ({ noise: randomBytes(10_000) }));
    await source.db('shop').collection('large').insertMany(noise);
    await source.db('shop').collection('small').insertOne({ n: 1 });
    await source.db('admin').command({ fsync: 1 });
    await using harness = await MigrationHarness.open(pair);
    const original = Cluster.prototype.read;
    Cluster.prototype.read = async function read(...args) {
      const reply = await original.apply(this, args);
      return 'dbStats' in args[2] ? { ...reply, fsTotalSize: 1e12, fsUsedSize: 1e12 - 1e6 } : reply;
    };
    try {
      const names = async (...includeNamespaces: NamespaceFilterEntry[]) =>
        (await harness.migration.check({ ...DEFAULT_START, includeNamespaces })).map(({ name }) => name);
      const tooSmall = ['InsufficientDestinationDiskSpace', 'ShortOplogWindow'];
      assert.equal(await names(), tooSmall);
      assert.equal(await names(all('shop')), tooSmall);
      assert.equal(await names(some('shop', 'large')), tooSmall);
      assert.equal(await names(some('shop', 'small')), ['ShortOplogWindow']);
    } finally {
      Cluster.prototype.read = original;
    }
  };
  await within(TEST_MS, check(), 'the checks');
});

test('an unfollowed collection that is written to costs no command per event', async () => {
  const migrate = async () => {
    await seedSchool();
    const filter = {
      includeNamespaces: [
        { database: 'students', collections: [], collectionsRegex: { pattern: '^[a-z.]', options: '' } },
      ],
    };
    await using harness = await MigrationHarness.open(pair);
    await harness.sync(filter);
    // Its name matches, but a temporary collection is judged by what it becomes.
    const temporary = 'tmp.agg_out.01234567-89ab-cdef-0123-456789abcdef';
    const commands = await countingCommands(pair.source.uri, async () => {
      for (let n = 0; n < 50; n++) await source.db('students').collection(temporary).insertOne({ n });
      await source.db('students').collection(temporary).drop();
      await source.db('students').collection('done').insertOne({ n: 1 });
      await eventually(
        10_000,
        () => destination.db('students').collection('done').findOne(),
        'the last write arriving',
      );
    });
    assert.ok((commands.get('getMore') ?? 0) > 0, 'the stream was read, and that was counted');
    assert.is(commands.get('listCollections') ?? 0, 0);
    // Only the new name "done" was to be decided.
    assert.ok((commands.get('aggregate') ?? 0) <= 1, `${commands.get('aggregate')} aggregates`);
    assert.ok(!(await namespacesOnDestination()).some((name) => name.includes('tmp')));
    await harness.commit();
    assert.equal(
      await compareClusters(source, destination, {
        target: (db, coll) => (db === 'students' ? [db, coll] : undefined),
      }),
      [],
    );
  };
  await within(TEST_MS, migrate(), 'the filtered migration');
});

test.run();
