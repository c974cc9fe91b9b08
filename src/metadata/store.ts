import { Binary, type Doc, sizeOf } from '../cluster/bson.js';
import type { Cluster } from '../cluster/cluster.js';
import { Code, codeOf, safeText } from '../cluster/errors.js';
import { endWrites } from '../cluster/operations.js';
import { AppError } from '../errors.js';
import { inPortions } from '../lib/portions.js';
import type { LeaseStore } from './lease.js';
import {
  type CheckpointRecord,
  type CollectionRecord,
  type DdlRecord,
  type MigrationRecord,
  type NaturalMark,
  type PartitionRecord,
  SCHEMA_VERSION,
  type ViewRecord,
} from './records.js';

/** The metadata database of a migration: mongosync's own name, or one of the migration's name. */
export function metadataDatabase(migrationName: string | undefined): string {
  return migrationName === undefined ? 'mongosync_reserved_for_internal_use' : `mongosync_internal_${migrationName}`;
}

const PRODUCT = 'mongoferry';
const IDS_PER_COMMAND = 10_000;
const STATEMENTS_PER_COMMAND = 1000;
/** Well below what a command may hold, which is some 48 MB; a document alone may be larger. */
const BYTES_PER_COMMAND = 16 * 1024 * 1024;

/** Fields of the migration's record to set; `undefined` removes one. */
export type RecordChanges = { [Name in keyof Omit<MigrationRecord, 'options'>]?: MigrationRecord[Name] | undefined };

/** The metadata databases of all migrations on a cluster, whichever tool's. */
export async function metadataDatabases(cluster: Cluster, signal: AbortSignal): Promise<string[]> {
  const command = {
    listDatabases: 1,
    nameOnly: true,
    filter: { name: /^mongosync_(reserved_for_internal_use$|internal_)/ },
  };
  const reply = await cluster.read('listing metadata databases', 'admin', command, signal);
  return (reply['databases'] as { name: string }[]).map((each) => each.name);
}

/**
 * All that a migration must remember, on the destination, written with majority: the process keeps nothing of its own.
 * Writes are refused by the cluster's guard when the lease is no longer certain, and documents carry the lease's term, so
 * that a write of an earlier holder's, however late it comes, changes nothing (docs/02-lifecycle.md).
 */
export class MetadataStore implements LeaseStore {
  readonly db: string;
  readonly #cluster: Cluster;
  #term: () => number | undefined = () => undefined;

  constructor(cluster: Cluster, db: string) {
    this.#cluster = cluster;
    this.db = db;
  }

  /** From now on what is stored carries the lease's term, and replaces nothing of a higher one. */
  fence(term: () => number | undefined): void {
    this.#term = term;
  }

  /** The migration's record, or undefined when the destination holds none. Errors: ForeignMetadata, MetadataUnreadable. */
  async loadMigration(signal: AbortSignal): Promise<MigrationRecord | undefined> {
    const names = await this.#collectionNames(signal);
    const [schema] = names.has('schema') ? await this.#find('schema', {}, signal) : [];
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
    const [doc] = await this.#find('migration', { _id: 'migration' }, signal);
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
    // As a text: names such as $oid, which options may hold, are not for every place of a document.
    await this.#put('migration', { _id: 'migration', ...record, options: JSON.stringify(record.options) }, signal);
  }

  /** Marks the database as ours, before anything else is stored in it. */
  async claim(signal: AbortSignal): Promise<void> {
    await this.#put('schema', { _id: 'schema', product: PRODUCT, version: SCHEMA_VERSION }, signal);
  }

  /** Sets fields of the migration's record; `undefined` removes one. */
  async updateMigration(changes: RecordChanges, signal: AbortSignal): Promise<void> {
    const removed = Object.entries(changes).filter(([, value]) => value === undefined);
    const set = withoutUndefined(changes);
    const u = {
      ...(Object.keys(set).length > 0 ? { $set: set } : {}),
      ...(removed.length > 0 ? { $unset: Object.fromEntries(removed.map(([name]) => [name, ''])) } : {}),
    };
    await this.#update('migration', [{ q: { _id: 'migration' }, u }], signal);
  }

