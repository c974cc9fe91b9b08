import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { checkOptionSupport, type VersionedCluster } from '../../../src/preflight/option-support.js';

function clusterOf(major: number, minor = 0): VersionedCluster {
  const facts = { version: [major, minor, 1] as const, versionText: `${major}.${minor}.1` };
  return { facts, label: 'cluster0: host:27017', isAtLeast: (wanted: number) => major >= wanted };
}

function namesOf(
  from: VersionedCluster,
  to: VersionedCluster,
  options: { blocksSource: boolean; reversible: boolean },
): string[] {
  const found = checkOptionSupport(from, to, { buildIndexes: 'beforeDataCopy', documentFilter: null, ...options });
  return found.map(({ name, severity }) => `${name} ${severity}`);
}

const REFUSED = 'OptionNotSupported blocker';

test('a block of the source needs 6.0 there, and nothing of the destination', () => {
  const blocks = { blocksSource: true, reversible: false };
  assert.equal(namesOf(clusterOf(6), clusterOf(8), blocks), []);
  assert.equal(namesOf(clusterOf(5), clusterOf(6), blocks), [REFUSED]);
  assert.equal(namesOf(clusterOf(4, 4), clusterOf(6), { ...blocks, blocksSource: false }), []);
});

test('a reversible migration needs 6.0 on the source and one release on both sides', () => {
  const reversible = { blocksSource: true, reversible: true };
  assert.equal(namesOf(clusterOf(6), clusterOf(6), reversible), []);
  assert.equal(namesOf(clusterOf(6), clusterOf(7), reversible), [REFUSED]);
  assert.equal(namesOf(clusterOf(6), clusterOf(6, 1), reversible), [REFUSED]);
  assert.equal(namesOf(clusterOf(5), clusterOf(6), reversible), [REFUSED, REFUSED, REFUSED]);
});

test.run();
