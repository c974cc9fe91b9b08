/** Removes what a committed migration has left on the clusters. */
import type { Cluster } from '../cluster/cluster.js';
import { AppError } from '../errors.js';
import { releaseBalancers } from '../layout/balancers.js';
import type { Logger } from '../lib/logger.js';
import { settlesWithin } from '../lib/signals.js';
import { metadataDatabase } from '../metadata/databases.js';
import { MetadataStore } from '../metadata/store.js';
import { type ConnectConfig, connectClusters } from '../start/connect.js';
import { heldMigration, keepLease, rolesOf } from '../start/held-migration.js';
import { type Found, findMigration } from '../start/recover.js';

/** How to clean up. */
export interface CleanUpOptions {
  readonly config: ConnectConfig & { readonly migrationName: string | undefined };
  readonly logger: Logger;
  /** Asked with what would be dropped, before it is; false: nothing is. */
  readonly confirm: (what: string) => Promise<boolean>;
}

const PATIENCE_MS = 15_000;
const CLOSE_MS = 1500;

/**
 * Drops the metadata of the committed migration between two clusters: afterwards it can neither be reversed nor shown, and
 * another one may begin. Resolves with what was dropped, empty when the answer was no.
 * Errors: InvalidStateTransition when there is none, or it is not committed; LeaseHeld while its process runs;
 * ClusterUnreachable; ClustersChanged.
 */
export async function cleanUp(options: CleanUpOptions, signal: AbortSignal): Promise<readonly string[]> {
  const clusters: Cluster[] = [];
  const { config, logger } = options;
  try {
    const connected = await connectClusters(
      { ...config, connectLimitMs: PATIENCE_MS },
      logger,
      { onConnected: (each) => clusters.push(each) },
      signal,
    );
    const db = metadataDatabase(config.migrationName);
    const found = await findMigration(connected, db, (error) => logger.warn(error.message), signal);
    return await dropCommitted(found, db, options, signal);
  } finally {
    await settlesWithin(Promise.all(clusters.map((each) => each.close())), CLOSE_MS);
  }
}

async function dropCommitted(
  found: Found | undefined,
  db: string,
  { logger, confirm }: CleanUpOptions,
  signal: AbortSignal,
): Promise<readonly string[]> {
  if (found === undefined)
    throw new AppError('InvalidStateTransition', `there is no migration to clean up: neither cluster holds ${db}`);
  const { record, source, destination } = found;
  if (record.state !== 'COMMITTED')
    throw new AppError(
      'InvalidStateTransition',
      `the migration is ${record.state}; cleanup needs COMMITTED. To give it up instead, stop its process, and drop what it has migrated and ${db} on ${destination.label}`,
      { metadata: { state: record.state } },
    );
  const roles = rolesOf(source, destination, { db, logger, instance: 'cleanup' });
  if (!(await roles.lease.takeFromDead(signal)))
    throw new AppError('LeaseHeld', "the migration's process is running: stop it first");
  const stopKeeping = keepLease(roles.lease, () => undefined, signal);
  try {
    // A reversal leaves a record behind on what is the source now.
    const left = await leftBehind(new MetadataStore(roles.source, db), signal);
    const what = [`${db} on ${destination.label}`, ...(left === undefined ? [] : [`${db} on ${source.label}`])];
    if (!(await confirm(what.join(' and ')))) {
      await roles.lease.release();
      return [];
    }
    await releaseBalancers(
      { clusters: [roles.source, roles.destination], record: heldMigration(roles, record).record },
      signal,
    );
    if (left !== undefined) await left.dropEverything(signal);
    await roles.store.dropEverything(signal);
    return what;
  } finally {
    stopKeeping();
  }
}

async function leftBehind(store: MetadataStore, signal: AbortSignal): Promise<MetadataStore | undefined> {
  return (await store.loadMigration(signal))?.moved === true ? store : undefined;
}
