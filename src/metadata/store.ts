/** Reads and writes all that a migration must remember, in its metadata database on the destination. */
import type { Doc } from '../cluster/bson.js';
import type { Cluster } from '../cluster/cluster.js';
import { Code } from '../cluster/errors.js';
import { AppError } from '../errors.js';
import { FencedDocuments, mustBeStored } from './fenced-documents.js';
import {
  fromCheckpoint,
  fromCollection,
  fromDdl,
  fromMigration,
  fromPartition,
  fromView,
  toCheckpoint,
  toCollection,
  toDdl,
  toMigration,
  toPartition,
  toView,
  viewId,
} from './record-codec.js';
import {
  type CheckpointRecord,
  type CollectionRecord,
  type DdlRecord,
  type MigrationRecord,
  type PartitionRecord,
  type RecordFields,
  SCHEMA_VERSION,
  type ViewRecord,
} from './records.js';

const PRODUCT = 'mongoferry';
/** What outlives a migration that did not begin: who may write, and which late writes are refused. */
const KEPT = new Set(['lease', 'numbers']);

/** Fields of the migration's record to set; `undefined` removes one. */
export type RecordChanges = { readonly [Name in keyof RecordFields]?: RecordFields[Name] | undefined };

/**
 * All that a migration must remember, on the destination: the process keeps nothing of its own. Writes are refused by
 * the cluster's guard when the lease is no longer certain, and fenced by its term (docs/02-lifecycle.md).
 */
export class MetadataStore {
  readonly db: string;
  readonly #cluster: Cluster;
  readonly #documents: FencedDocuments;

  constructor(cluster: Cluster, db: string) {
    this.#cluster = cluster;
    this.db = db;
    this.#documents = new FencedDocuments(cluster, db);
  }

  /** From now on what is stored carries the lease's term, and replaces nothing of a higher one. */
  fence(term: () => number | undefined): void {
    this.#documents.fence(term);
  }

  /** The migration's record, or undefined when the destination holds none. Errors: ForeignMetadata, MetadataUnreadable. */
  async loadMigration(signal: AbortSignal): Promise<MigrationRecord | undefined> {
    const names = await this.#documents.collectionNames(signal);
    const [schema] = names.has('schema') ? await this.#documents.find('schema', {}, signal) : [];
    if (schema === undefined) {
      if (names.size > 0 && !onlyLease(names)) throw this.#foreign();
      return undefined;
    }
    if (schema['product'] !== PRODUCT) throw this.#foreign();
    if (schema['version'] !== SCHEMA_VERSION) {
      throw new AppError(
        'MetadataUnreadable',
        `the metadata in ${this.db} on ${this.#cluster.label} is of version ${String(schema['version'])}, this program reads version ${SCHEMA_VERSION}: finish the migration with the version that began it`,
      );
    }
    const [doc] = await this.#documents.find('migration', { _id: 'migration' }, signal);
    return doc === undefined ? undefined : toMigration(doc);
  }

  /** Errors: ForeignMetadata when newer mongosyncs have left something on this cluster; theirs have names of their own. */
  async refuseNewerTools(signal: AbortSignal): Promise<void> {
    const command = { listDatabases: 1, nameOnly: true, filter: { name: /^__mdb_internal_mongosync/ } };
    const reply = await this.#cluster.read('listing metadata databases', 'admin', command, signal);
    const [found] = reply['databases'] as { name: string }[];
    if (found !== undefined) throw this.#foreign(found.name);
  }

  /** Creates the record of a new migration. */
  async createMigration(record: MigrationRecord, signal: AbortSignal): Promise<void> {
    await this.claim(signal);
    await this.#documents.put('migration', [fromMigration(record)], signal);
  }

  /** Marks the database as ours, before anything else is stored in it. */
  async claim(signal: AbortSignal): Promise<void> {
    const schema = { _id: 'schema', product: PRODUCT, version: SCHEMA_VERSION };
    await this.#documents.put('schema', [schema], signal);
  }

  /** Sets fields of the migration's record; `undefined` removes one. */
  async updateMigration(changes: RecordChanges, signal: AbortSignal): Promise<void> {
    await this.#documents.setFields('migration', 'migration', changes, signal);
  }

