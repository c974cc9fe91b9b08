/** Stores the lease of a migration: on the destination, beside the migration's record. */
import type { Doc } from '../bson/bson.js';
import type { Cluster } from '../cluster/cluster.js';
import { Code } from '../cluster/errors.js';
import type { WriteSessions } from '../cluster/numbered-sessions.js';
import { AppError } from '../errors.js';
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
  /** Whether the taker is to go on with the migration in this direction, and with no other. Default false. */
  readonly goesOn?: boolean;
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

  /**
   * A holder that has turned the migration around may live on, and wants this lease when it turns it around again: who
   * waited for its connections to end here would wait for ever, and it for this lease. Errors: LeaseLost then.
   */
  async endEarlier(earlier: readonly EarlierHolder[], signal: AbortSignal): Promise<void> {
    const { source, destination, db, logger, goesOn = false } = this.#parts;
    if (goesOn && (await this.#reader.loadMigration(signal))?.moved === true) throw reversedMeanwhile();
    await endEarlier({ destination, source, metadataDb: db, logger }, earlier, signal);
  }
}

/** The error of who was to go on with a migration whose direction has changed. */
export function reversedMeanwhile(): AppError {
  return new AppError('LeaseLost', 'another process has reversed the migration meanwhile; restart to follow it');
}