  /** Removes everything but the lease. Without its schema the rest would look like another tool's: that goes last. */
  async dropAll(signal: AbortSignal): Promise<void> {
    const names = [...(await this.#collectionNames(signal))].filter((name) => name !== 'lease' && name !== 'schema');
    for (const name of [...names, 'schema']) {
      await this.dropCollection(name, signal);
    }
  }

  async loadCheckpoint(signal: AbortSignal): Promise<CheckpointRecord | undefined> {
    const [doc] = await this.#find('checkpoint', {}, signal);
    return doc === undefined ? undefined : { token: String(doc['token']), eventsApplied: Number(doc['eventsApplied']) };
  }

  async saveCheckpoint(record: CheckpointRecord, signal: AbortSignal): Promise<void> {
    await this.#put('checkpoint', { _id: 'checkpoint', ...record }, signal);
  }

  async loadCollections(signal: AbortSignal): Promise<CollectionRecord[]> {
    return (await this.#find('collections', {}, signal)).map(toCollection);
  }

  async saveCollections(records: readonly CollectionRecord[], signal: AbortSignal): Promise<void> {
    await this.#putAll(
      'collections',
      records.map(({ id, ...rest }) => ({ _id: id, ...rest })),
      signal,
    );
  }

  async deleteCollections(ids: readonly string[], signal: AbortSignal): Promise<void> {
    await this.#delete('collections', { _id: { $in: ids } }, signal);
  }

  async loadViews(signal: AbortSignal): Promise<ViewRecord[]> {
    const docs = await this.#find('views', {}, signal);
    return docs.map((doc) => ({
      db: String(doc['db']),
      coll: String(doc['coll']),
      sourceDb: String(doc['sourceDb']),
      options: bytes(doc['options']),
    }));
  }

  async saveViews(records: readonly ViewRecord[], signal: AbortSignal): Promise<void> {
    await this.#putAll(
      'views',
      records.map((record) => ({ _id: `${record.sourceDb}.${record.coll}`, ...record })),
      signal,
    );
  }

  /** By its namespace on the source. */
  async deleteView(ns: { db: string; coll: string }, signal: AbortSignal): Promise<void> {
    await this.#delete('views', { _id: `${ns.db}.${ns.coll}` }, signal);
  }

  async loadPartitions(signal: AbortSignal): Promise<PartitionRecord[]> {
    return (await this.#find('partitions', {}, signal)).map(toPartition);
  }

  async savePartitions(records: readonly PartitionRecord[], signal: AbortSignal): Promise<void> {
    await this.#putAll(
      'partitions',
      records.map(({ id, ...rest }) => ({ _id: id, ...rest })),
      signal,
    );
  }

  async loadDdl(signal: AbortSignal): Promise<DdlRecord> {
    const [doc] = await this.#find('ddl', {}, signal);
    return { done: doc?.['done'] as string | undefined, intent: toIntent(doc?.['intent']) };
  }

  async saveDdl(record: DdlRecord, signal: AbortSignal): Promise<void> {
    await this.#put('ddl', { _id: 'ddl', ...record }, signal);
  }

  get clientTag(): string {
    return this.#cluster.clientTag;
  }

  async readLease(signal: AbortSignal): Promise<Doc | undefined> {
    const [lease] = await this.#find('lease', {}, signal);
    return lease;
  }

  async changeLease(filter: Doc, pipeline: readonly Doc[], upsert: boolean): Promise<boolean> {
    const command = { update: 'lease', updates: [{ q: filter, u: pipeline, upsert }] };
    const reply = await this.#cluster.writeUnguarded(this.db, command, { record: true });
    const [error] = (reply['writeErrors'] as Doc[] | undefined) ?? [];
    // An upsert that meets the document of another holder.
    if (error !== undefined && Number(error['code']) === Code.DuplicateKey) return false;
    this.#mustBeStored(reply);
    return Number(reply['n']) > 0;
  }

  async endWrites(clientTags: readonly string[], isGone: boolean, signal: AbortSignal): Promise<void> {
    await endWrites(this.#cluster, clientTags, isGone, signal);
  }

  /**
   * For stores of further records in this database: documents of a collection, in `_id` order from `after` on. As many
   * as `limit`, fewer where they are large (the server's 16 MB for a reply); none only when there are no more.
   */
  async readPage(coll: string, after: string, limit: number, signal: AbortSignal): Promise<Doc[]> {
    return this.#find(coll, { _id: { $gt: after } }, signal, { sort: { _id: 1 }, limit, singleBatch: true });
  }

  /** Documents by their `_id`, those that are there. */
  async readDocuments(coll: string, ids: readonly string[], signal: AbortSignal): Promise<Doc[]> {
    const found: Doc[] = [];
    for (let from = 0; from < ids.length; from += IDS_PER_COMMAND)
      found.push(...(await this.#find(coll, { _id: { $in: ids.slice(from, from + IDS_PER_COMMAND) } }, signal)));
    return found;
  }

  /** Removes a collection of further records. */
  async dropCollection(coll: string, signal: AbortSignal): Promise<void> {
    await this.#write('removing metadata', { drop: coll }, signal, [Code.NamespaceNotFound]);
  }

  /** Puts documents by their `_id`. */
  async putDocuments(coll: string, docs: readonly Doc[], signal: AbortSignal): Promise<void> {
    await this.#putAll(coll, docs, signal);
  }

  async deleteDocuments(coll: string, ids: readonly string[], signal: AbortSignal): Promise<void> {
    for (let from = 0; from < ids.length; from += IDS_PER_COMMAND)
      await this.#delete(coll, { _id: { $in: ids.slice(from, from + IDS_PER_COMMAND) } }, signal);
  }

  #foreign(db = this.db): AppError {
    return new AppError(
      'ForeignMetadata',
      `${this.#cluster.label} holds a database ${db} that mongoferry did not write, for example a mongosync's. If that migration is over, drop the database`,
    );
  }

  async #collectionNames(signal: AbortSignal): Promise<Set<string>> {
    const reply = await this.#cluster.read('reading metadata', this.db, { listCollections: 1, nameOnly: true }, signal);
    return new Set((reply['cursor'] as { firstBatch: { name: string }[] }).firstBatch.map((each) => each.name));
  }

  async #find(coll: string, filter: Doc, signal: AbortSignal, more: Doc = {}): Promise<Doc[]> {
    return this.#cluster.attempt('reading metadata', signal, async () => {
      const session = this.#cluster.startSession();
      try {
        const find = { find: coll, filter, ...more, batchSize: 10_000, readConcern: { level: 'majority' } };
        const docs: Doc[] = [];
        let reply = await this.#cluster.command(this.db, find, { session });
        for (;;) {
          const cursor = reply['cursor'] as { id: { isZero(): boolean }; firstBatch?: Doc[]; nextBatch?: Doc[] };
          docs.push(...(cursor.firstBatch ?? cursor.nextBatch ?? []));
          if (cursor.id.isZero()) return docs;
          reply = await this.#cluster.command(this.db, { getMore: cursor.id, collection: coll }, { session });
        }
      } finally {
        await session.endSession();
      }
    });
  }

  async #put(coll: string, doc: Doc, signal: AbortSignal): Promise<void> {
    await this.#putAll(coll, [doc], signal);
  }

  async #putAll(coll: string, docs: readonly Doc[], signal: AbortSignal): Promise<void> {
    const updates = docs.map((doc) => ({ q: { _id: doc['_id'] }, u: withoutUndefined(doc), upsert: true }));
    for (const slice of inPortions(updates, STATEMENTS_PER_COMMAND, BYTES_PER_COMMAND, sizeOf))
      await this.#update(coll, slice, signal);
  }

  async #update(coll: string, updates: readonly Doc[], signal: AbortSignal): Promise<void> {
    const term = this.#term();
    const fenced = term === undefined ? updates : updates.map((each) => withTerm(each, term));
    await this.#write('writing metadata', { update: coll, updates: fenced }, signal);
  }

  async #delete(coll: string, filter: Doc, signal: AbortSignal): Promise<void> {
    const term = this.#term();
    const q = term === undefined ? filter : { ...filter, term: notAbove(term) };
    await this.#write('writing metadata', { delete: coll, deletes: [{ q, limit: 0 }] }, signal);
  }

  async #write(what: string, command: Doc, signal: AbortSignal, accepted: readonly number[] = []): Promise<void> {
    await this.#cluster.attempt(what, signal, async () => {
      try {
        const reply = await this.#cluster.write(this.db, command, { record: true });
        await this.#mustNotBeFenced(command, reply);
        this.#mustBeStored(reply);
      } catch (error) {
        const code = codeOf(error);
        if (code === undefined || !accepted.includes(code)) throw error;
      }
    });
  }

  /** Errors: LeaseLost when a document of a higher term stands where one was to be put. */
  async #mustNotBeFenced(command: Doc, reply: Doc): Promise<void> {
    const term = this.#term();
    const [first, ...others] = (command['updates'] as Doc[] | undefined) ?? [];
    if (term === undefined || first === undefined) return;
    const [error] = (reply['writeErrors'] as Doc[] | undefined) ?? [];
    const isMet = Number(error?.['code']) === Code.DuplicateKey;
    const isPassedOver = first['upsert'] !== true && Number(reply['n']) < 1 + others.length;
    if (!isMet && !isPassedOver) return;
    const { q } = (isMet ? ([first, ...others][Number(error?.['index'])] ?? first) : first) as { q: Doc };
    const find = { find: command['update'], filter: { _id: q['_id'], term: { $gt: term } }, limit: 1 };
    const found = await this.#cluster.command(this.db, find, { record: true });
    if ((found['cursor'] as { firstBatch: Doc[] }).firstBatch.length > 0)
      throw new AppError('LeaseLost', 'another process has taken over this migration');
    if (isMet) throw new AppError('ClusterUnreachable', 'two of our own writes of one document have met');
  }

  #mustBeStored(reply: Doc): void {
    const [error] = (reply['writeErrors'] as Doc[] | undefined) ?? [];
    if (error === undefined) return;
    const text = safeText(String(error['errmsg']));
    throw new AppError('WriteRefused', `the destination refused to store metadata: ${text} (code ${error['code']})`);
  }
}

