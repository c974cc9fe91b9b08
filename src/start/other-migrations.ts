/** Finds other migrations of the same clusters that this one would disturb, or that would disturb it. */
import type { Cluster } from '../cluster/cluster.js';
import { metadataDatabases } from '../metadata/databases.js';
import type { MigrationOptions } from '../metadata/migration-options.js';
import { MetadataReader } from '../metadata/reader.js';
import { blocker, type Finding } from '../preflight/finding.js';
import { isLive, isUnreadable } from './recover.js';

interface Other {
  readonly db: string;
  readonly text: string;
  readonly blocks: boolean;
  /** Whether it takes a destination that holds data of others. */
  readonly shares: boolean;
}

/**
 * Finds other migrations that this one would disturb, or that would disturb this one. A write block is of a whole cluster, so the one that ends first would
 * lift it for both; and one that takes the destination for its own fails at its commit when another one has been writing
 * there. Source: docs/options.md, several migrations.
 */
export async function checkOtherMigrations(
  options: Pick<MigrationOptions, 'writeBlocking' | 'preExistingDestinationData'>,
  roles: { readonly source: Cluster; readonly destination: Cluster },
  ownDb: string,
  signal: AbortSignal,
): Promise<Finding[]> {
  const { source, destination } = roles;
  const findings: Finding[] = [];
  const onDestination = await liveMigrations(destination, ownDb, signal);
  for (const each of onDestination) {
    if (options.writeBlocking !== 'none') findings.push(refused(each, destination));
    else if (each.blocks) findings.push(blocked(each, destination));
    else if (!options.preExistingDestinationData || !each.shares) findings.push(unshared(each, destination));
  }
  if (options.writeBlocking !== 'sourceAndDestination') return findings;
  const onSource = await liveMigrations(source, ownDb, signal);
  return [...findings, ...onSource.map((each) => refused(each, source))];
}

function refused({ db, text }: Other, cluster: Cluster): Finding {
  return blocker(
    'OtherMigrationExists',
    `another migration into ${cluster.label} is under way (${db}: ${text}); a write block would affect both`,
    'Start both with enableUserWriteBlocking "none", or wait until the other one is committed.',
  );
}

function blocked({ db, text }: Other, cluster: Cluster): Finding {
  return blocker(
    'OtherMigrationExists',
    `another migration into ${cluster.label} is under way (${db}: ${text}), and blocks writes there until its commit`,
    'Wait until it is committed. Several at the same time need enableUserWriteBlocking "none" for each.',
  );
}

function unshared({ db, text, shares }: Other, cluster: Cluster): Finding {
  const whose = shares ? 'this one needs the whole destination' : 'it needs the whole destination';
  return blocker(
    'OtherMigrationExists',
    `another migration into ${cluster.label} is under way (${db}: ${text}), and ${whose}`,
    'Start each with preExistingDestinationData, or wait until the other one is committed.',
  );
}

/** The migrations under another name into a cluster that are not over; what cannot be read counts as one. */
async function liveMigrations(cluster: Cluster, ownDb: string, signal: AbortSignal): Promise<Other[]> {
  const found: Other[] = [];
  for (const db of await metadataDatabases(cluster, signal)) {
    if (db === ownDb) continue;
    try {
      const record = await new MetadataReader(cluster, db).loadMigration(signal);
      if (record !== undefined && isLive(record))
        found.push({
          db,
          text: record.failure === undefined ? record.state : `failed in ${record.state}`,
          blocks: record.blockedDestination,
          shares: record.options.preExistingDestinationData,
        });
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      found.push({ db, text: error.code, blocks: false, shares: false });
    }
  }
  return found;
}
