import type { Cluster } from '../cluster/cluster.js';
import { AppError } from '../errors.js';
import { MetadataStore, metadataDatabases } from '../metadata/store.js';
import { blocker, type Finding } from '../preflight/finding.js';
import type { MigrationOptions } from './options.js';
import { isLive } from './recover.js';

interface Other {
  readonly db: string;
  readonly text: string;
  readonly blocks: boolean;
}

/**
 * What other migrations, on the clusters that this one would block, have against it: a write block is of a whole
 * cluster, so the one that ends first would lift it for both. Source: docs/options.md, migrationName.
 */
export async function checkOtherMigrations(
  options: Pick<MigrationOptions, 'writeBlocking'>,
  roles: { readonly source: Cluster; readonly destination: Cluster },
  ownDb: string,
  signal: AbortSignal,
): Promise<Finding[]> {
  const { source, destination } = roles;
  const findings: Finding[] = [];
  const onDestination = await liveMigrations(destination, ownDb, signal);
  if (options.writeBlocking !== 'none') findings.push(...onDestination.map((each) => refused(each, destination)));
  else findings.push(...onDestination.filter(({ blocks }) => blocks).map((each) => blocked(each, destination)));
  if (options.writeBlocking !== 'sourceAndDestination') return findings;
  const onSource = await liveMigrations(source, ownDb, signal);
  return [...findings, ...onSource.map((each) => refused(each, source))];
}

function refused({ db, text }: Other, cluster: Cluster): Finding {
  return blocker(
    'OtherMigrationExists',
    `another migration into ${cluster.label} is under way (${db}: ${text}); a write block would be of both`,
    'Start both with enableUserWriteBlocking "none", or wait until the other one is committed.',
  );
}

function blocked({ db, text }: Other, cluster: Cluster): Finding {
  return blocker(
    'OtherMigrationExists',
    `another migration into ${cluster.label} is under way (${db}: ${text}), and blocks writes there until its commit`,
    'Wait until it is committed. Several at a time go only with enableUserWriteBlocking "none" for each.',
  );
}

/** The migrations under another name into a cluster that are not over; what cannot be read counts as one. */
async function liveMigrations(cluster: Cluster, ownDb: string, signal: AbortSignal): Promise<Other[]> {
  const found: Other[] = [];
  for (const db of await metadataDatabases(cluster, signal)) {
    if (db === ownDb) continue;
    try {
      const record = await new MetadataStore(cluster, db).loadMigration(signal);
      if (record !== undefined && isLive(record))
        found.push({
          db,
          text: record.failure === undefined ? record.state : `failed in ${record.state}`,
          blocks: record.blockedDestination,
        });
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      if (error.code !== 'ForeignMetadata' && error.code !== 'MetadataUnreadable') throw error;
      found.push({ db, text: error.code, blocks: false });
    }
  }
  return found;
}