/** An update statement that passes over a document of a higher term; as an upsert it then meets that one's `_id`. */
function withTerm({ q, u, ...rest }: Doc, term: number): Doc {
  const isOperators = Object.keys(u as Doc).every((name) => name.startsWith('$'));
  const { $set, ...others } = u as { $set?: Doc };
  const content = isOperators ? { ...others, $set: { ...$set, term } } : { ...(u as Doc), term };
  return { ...rest, q: { ...(q as Doc), term: notAbove(term) }, u: content };
}

/** Also matches documents without a term. */
function notAbove(term: number): Doc {
  return { $not: { $gt: term } };
}

function onlyLease(names: ReadonlySet<string>): boolean {
  return [...names].every((name) => name === 'lease');
}

function withoutUndefined(doc: Doc): Doc {
  return Object.fromEntries(Object.entries(doc).filter(([, value]) => value !== undefined));
}

function bytes(value: unknown): Buffer {
  if (!(value instanceof Binary))
    throw new AppError('MetadataUnreadable', 'a metadata record is not of the form this program wrote');
  return Buffer.from(value.buffer.subarray(0, value.position));
}

function optionalBytes(value: unknown): Buffer | undefined {
  return value instanceof Binary ? bytes(value) : undefined;
}

function toMigration(doc: Doc): MigrationRecord {
  const { _id, term, ...record } = doc;
  return {
    ...(record as unknown as MigrationRecord),
    options: JSON.parse(String(doc['options'])) as MigrationRecord['options'],
    eventsApplied: Number(doc['eventsApplied']),
  };
}

