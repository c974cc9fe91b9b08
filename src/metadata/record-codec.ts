/** Turns records of the metadata into stored documents and back. */
import { Binary, type Doc } from '../bson/bson.js';
import { Position } from '../bson/position.js';
import { AppError } from '../errors.js';
import { fromOptions, toOptions } from './migration-options.js';
import { faultOf } from './record-rules.js';
import type {
  CheckpointRecord,
  CollectionRecord,
  DdlRecord,
  MigrationRecord,
  NaturalMark,
  PartitionRecord,
  StoredShardKey,
  ViewRecord,
} from './records.js';

/*
 * The records as documents of the metadata database, and back. The driver gives numbers, binary values and what is absent
 * in forms of its own, so each field is read by name. Errors of the readers: MetadataUnreadable.
 */

export function fromMigration(record: MigrationRecord): Doc {
  return { _id: 'migration', ...record, options: fromOptions(record.options) };
}

/** Errors: MetadataUnreadable when a field does not fit the record's state. */
export function toMigration(doc: Doc): MigrationRecord {
  const { _id, term, ...stored } = doc;
  const record = { ...stored, options: toOptions(doc['options']), eventsApplied: Number(doc['eventsApplied']) };
  const fault = faultOf(record);
  if (fault !== undefined) throw new AppError('MetadataUnreadable', `the migration's record is not valid: ${fault}`);
  return record as unknown as MigrationRecord;
}

export function fromCheckpoint({ position, eventsApplied }: CheckpointRecord): Doc {
  return { _id: 'checkpoint', token: position.toText(), eventsApplied };
}

export function toCheckpoint(doc: Doc): CheckpointRecord {
  return { position: Position.fromText(String(doc['token'])), eventsApplied: Number(doc['eventsApplied']) };
}

export function fromCollection({ id, droppedBy, ...rest }: CollectionRecord): Doc {
  return { _id: id, ...rest, ...(droppedBy === undefined ? {} : { droppedBy: droppedBy.toText() }) };
}

export function toCollection(doc: Doc): CollectionRecord {
  const copy = doc['copy'] as Doc;
  return {
    id: String(doc['_id']),
    db: String(doc['db']),
    coll: String(doc['coll']),
    sourceDb: String(doc['sourceDb']),
    destinationUuid: doc['destinationUuid'] instanceof Binary ? doc['destinationUuid'] : undefined,
    options: bytesOf(doc['options']),
    indexes: (doc['indexes'] as unknown[]).map(bytesOf),
    kept: ((doc['kept'] as unknown[] | undefined) ?? []).map(bytesOf),
    ...toShardKeys(doc['shardKeys']),
    dropped: doc['dropped'] === true,
    ...(typeof doc['droppedBy'] === 'string' ? { droppedBy: Position.fromText(doc['droppedBy']) } : {}),
    copy: {
      status: copy['status'] as CollectionRecord['copy']['status'],
      estimatedDocuments: Number(copy['estimatedDocuments']),
      estimatedBytes: Number(copy['estimatedBytes']),
    },
  };
}

function toShardKeys(value: unknown): Pick<CollectionRecord, 'shardKeys'> {
  if (value === undefined || value === null) return {};
  const { source, destination } = value as { source?: Doc; destination?: Doc };
  const keyOf = (stored: Doc): StoredShardKey => ({ key: bytesOf(stored['key']), unique: stored['unique'] === true });
  const shardKeys = {
    ...(source && { source: keyOf(source) }),
    ...(destination && { destination: keyOf(destination) }),
  };
  return { shardKeys };
}

/** Views have no UUID: they are stored under their name on the source. */
export function fromView(record: ViewRecord): Doc {
  return { _id: viewId({ db: record.sourceDb, coll: record.coll }), ...record };
}

/** The `_id` of a view, by its namespace on the source. */
export function viewId({ db, coll }: { readonly db: string; readonly coll: string }): string {
  return `${db}.${coll}`;
}

export function toView(doc: Doc): ViewRecord {
  return {
    db: String(doc['db']),
    coll: String(doc['coll']),
    sourceDb: String(doc['sourceDb']),
    options: bytesOf(doc['options']),
  };
}

export function fromPartition({ id, ...rest }: PartitionRecord): Doc {
  return { _id: id, ...rest };
}

export function toPartition(doc: Doc): PartitionRecord {
  return {
    id: String(doc['_id']),
    collection: String(doc['collection']),
    lower: optionalBytes(doc['lower']),
    upper: optionalBytes(doc['upper']),
    natural: doc['natural'] === true,
    resumable: doc['resumable'] === true,
    marks: ((doc['marks'] ?? []) as Doc[]).map(toMark),
    ...toPosition(doc['position']),
    done: doc['done'] === true,
    documents: Number(doc['documents']),
    bytes: Number(doc['bytes']),
  };
}

export function fromDdl({ done, intent }: DdlRecord): Doc {
  const stored = intent && { token: intent.position.toText(), event: intent.event };
  return { _id: 'ddl', done: done?.toText(), intent: stored };
}

export function toDdl(doc: Doc | undefined): DdlRecord {
  const done = optionalText(doc?.['done']);
  return { done: done === undefined ? undefined : Position.fromText(done), intent: toIntent(doc?.['intent']) };
}

function toMark(doc: Doc): NaturalMark {
  return {
    resumeAfter: bytesOf(doc['resumeAfter']),
    process: String(doc['process']),
    documents: Number(doc['documents']),
    bytes: Number(doc['bytes']),
  };
}

function toPosition(value: unknown): Pick<PartitionRecord, 'position'> {
  if (value === undefined || value === null) return {};
  const doc = value as Doc;
  return { position: { id: bytesOf(doc['id']), documents: Number(doc['documents']), bytes: Number(doc['bytes']) } };
}

function toIntent(value: unknown): DdlRecord['intent'] {
  if (value === undefined || value === null) return undefined;
  const doc = value as Doc;
  return { position: Position.fromText(String(doc['token'])), event: optionalBytes(doc['event']) };
}

/** A copy of a record's bytes. Errors: MetadataUnreadable when they are none. */
export function bytesOf(value: unknown): Buffer {
  if (!(value instanceof Binary))
    throw new AppError('MetadataUnreadable', 'a metadata record does not have the form that this program writes');
  return Buffer.from(value.buffer.subarray(0, value.position));
}

export function optionalBytes(value: unknown): Buffer | undefined {
  return value instanceof Binary ? bytesOf(value) : undefined;
}

export function optionalText(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}
