/** Holds which cluster is which in a migration, together with the right of this process to work on it. */
import type { Cluster } from '../cluster/cluster.js';
import { WritableCluster } from '../cluster/writable-cluster.js';
import { writeSessions } from '../cluster/write-sessions.js';
import type { Logger } from '../lib/logger.js';
import { linkAbort } from '../lib/signals.js';
import { Lease } from '../metadata/lease.js';
import { StoredLease } from '../metadata/lease-store.js';
import type { MigrationRecord } from '../metadata/records.js';
import { MetadataStore } from '../metadata/store.js';
import { StoredRecord } from '../metadata/stored-record.js';

/** Which cluster is which, both with the right to write that the lease gives. A reversal makes others. */
export interface Roles {
  readonly source: WritableCluster;
  readonly destination: WritableCluster;
  readonly store: MetadataStore;
  readonly lease: Lease;
  /** The name of this process, its `--id`. */
  readonly instance: string;
}

/** Who asks for roles. */
export interface RolesOptions {
  /** The metadata database. */
  readonly db: string;
  readonly logger: Logger;
  /** The name of this process, its `--id`. */
  readonly instance: string;
  /** The `_id` of the lease that gives the right to write. Left out: that of the migration's own. */
  readonly leaseId?: string;
  /** Whether the migration is to be gone on with in this direction, and in no other. Default false. */
  readonly goesOn?: boolean;
}

/** A migration whose lease this process holds, in one direction: a reversal makes another one. */
export interface HeldMigration extends Roles {
  readonly record: StoredRecord;
}

/** Roles whose lease is still to be taken: until it is, every write by them is refused. */
export function rolesOf(source: Cluster, destination: Cluster, options: RolesOptions): Roles {
  const { db, logger, instance } = options;
  const sessions = writeSessions(destination, db);
  const lease = new Lease(new StoredLease({ source, destination, sessions, ...options }), logger.component('lease'));
  const writable = new WritableCluster(destination, lease, sessions);
  return {
    source: new WritableCluster(source, lease, undefined),
    destination: writable,
    store: new MetadataStore(writable, db),
    lease,
    instance,
  };
}

/** Precondition: the lease of the roles is held. */
export function heldMigration(roles: Roles, record: MigrationRecord): HeldMigration {
  return { ...roles, record: new StoredRecord(roles.store, record) };
}

/** Renews the lease until the returned function is called, or `signal` aborts; tells when it is lost. */
export function keepLease(lease: Lease, onLost: (error: unknown) => void, signal: AbortSignal): () => void {
  const link = linkAbort(signal);
  void lease
    .keep(link.signal)
    .catch((error: unknown) => {
      if (!link.signal.aborted) onLost(error);
    })
    .finally(() => link.dispose());
  return () => link.abort(new Error('the lease is no longer needed'));
}
