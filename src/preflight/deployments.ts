/** Checks the versions, topologies and members of both clusters. */
import type { Cluster } from '../cluster/cluster.js';
import { readFcv } from '../cluster/feature-version.js';
import { blocker, type Finding, warning } from './finding.js';

type Release = readonly [major: number, minor: number];

const MIN_SOURCE: Release = [4, 4];
const MIN_DESTINATION: Release = [6, 0];

/** What the versions, topologies and identities of the two clusters permit. No commands besides the FCV reads. */
export async function checkDeployments(source: Cluster, destination: Cluster, signal: AbortSignal): Promise<Finding[]> {
  const findings = [
    ...checkTopology(source),
    ...checkTopology(destination),
    ...checkVersion(source, MIN_SOURCE),
    ...checkVersion(destination, MIN_DESTINATION),
    ...checkPair(source, destination),
    ...checkTried(source),
    ...[source, destination].flatMap(checkRapidRelease),
  ];
  if (source.facts.setId !== '' && source.facts.setId === destination.facts.setId) {
    findings.push(
      blocker(
        'SameCluster',
        `${source.label} and ${destination.label} are the same ${source.isSharded ? 'sharded cluster' : 'replica set'}`,
        'Give two different clusters in --cluster0 and --cluster1.',
      ),
    );
  }
  for (const cluster of [source, destination]) {
    const minimum = cluster === source ? MIN_SOURCE : MIN_DESTINATION;
    if (cluster.facts.topology === 'standalone' || !cluster.isAtLeast(...minimum)) continue;
    // What the events of 6.0 tell depends on it.
    findings.push(...(await checkFcv(cluster, cluster.isAtLeast(6) ? MIN_DESTINATION : minimum, signal)));
  }
  return findings;
}

function checkTopology(cluster: Cluster): Finding[] {
  if (cluster.facts.topology === 'standalone') {
    return [
      blocker(
        'StandaloneServer',
        `${cluster.label} is a standalone server: it has no oplog to follow`,
        'Convert it to a replica set; one member is enough.',
      ),
    ];
  }
  return [];
}

function checkVersion(cluster: Cluster, minimum: Release): Finding[] {
  if (cluster.isAtLeast(...minimum)) return [];
  return [
    blocker(
      'UnsupportedVersion',
      `${cluster.label} runs MongoDB ${cluster.facts.versionText}`,
      'mongoferry needs a source of MongoDB 4.4 or later and a destination of 6.0 or later; upgrade it first.',
    ),
  ];
}

function checkPair(source: Cluster, destination: Cluster): Finding[] {
  const [fromMajor, fromMinor] = source.facts.version;
  const [toMajor, toMinor] = destination.facts.version;
  const versions = `from ${source.facts.versionText} to ${destination.facts.versionText}`;
  if (toMajor < fromMajor || (toMajor === fromMajor && toMinor < fromMinor)) {
    return [
      blocker(
        'UnsupportedVersionPair',
        `the destination is older than the source (${versions})`,
        'Migrate to a server of the same or a later release.',
      ),
    ];
  }
  if (toMajor > fromMajor + 2)
    return [
      warning(
        'UnusualVersionPair',
        `the releases are far apart (${versions})`,
        'Rehearse the migration with a copy of the data first.',
      ),
    ];
  return [];
}

const NEWEST_SOURCE: Release = [8, 0];

/** What newer servers tell in their change events is not known yet; what is not understood ends the migration. */
function checkTried(source: Cluster): Finding[] {
  if (!isNewer(source)) return [];
  return [
    warning(
      'UntestedVersion',
      `${source.label} runs MongoDB ${source.facts.versionText}, which is later than ${NEWEST_SOURCE.join('.')}`,
      'Rehearse the migration with a copy of the data first.',
    ),
  ];
}

function isNewer(cluster: Cluster): boolean {
  const [major, minor] = cluster.facts.version;
  return major > NEWEST_SOURCE[0] || (major === NEWEST_SOURCE[0] && minor > NEWEST_SOURCE[1]);
}

/** From 5.0 on the releases between two major ones are supported for a few months only, and not for downgrades. */
function checkRapidRelease(cluster: Cluster): Finding[] {
  const [major, minor] = cluster.facts.version;
  if (major < 5 || minor === 0) return [];
  return [
    warning(
      'RapidRelease',
      `${cluster.label} runs MongoDB ${cluster.facts.versionText}, a release between two major ones`,
      'Upgrade it to the next major release, or rehearse the migration with a copy of the data first.',
    ),
  ];
}

/** Members without data confirm no majority: writes to the destination, and reads of the source, wait with one down. */
export async function checkArbiters(clusters: readonly Cluster[], signal: AbortSignal): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const cluster of clusters) {
    // A mongos does not tell of its shards' members.
    if (cluster.isSharded) continue;
    const reply = await cluster.read('reading the members', 'admin', { replSetGetConfig: 1 }, signal);
    const { members } = reply['config'] as { members: { host: string; arbiterOnly?: boolean }[] };
    const arbiters = members.filter(({ arbiterOnly }) => arbiterOnly === true).map(({ host }) => host);
    if (arbiters.length === 0) continue;
    findings.push(
      warning(
        'Arbiters',
        `${cluster.label} has arbiters, which store no data and cannot confirm writes: ${arbiters.join(', ')}`,
        'While a member is down, no majority may be left to confirm writes, and the migration waits. Replace the arbiters by members with data, at least for the migration.',
      ),
    );
  }
  return findings;
}

async function checkFcv(cluster: Cluster, minimum: Release, signal: AbortSignal): Promise<Finding[]> {
  const version = await readFcv(cluster, signal);
  if (version === undefined || Number.parseFloat(version) >= Number(minimum.join('.'))) return [];
  return [
    blocker(
      'UnsupportedVersion',
      `${cluster.label} runs with featureCompatibilityVersion ${version}`,
      `Run setFeatureCompatibilityVersion on it, to its own release.`,
    ),
  ];
}