function toCollection(doc: Doc): CollectionRecord {
  const copy = doc['copy'] as Doc;
  return {
    id: String(doc['_id']),
    db: String(doc['db']),
    coll: String(doc['coll']),
    sourceDb: String(doc['sourceDb']),
    destinationUuid: doc['destinationUuid'] instanceof Binary ? doc['destinationUuid'] : undefined,
    options: bytes(doc['options']),
    indexes: (doc['indexes'] as unknown[]).map(bytes),
    kept: ((doc['kept'] as unknown[] | undefined) ?? []).map(bytes),
    dropped: doc['dropped'] === true,
    ...(typeof doc['droppedBy'] === 'string' ? { droppedBy: doc['droppedBy'] } : {}),
    copy: {
      status: copy['status'] as CollectionRecord['copy']['status'],
      estimatedDocuments: Number(copy['estimatedDocuments']),
      estimatedBytes: Number(copy['estimatedBytes']),
    },
  };
}

function toPartition(doc: Doc): PartitionRecord {
  return {
    id: String(doc['_id']),
    collection: String(doc['collection']),
    lower: optionalBytes(doc['lower']),
    upper: optionalBytes(doc['upper']),
    natural: doc['natural'] === true,
    resumable: doc['resumable'] === true,
    marks: ((doc['marks'] ?? []) as Doc[]).map(toMark),
    done: doc['done'] === true,
    documents: Number(doc['documents']),
    bytes: Number(doc['bytes']),
  };
}

function toMark(doc: Doc): NaturalMark {
  return {
    resumeAfter: bytes(doc['resumeAfter']),
    process: String(doc['process']),
    documents: Number(doc['documents']),
    bytes: Number(doc['bytes']),
  };
}

function toIntent(value: unknown): DdlRecord['intent'] {
  if (value === undefined || value === null) return undefined;
  const doc = value as Doc;
  return { token: String(doc['token']), event: optionalBytes(doc['event']) };
}
