import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Cluster } from '../../src/cluster/cluster.js';
import { checkDeployments } from '../../src/preflight/deployments.js';
import type { Finding } from '../../src/preflight/finding.js';
import { DEFAULT_START, MigrationHarness } from '../support/migration-harness.js';
import { findMongod } from '../support/mongod-binary.js';
import { MongodProcess } from '../support/mongod-process.js';
import { ReplicaSet } from '../support/replica-set.js';
import { sharedSet } from '../support/shared-servers.js';
import { within } from '../support/within.js';

/** The first use of an old server fetches it. */
const TEST_MS = 240_000;

const set = await sharedSet(test);
const client = await set.connect();

/** The findings between two deployments; `start` must refuse with the first blocker. */
async function checkBetween(source: { uri: string }, destination: { uri: string }): Promise<readonly Finding[]> {
  await using harness = await MigrationHarness.open({ source, destination });
  const found = await harness.migration.check(DEFAULT_START);
  const first = found.find(({ severity }) => severity === 'blocker');
  if (first !== undefined) {
    const error = await harness.migration.start(DEFAULT_START).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    assert.is((error as { code?: string } | undefined)?.code, first.name);
    assert.is(harness.snapshot.state, 'IDLE');
  }
  return found.filter(({ name }) => name !== 'ShortOplogWindow');
}

const namesOf = (found: readonly Finding[]): string[] => found.map(({ name }) => name);

test('sources of 4.4 and 5.0 are accepted, with a featureCompatibilityVersion of 4.4 at least', async () => {
  const check = async () => {
    for (const version of ['4.4', '5.0'] as const) {
      await using old = await ReplicaSet.start({ version });
      assert.equal(namesOf(await checkBetween(old, set)), [], version);
      if (version === '5.0') continue;
      await (await old.connect()).db('admin').command({ setFeatureCompatibilityVersion: '4.2' });
      const [found, ...more] = await checkBetween(old, set);
      assert.equal([found?.name, found?.severity, more.length], ['UnsupportedVersion', 'blocker', 0]);
      assert.match(found?.description ?? '', /cluster0: .*featureCompatibilityVersion 4\.2/);
    }
  };
  await within(TEST_MS, check(), 'the checks');
});

test('UnsupportedVersion: a destination before 6.0 is told what this version needs', async () => {
  const check = async () => {
    await using older = await ReplicaSet.start({ version: '4.4' });
    await using old = await ReplicaSet.start({ version: '5.0' });
    const [found, ...more] = await checkBetween(older, old);
    assert.equal([found?.name, found?.severity, more.length], ['UnsupportedVersion', 'blocker', 0]);
    assert.match(found?.description ?? '', new RegExp(`cluster1: 127.0.0.1:\\d+ runs MongoDB ${old.version}`));
  };
  await within(TEST_MS, check(), 'the check');
});

test('UnsupportedVersionPair: a destination older than the source; a later patch release on the source is none', async () => {
  const check = async () => {
    await using old = await ReplicaSet.start({ version: '5.0' });
    assert.equal(namesOf(await checkBetween(set, old)), ['UnsupportedVersion', 'UnsupportedVersionPair']);
    await using newer = await ReplicaSet.start({ version: '6.0.27' });
    assert.equal(namesOf(await checkBetween(newer, set)), []);
  };
  await within(TEST_MS, check(), 'the checks');
});

test('UnsupportedVersion: a server of 6.0 whose featureCompatibilityVersion is behind, on either side', async () => {
  const check = async () => {
    await using other = await ReplicaSet.start();
    const admin = (await other.connect()).db('admin');
    await admin.command({ setFeatureCompatibilityVersion: '5.0' });
    const [found, ...more] = await checkBetween(set, other);
    assert.equal([found?.name, found?.severity, more.length], ['UnsupportedVersion', 'blocker', 0]);
    assert.match(found?.description ?? '', /cluster1: .*featureCompatibilityVersion 5\.0/);
    const [asSource, ...others] = await checkBetween(other, set);
    assert.equal([asSource?.name, asSource?.severity, others.length], ['UnsupportedVersion', 'blocker', 0]);
    assert.match(asSource?.description ?? '', /cluster0: .*featureCompatibilityVersion 5\.0/);
    await admin.command({ setFeatureCompatibilityVersion: '6.0' });
    assert.equal(namesOf(await checkBetween(set, other)), []);
  };
  await within(TEST_MS, check(), 'the checks');
});

