/** Writes all that a migration must remember, in its metadata database on the destination. */
import type { Doc } from '../bson/bson.js';
import type { WritableCluster } from '../cluster/writable-cluster.js';
import { FencedDocuments } from './fenced-documents.js';
import { KEPT, MetadataReader, PRODUCT } from './reader.js';
import {
  fromCheckpoint,
  fromCollection,
  fromDdl,
  fromMigration,
  fromPartition,
  fromView,
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

/** Fields of the migration's record to set; `undefined` removes one. */
export type RecordChanges = { readonly [Name in keyof RecordFields]?: RecordFields[Name] | undefined };

/**
 * All that a migration must remember, on the destination: the process keeps nothing of its own. Writes are refused when
 * the cluster's right to write is no longer certain, and fenced by its term (docs/02-lifecycle.md).
 */
export class MetadataStore extends MetadataReader {
  readonly #documents: FencedDocuments;

  constructor(cluster: WritableCluster, db: string) {
    super(cluster, db);
    this.#documents = new FencedDocuments(cluster, db);
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

  async saveCheckpoint(record: CheckpointRecord, signal: AbortSignal): Promise<void> {
    await this.#documents.put('checkpoint', [fromCheckpoint(record)], signal);
  }

  async saveCollections(records: readonly CollectionRecord[], signal: AbortSignal): Promise<void> {
    await this.#documents.put('collections', records.map(fromCollection), signal);
  }

  async deleteCollections(ids: readonly string[], signal: AbortSignal): Promise<void> {
    await this.#documents.deleteByIds('collections', ids, signal);
  }

  async saveViews(records: readonly ViewRecord[], signal: AbortSignal): Promise<void> {
    await this.#documents.put('views', records.map(fromView), signal);
  }

  /** By its namespace on the source. */
  async deleteView(ns: { db: string; coll: string }, signal: AbortSignal): Promise<void> {
    await this.#documents.deleteByIds('views', [viewId(ns)], signal);
  }

  async savePartitions(records: readonly PartitionRecord[], signal: AbortSignal): Promise<void> {
    await this.#documents.put('partitions', records.map(fromPartition), signal);
  }

  async saveDdl(record: DdlRecord, signal: AbortSignal): Promise<void> {
    await this.#documents.put('ddl', [fromDdl(record)], signal);
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
}
