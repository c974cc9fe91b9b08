import type { Cluster } from '../cluster/cluster.js';
import type { Logger } from '../lib/logger.js';
import { linkAbort } from '../lib/signals.js';
import { Lease } from '../metadata/lease.js';
import type { MigrationRecord } from '../metadata/records.js';
import { MetadataStore } from '../metadata/store.js';
import { StoredRecord } from './record.js';

/** Which cluster is which, and the right to write for the migration. A reversal moves it to another one. */
export interface Roles {
  readonly source: Cluster;
  readonly destination: Cluster;
  readonly store: MetadataStore;
  readonly lease: Lease;
}

/** Roles with the migration's record. */
export interface Place extends Roles {
  readonly record: StoredRecord;
}

/** Roles whose lease is still to be taken. From now on every write to either cluster asks for it. */
export function rolesOf(source: Cluster, destination: Cluster, db: string, logger: Logger): Roles {
  const lease = new Lease(logger.component('lease'));
  const store = new MetadataStore(destination, db);
  lease.bind(store);
  store.fence(() => lease.term);
  const roles = { source, destination, store, lease };
  guard(roles);
  return roles;
}

/** Every write to either cluster asks the lease of these roles. */
export function guard({ source, destination, lease }: Roles): void {
  for (const cluster of [source, destination]) cluster.guardWrites(() => lease.assertHeld());
}

/** A place whose lease is held. */
export function placeOf(roles: Roles, record: MigrationRecord): Place {
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
