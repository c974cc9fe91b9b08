import type { Document, MongoClient, Timestamp } from 'mongodb';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { NamespaceFilterEntry } from '../../src/catalog/namespace-filter.js';
import { RegexJudge } from '../../src/catalog/regex-judge.js';
import { Scope } from '../../src/catalog/scope.js';
import { Cluster } from '../../src/cluster/cluster.js';
import { createUser, SOURCE_PRIVILEGES } from '../support/ferry-users.js';
import { ReplicaSet } from '../support/replica-set.js';
import { silentLogger } from '../support/silent-logger.js';
import { within } from '../support/within.js';

const TEST_MS = 60_000;
const signal = new AbortController().signal;

/** Patterns that JavaScript reads otherwise, or not at all: pattern, options, a name that matches, one that does not. */
const PATTERNS: readonly (readonly [pattern: string, options: string, matching: string, other: string])[] = [
  ['(?i)abc', '', 'xABCx', 'ab'],
  ['a++b', '', 'aab', 'aac'],
  ['\\Aabc\\z', '', 'abc', 'abc\n'],
  ['^abc$', '', 'abc\n', 'abc\nd'],
  ['^abc$', 'm', 'x\nabc', 'xabc'],
  ['^[[:digit:]]+$', '', '12', '1a'],
  ['a b  # the letters\n c', 'x', 'abc', 'a b c'],
  ['^(\\((?:[^()]|(?1))*\\))$', '', '(a(b)c)', '(a(b)c'],
  ['\\((?:[^()]|(?R))*\\)', '', '(a(b))', '((b'],
  ['a\\hb', '', 'a b', 'a-b'],
  ['(?P<n>x)-(?P=n)', '', 'x-x', 'x-y'],
  ['^.$', '', 'é', 'éé'],
  ['^.{2}$', '', '日本', '日'],
  ['^.$', '', '😀', '😀😀'],
  ['É', 'i', 'é', 'e'],
  ['^\\w+$', '', 'abc', 'é'],
  ['(*UCP)^\\w+$', '', 'é', '-'],
  ['^.$', 's', '\n', ''],
  ['\\Qa.b\\E', '', 'a.b', 'aXb'],
  ["it's", '', "it's", 'its'],
  ['a\tb|\\bc\\b', '', 'x c y', 'xcy'],
  ['^\\$\\$ROOT$', '', '$$ROOT', 'ROOT'],
];

for (const version of ['6.0', '5.0', '4.4'] as const) {
  test(`a server ${version} decides patterns with the documented privileges of a source's user`, async () => {
    const judge = async () => {
      await using set = await ReplicaSet.start({ version, auth: true });
      const uri = await createUser(set, await set.connect(), { name: 'least', privileges: SOURCE_PRIVILEGES });
      const cluster = await Cluster.connect({ name: 'cluster0', uri, logger: silentLogger, maxPoolSize: 2 });
      try {
        const judge = new RegexJudge(cluster);
        for (const [pattern, options, matching, other] of PATTERNS) {
          const regex = { pattern, options };
          assert.is(await judge.matches(regex, matching, signal), true, `${pattern} matches ${matching}`);
          assert.is(await judge.matches(regex, other, signal), false, `${pattern} does not match ${other}`);
        }
        assert.is(await judge.refusal({ pattern: 'a++', options: '' }, signal), undefined);
        assert.is(await judge.refusal({ pattern: '(a', options: '' }, signal), 'missing )');
        assert.match((await judge.refusal({ pattern: '[z-a]', options: 'x' }, signal)) ?? '', /range out of order/);
      } finally {
        await cluster.close();
      }
    };
    await within(TEST_MS, judge(), 'the judging');
  });
}

test('what was decided is remembered, and many names are decided by one command', async () => {
  const judge = async () => {
    await using set = await ReplicaSet.start();
    const cluster = await Cluster.connect({ name: 'cluster0', uri: set.uri, logger: silentLogger, maxPoolSize: 2 });
    let asked = 0;
    const read = cluster.read.bind(cluster);
    cluster.read = (...args) => {
      asked++;
      return read(...args);
    };
    try {
      const judge = new RegexJudge(cluster);
      const regex = { pattern: '7$', options: '' };
      const names = Array.from({ length: 1500 }, (_, n) => `c${n}`);
      await judge.learn(regex, names, signal);
      const matching = await Promise.all(names.map((name) => judge.matches(regex, name, signal)));
      assert.is(matching.filter(Boolean).length, 150);
      assert.is(asked, 1);
    } finally {
      await cluster.close();
    }
  };
  await within(TEST_MS, judge(), 'the judging');
});

