/** Stores the lease of a migration: on the destination, beside the migration's record. */
import type { Doc } from '../bson/bson.js';
import type { Cluster } from '../cluster/cluster.js';
import { Code } from '../cluster/errors.js';
import type { WriteSessions } from '../cluster/numbered-sessions.js';
import type { Logger } from '../lib/logger.js';
import { endEarlier } from './earlier-holders.js';
import { requireStored } from './fenced-documents.js';
import type { LeaseStore } from './lease.js';
import { type EarlierHolder, type HolderIdentity, MIGRATION_LEASE } from './lease-record.js';
import { MetadataReader } from './reader.js';

/** What the lease is kept with. */
export interface LeaseStoreParts {
  readonly source: Cluster;
  readonly destination: Cluster;
  /** The metadata database. */
  readonly db: string;
  /** Those that the holder will send its document writes in; undefined where none are numbered. */
  readonly sessions: WriteSessions | undefined;
  readonly logger: Logger;
  /** The name of the process, its `--id`. */
  readonly instance?: string;
  /** The `_id` of its record. Left out: that of the migration's own lease. */
  readonly leaseId?: string;
}

/** The lease's record in the metadata database. Needs no right to write: its changes say by themselves what they may change. */
export class StoredLease implements LeaseStore {
  readonly #parts: LeaseStoreParts;
  readonly #reader: MetadataReader;

  constructor(parts: LeaseStoreParts) {
    this.#parts = parts;
    this.#reader = new MetadataReader(parts.destination, parts.db);
  }

  get identity(): HolderIdentity {
    const { destination, sessions, instance } = this.#parts;
    const name = instance === undefined ? {} : { instance };
    return { client: destination.clientTag, sessions: sessions?.ids ?? [], user: destination.facts.user, ...name };
  }

  get leaseId(): string {
    return this.#parts.leaseId ?? MIGRATION_LEASE;
  }

  mayStillChange(): boolean {
    const { source, destination } = this.#parts;
    return destination.mayStillChange || source.mayStillChange;
  }

  hasLost(): boolean {
    const { sessions } = this.#parts;
    if (this.mayStillChange() || sessions === undefined) return this.mayStillChange();
    return sessions.data.holdsLost || sessions.record.holdsLost || sessions.others.hasLost;
  }

  readLease(signal: AbortSignal): Promise<Doc | undefined> {
    return this.#reader.readLease(this.leaseId, signal);
  }

  async changeLease(
    filter: Doc,
    set: Doc,
    { upsert }: { readonly upsert: boolean } = { upsert: false },
  ): Promise<boolean> {
    const { destination, db } = this.#parts;
    const command = { update: 'lease', updates: [{ q: filter, u: [{ $set: set }], upsert }] };
    const reply = await destination.writeUnguarded(db, command);
    const [error] = (reply['writeErrors'] as Doc[] | undefined) ?? [];
    // An upsert that meets the document of another holder.
    if (error !== undefined && Number(error['code']) === Code.DuplicateKey) return false;
    requireStored(reply);
    return Number(reply['n']) > 0;
  }

  endEarlier(earlier: readonly EarlierHolder[], signal: AbortSignal): Promise<void> {
    const { source, destination, db, logger } = this.#parts;
    return endEarlier({ destination, source, metadataDb: db, logger }, earlier, signal);
  }
}
