/** Which cluster is which in a migration, and the right of this process to work on it. */
import type { Cluster } from '../cluster/cluster.js';
import type { Logger } from '../lib/logger.js';
import { linkAbort } from '../lib/signals.js';
import { endEarlier } from '../metadata/earlier-holders.js';
import { Lease, type LeaseStore } from '../metadata/lease.js';
import type { MigrationRecord } from '../metadata/records.js';
import { MetadataStore } from '../metadata/store.js';
import { StoredRecord } from '../metadata/stored-record.js';

/** Which cluster is which, and the right to write for the migration. A reversal moves it to another one. */
export interface Roles {
  readonly source: Cluster;
  readonly destination: Cluster;
  readonly store: MetadataStore;
  readonly lease: Lease;
}

/** A migration whose lease this process holds, in one direction: a reversal makes another one. */
export interface HeldMigration extends Roles {
  readonly record: StoredRecord;
}

/** Roles whose lease is still to be taken. From now on every write to either cluster asks for it. */
export function rolesOf(source: Cluster, destination: Cluster, db: string, logger: Logger): Roles {
  const lease = new Lease(logger.component('lease'));
  const store = new MetadataStore(destination, db);
  store.fence(() => lease.term);
  const roles = { source, destination, store, lease };
  guard(roles);
  lease.bind(leaseStore(roles, logger));
  return roles;
}

/** Every write to either cluster asks the lease of these roles. */
export function guard({ source, destination, store, lease }: Roles): void {
  source.guardWrites(lease);
  destination.guardWrites(lease, store.db);
}

function leaseStore({ source, destination, store }: Roles, logger: Logger): LeaseStore {
  const { clientTag: client, facts, sessionIds: sessions } = destination;
  return {
    marks: { client, sessions, user: facts.user },
    mayStillChange: () => destination.mayStillChange || source.mayStillChange,
    hasLost: () => destination.hasLost || source.hasLost,
    readLease: (signal) => store.readLease(signal),
    changeLease: (filter, pipeline, upsert) => store.changeLease(filter, pipeline, upsert),
    endEarlier: (earlier, signal) => endEarlier({ destination, source, metadataDb: store.db, logger }, earlier, signal),
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
