/** Reads all that a migration must remember, from its metadata database on the destination. */
import type { Doc } from '../bson/bson.js';
import type { Cluster } from '../cluster/cluster.js';
import { AppError } from '../errors.js';
import { MetadataDocuments } from './metadata-documents.js';
import { toCheckpoint, toCollection, toDdl, toMigration, toPartition, toView } from './record-codec.js';
import {
  type CheckpointRecord,
  type CollectionRecord,
  type DdlRecord,
  type MigrationRecord,
  type PartitionRecord,
  SCHEMA_VERSION,
  type ViewRecord,
} from './records.js';

/** What a metadata database says it was written by. */
export const PRODUCT = 'mongoferry';
/** What outlives a migration that did not begin: who may write, and which late writes are refused. */
export const KEPT: ReadonlySet<string> = new Set(['lease', 'numbers']);
/** What may be there without a migration: an instance that helped one tells for a moment longer. */
const LEFT: ReadonlySet<string> = new Set([...KEPT, 'instances', 'tasks']);

/** The records of one metadata database, whoever wrote them. Reads of a majority, tried again while errors are transient. */
export class MetadataReader {
  readonly db: string;
  readonly #cluster: Cluster;
  readonly #documents: MetadataDocuments;

  constructor(cluster: Cluster, db: string) {
    this.#cluster = cluster;
    this.db = db;
    this.#documents = new MetadataDocuments(cluster, db);
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
        `the metadata in ${this.db} on ${this.#cluster.label} has version ${String(schema['version'])}, but this program reads version ${SCHEMA_VERSION}: finish the migration with the version that began it`,
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

  async loadCheckpoint(signal: AbortSignal): Promise<CheckpointRecord | undefined> {
    const [doc] = await this.#documents.find('checkpoint', {}, signal);
    return doc === undefined ? undefined : toCheckpoint(doc);
  }

  async loadCollections(signal: AbortSignal): Promise<CollectionRecord[]> {
    return (await this.#documents.find('collections', {}, signal)).map(toCollection);
  }

  async loadViews(signal: AbortSignal): Promise<ViewRecord[]> {
    return (await this.#documents.find('views', {}, signal)).map(toView);
  }

  async loadPartitions(signal: AbortSignal): Promise<PartitionRecord[]> {
    return (await this.#documents.find('partitions', {}, signal)).map(toPartition);
  }

  async loadDdl(signal: AbortSignal): Promise<DdlRecord> {
    const [doc] = await this.#documents.find('ddl', {}, signal);
    return toDdl(doc);
  }

  /** A lease's record by its `_id`, as a majority has it. */
  async readLease(id: string, signal: AbortSignal): Promise<Doc | undefined> {
    return (await this.readLeases(signal)).find((each) => each['_id'] === id);
  }

  /** The records of all leases: of the migration, and of the instances that help. */
  async readLeases(signal: AbortSignal): Promise<Doc[]> {
    return this.#documents.find('lease', {}, signal);
  }

  /** For stores of further records in this database: few documents, by a filter. */
  async readAll(coll: string, filter: Doc, signal: AbortSignal): Promise<Doc[]> {
    return this.#documents.find(coll, filter, signal);
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

  #foreign(db = this.db): AppError {
    return new AppError(
      'ForeignMetadata',
      `${this.#cluster.label} holds the database ${db}, which mongoferry did not write; it may be a mongosync's. If that migration is over, drop the database`,
    );
  }
}

function onlyLease(names: ReadonlySet<string>): boolean {
  return [...names].every((name) => LEFT.has(name));
}