test('StandaloneServer: on either side', async () => {
  const check = async () => {
    const folder = await mkdtemp(path.join(os.tmpdir(), 'mongoferry-standalone-'));
    const binary = await findMongod();
    const flags = ['--wiredTigerCacheSizeGB', '0.5'];
    const mongod = await MongodProcess.start({ binary, folder, name: 'standalone', flags });
    try {
      const standalone = { uri: `mongodb://${mongod.host}/` };
      const found = [...(await checkBetween(standalone, set)), ...(await checkBetween(set, standalone))];
      assert.equal(namesOf(found), ['StandaloneServer', 'StandaloneServer']);
      assert.match(found[0]?.description ?? '', new RegExp(`cluster0: ${mongod.host}`));
      assert.match(found[1]?.description ?? '', new RegExp(`cluster1: ${mongod.host}`));
    } finally {
      await mongod.kill();
      await rm(folder, { recursive: true, force: true });
    }
  };
  await within(TEST_MS, check(), 'the checks');
});

test('SameCluster: one replica set under two connection strings', async () => {
  const check = async () => {
    await client.db('shop').collection('items').insertOne({ a: 1 });
    const names = namesOf(
      await checkBetween({ uri: set.uri }, { uri: `mongodb://${set.hosts[0]}/?directConnection=true` }),
    );
    assert.equal(names, ['SameCluster']);
    await client.db('shop').dropDatabase();
  };
  await within(TEST_MS, check(), 'the check');
});

/** A cluster of a version or kind that no server at hand has. */
function clusterLike(facts: { version: readonly [number, number, number]; topology?: string; setId: string }): Cluster {
  const { version, topology = 'replicaSet', setId } = facts;
  const fake = {
    name: setId,
    label: `${setId}: h:1`,
    facts: { version, versionText: version.join('.'), topology, setId, address: 'h:1' },
    isAtLeast: (major: number, minor = 0) => version[0] > major || (version[0] === major && version[1] >= minor),
    read: async () => ({ featureCompatibilityVersion: { version: `${version[0]}.${version[1]}` } }),
  };
  return fake as unknown as Cluster;
}

async function namesBetween(...facts: readonly Parameters<typeof clusterLike>[0][]): Promise<string[]> {
  const [source, destination] = facts.map(clusterLike) as [Cluster, Cluster];
  return namesOf(await checkDeployments(source, destination, new AbortController().signal));
}

test('versions far apart, older destinations and sharded clusters, as no server here can show them', async () => {
  const check = async () => {
    const six = { version: [6, 0, 5], setId: 'a' } as const;
    assert.equal(await namesBetween(six, { version: [8, 0, 0], setId: 'b' }), []);
    assert.equal(await namesBetween(six, { version: [9, 0, 0], setId: 'b' }), ['UnusualVersionPair']);
    const source = (...version: [number, number, number]) =>
      namesBetween({ version, setId: 'a' }, { version: [8, 3, 0], setId: 'b' });
    assert.equal(await source(8, 0, 4), ['RapidRelease']);
    assert.equal(await source(7, 1, 0), ['RapidRelease', 'RapidRelease']);
    assert.equal(await source(8, 2, 0), ['UntestedVersion', 'RapidRelease', 'RapidRelease']);
    assert.equal(await namesBetween({ version: [9, 0, 0], setId: 'a' }, { version: [9, 0, 0], setId: 'b' }), [
      'UntestedVersion',
    ]);
    const old = { version: [4, 4, 29], setId: 'a' } as const;
    assert.equal(await namesBetween(old, { ...six, setId: 'b' }), []);
    assert.equal(await namesBetween(old, { version: [7, 0, 0], setId: 'b' }), ['UnusualVersionPair']);
    assert.equal(await namesBetween({ version: [4, 2, 0], setId: 'a' }, { ...six, setId: 'b' }), [
      'UnsupportedVersion',
    ]);
    assert.equal(await namesBetween({ version: [7, 0, 0], setId: 'a' }, { ...six, setId: 'b' }), [
      'UnsupportedVersionPair',
    ]);
    assert.equal(await namesBetween({ ...six, topology: 'standalone' }, { ...six, setId: 'b' }), ['StandaloneServer']);
  };
  await within(TEST_MS, check(), 'the checks');
});

test.run();