const CRUD = ['insert', 'update', 'replace', 'delete'];

/** All events from a time on up to now, through the stages. */
async function readEvents(client: MongoClient, since: Timestamp, stages: Document[]): Promise<Document[]> {
  const note = await client.db('admin').command({ appendOplogNote: 1, data: { test: 1 } });
  const until = note['operationTime'] as Timestamp;
  const session = client.startSession({ causalConsistency: false });
  try {
    const stream = { $changeStream: { allChangesForCluster: true, startAtOperationTime: since } };
    const command = { aggregate: 1, pipeline: [stream, ...stages], cursor: {} };
    let { cursor } = await client.db('admin').command(command, { session, promoteLongs: false });
    const events: Document[] = [...cursor.firstBatch];
    const reached = (token: string): boolean => BigInt(`0x${token.slice(2, 18)}`) >= until.toBigInt();
    while (!reached(cursor.postBatchResumeToken._data)) {
      const getMore = { getMore: cursor.id, collection: '$cmd.aggregate', maxTimeMS: 100 };
      ({ cursor } = await client.db('admin').command(getMore, { session, promoteLongs: false }));
      events.push(...cursor.nextBatch);
    }
    await client.db('admin').command({ killCursors: '$cmd.aggregate', cursors: [cursor.id] }, { session });
    return events;
  } finally {
    await session.endSession();
  }
}

for (const version of ['6.0', '5.0', '4.4'] as const) {
  test(`a change stream of ${version} lets pass exactly the document changes that the scope follows`, async () => {
    const compare = async () => {
      await using set = await ReplicaSet.start({ version });
      const client = await set.connect();
      const cluster = await Cluster.connect({ name: 'cluster0', uri: set.uri, logger: silentLogger, maxPoolSize: 2 });
      try {
        const { operationTime } = await client.db('admin').command({ appendOplogNote: 1, data: { test: 0 } });
        const names = [...new Set(PATTERNS.flatMap(([, , a, b]) => [a, b]))].filter((name) => !/^$|\$/.test(name));
        for (const db of ['shop', "it's", 'x-y']) {
          for (const name of names) await client.db(db).collection(name).insertOne({ n: 1 });
          await client.withSession((session) =>
            session.withTransaction(async () => {
              for (const name of names)
                await client
                  .db(db)
                  .collection(name)
                  .updateOne({}, { $set: { n: 2 } }, { session });
            }),
          );
          for (const name of names) await client.db(db).collection(name).deleteMany({});
        }
        const everything = await readEvents(client, operationTime, []);
        for (const [pattern, options] of PATTERNS) {
          const regex = { pattern, options };
          const entries: NamespaceFilterEntry[] = [
            { database: 'shop', collections: ["it's"], collectionsRegex: regex },
            { databaseRegex: { pattern: "'|-", options: '' }, collections: ['abc'], collectionsRegex: regex },
          ];
          for (const list of ['includeNamespaces', 'excludeNamespaces'] as const) {
            const filter = { includeNamespaces: [], excludeNamespaces: [], [list]: entries };
            const scope = new Scope(cluster, { ...filter, namespaceRemap: [], preExistingDestinationData: false });
            const expected: Document[] = [];
            for (const event of everything) {
              if (!CRUD.includes(event['operationType']) || (await scope.follows(event['ns'], signal)))
                expected.push(event);
            }
            const passed = await readEvents(client, operationTime, scope.stages());
            const text = (events: Document[]) =>
              events.map((event) => `${event['operationType']} ${JSON.stringify(event['ns'])}`);
            assert.equal(text(passed), text(expected), `${list} ${pattern}`);
          }
        }
      } finally {
        await cluster.close();
      }
    };
    await within(TEST_MS, compare(), 'the comparison');
  });
}

test.run();