  /** Removes everything but the lease. Without its schema the rest would look like another tool's: that goes last. */
  async dropAll(signal: AbortSignal): Promise<void> {
    const names = [...(await this.#documents.collectionNames(signal))].filter(
      (name) => !KEPT.has(name) && name !== 'schema',
    );
    for (const name of [...names, 'schema']) {
      await this.dropCollection(name, signal);
    }
  }

  /** Removes all of it; the lease last, which permits it. */
  async dropEverything(signal: AbortSignal): Promise<void> {
    await this.dropAll(signal);
    for (const name of ['numbers', 'lease']) await this.dropCollection(name, signal);
  }

  async loadCheckpoint(signal: AbortSignal): Promise<CheckpointRecord | undefined> {
    const [doc] = await this.#documents.find('checkpoint', {}, signal);
    return doc === undefined ? undefined : toCheckpoint(doc);
  }

  async saveCheckpoint(record: CheckpointRecord, signal: AbortSignal): Promise<void> {
    await this.#documents.put('checkpoint', [fromCheckpoint(record)], signal);
  }

  async loadCollections(signal: AbortSignal): Promise<CollectionRecord[]> {
    return (await this.#documents.find('collections', {}, signal)).map(toCollection);
  }

  async saveCollections(records: readonly CollectionRecord[], signal: AbortSignal): Promise<void> {
    await this.#documents.put('collections', records.map(fromCollection), signal);
  }

  async deleteCollections(ids: readonly string[], signal: AbortSignal): Promise<void> {
    await this.#documents.deleteByIds('collections', ids, signal);
  }

  async loadViews(signal: AbortSignal): Promise<ViewRecord[]> {
    return (await this.#documents.find('views', {}, signal)).map(toView);
  }

  async saveViews(records: readonly ViewRecord[], signal: AbortSignal): Promise<void> {
    await this.#documents.put('views', records.map(fromView), signal);
  }

  /** By its namespace on the source. */
  async deleteView(ns: { db: string; coll: string }, signal: AbortSignal): Promise<void> {
    await this.#documents.deleteByIds('views', [viewId(ns)], signal);
  }

  async loadPartitions(signal: AbortSignal): Promise<PartitionRecord[]> {
    return (await this.#documents.find('partitions', {}, signal)).map(toPartition);
  }

  async savePartitions(records: readonly PartitionRecord[], signal: AbortSignal): Promise<void> {
    await this.#documents.put('partitions', records.map(fromPartition), signal);
  }

  async loadDdl(signal: AbortSignal): Promise<DdlRecord> {
    const [doc] = await this.#documents.find('ddl', {}, signal);
    return toDdl(doc);
  }

  async saveDdl(record: DdlRecord, signal: AbortSignal): Promise<void> {
    await this.#documents.put('ddl', [fromDdl(record)], signal);
  }

  /** The lease's record, as a majority has it. */
  async readLease(signal: AbortSignal): Promise<Doc | undefined> {
    const [lease] = await this.#documents.find('lease', {}, signal);
    return lease;
  }

  /** Changes the lease where it is as `filter` says; with `upsert`, makes it. Resolves with whether it was. */
  async changeLease(filter: Doc, pipeline: readonly Doc[], upsert: boolean): Promise<boolean> {
    const command = { update: 'lease', updates: [{ q: filter, u: pipeline, upsert }] };
    const reply = await this.#cluster.writeUnguarded(this.db, command);
    const [error] = (reply['writeErrors'] as Doc[] | undefined) ?? [];
    // An upsert that meets the document of another holder.
    if (error !== undefined && Number(error['code']) === Code.DuplicateKey) return false;
    mustBeStored(reply);
    return Number(reply['n']) > 0;
  }

  /**
   * For stores of further records in this database: documents of a collection, in `_id` order from `after` on. As many
   * as `limit`, fewer where they are large (the server's 16 MB for a reply); none only when there are no more.
   */
  async readPage(coll: string, after: string, limit: number, signal: AbortSignal): Promise<Doc[]> {
    return this.#documents.find(coll, { _id: { $gt: after } }, signal, { sort: { _id: 1 }, limit, singleBatch: true });
  }

  /** Documents by their `_id`, those that are there. */
  async readDocuments(coll: string, ids: readonly string[], signal: AbortSignal): Promise<Doc[]> {
    return this.#documents.findByIds(coll, ids, signal);
  }

  /** Removes a collection of further records. */
  async dropCollection(coll: string, signal: AbortSignal): Promise<void> {
    await this.#documents.drop(coll, signal);
  }

  /** Puts documents by their `_id`. */
  async putDocuments(coll: string, docs: readonly Doc[], signal: AbortSignal): Promise<void> {
    await this.#documents.put(coll, docs, signal);
  }

  async deleteDocuments(coll: string, ids: readonly string[], signal: AbortSignal): Promise<void> {
    await this.#documents.deleteByIds(coll, ids, signal);
  }

  #foreign(db = this.db): AppError {
    return new AppError(
      'ForeignMetadata',
      `${this.#cluster.label} holds a database ${db} that mongoferry did not write, for example a mongosync's. If that migration is over, drop the database`,
    );
  }
}

function onlyLease(names: ReadonlySet<string>): boolean {
  return [...names].every((name) => KEPT.has(name));
}
