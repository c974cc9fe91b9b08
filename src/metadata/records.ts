/** Declares what a migration stores of itself: one record with its own fields in each state. */
import type { Binary, Timestamp } from '../bson/bson.js';
import type { Position } from '../bson/position.js';
import type { MigrationOptions } from './migration-options.js';

/** Raised when a record changes its meaning; a process refuses metadata of another version. */
export const SCHEMA_VERSION = 2;

/** The phases of a migration's work, in order; a restart goes on in the one that is stored. */
export type RecordedPhase = 'initialise' | 'copy' | 'apply' | 'done';

/** The steps of a commit, in order; each is repeatable (docs/07-cutover.md). */
export type CommitStep = 'drain' | 'restore' | 'handover';

/** How far a commit is, and the times that a reversal begins at. */
export interface CommitRecord {
  readonly step: CommitStep;
  readonly time?: Timestamp;
  readonly reverseStart?: Timestamp;
  /** Whether both sides were proven equal. Absent: no. */
  readonly verified?: boolean;
}

/** A commit past its point of no return. */
export interface HandedOverCommit extends CommitRecord {
  readonly step: 'handover';
  readonly time: Timestamp;
  readonly reverseStart: Timestamp;
}

/** Why a migration failed for good. */
export interface FailureRecord {
  /** A name of the error table. */
  readonly error: string;
  readonly description: string;
  readonly at: Date;
}

/** What the record of a migration holds in every state. */
interface CommonFields {
  readonly options: MigrationOptions;
  readonly sourceId: string;
  readonly destinationId: string;
  /** Whether we set the destination's write block, and so must lift it. */
  readonly blockedDestination: boolean;
  /** Whether we set the source's, or were about to. Absent: no. */
  readonly blockedSource?: boolean;
  /** The clusters whose balancer we stopped, or were about to, and so must start again: "cluster0", "cluster1". Absent: none. */
  readonly stoppedBalancers?: readonly string[];
  /** How often the migration was reversed; of the records on two clusters the higher one counts. Absent: 0. */
  readonly generation?: number;
  readonly failure?: FailureRecord;
  readonly eventsApplied: number;
  readonly rawDeltas: boolean;
  /** With a document filter: documents had to be read past the commit time, so no later change of one is let pass. */
  readonly readPastCommit?: boolean;
  readonly warnings: readonly string[];
  /** Absent: an earlier version began it. */
  readonly startedAt?: Date;
}

/** Copying or applying, or paused in it. Times are known from the phase on that fixes them. */
interface WorkingFields {
  /** The start is not complete: whoever finds it so undoes it. Absent: it is. */
  readonly starting?: boolean;
  readonly phase: 'initialise' | 'copy' | 'apply';
  /** T0: where the change stream begins. Unset until the catalog has been read. */
  readonly startTime?: Timestamp;
  /** After the last copied document; before it, applied states are mixed. */
  readonly copyEndTime?: Timestamp;
  readonly commit?: undefined;
  readonly canWrite: false;
  readonly putBack?: undefined;
  readonly moved?: undefined;
}

/** The commit's steps run; past the handover the destination accepts writes. */
interface CommittingFields {
  readonly starting?: undefined;
  readonly phase: 'apply';
  readonly startTime: Timestamp;
  readonly copyEndTime: Timestamp;
  readonly commit: CommitRecord;
  readonly canWrite: boolean;
  readonly putBack?: undefined;
  readonly moved?: undefined;
}

/** The destination is its applications'. The times of the copy are those of a history. */
interface CommittedFields {
  readonly starting?: undefined;
  readonly phase: 'done';
  readonly startTime?: Timestamp;
  readonly copyEndTime?: Timestamp;
  readonly commit: HandedOverCommit;
  readonly canWrite: true;
  readonly putBack?: undefined;
  /** The migration was reversed, and its record is on the other cluster now. */
  readonly moved?: boolean;
}

/** The record of a reversal at its new place: what was the source is being made the destination. */
interface TurningFields {
  readonly starting?: undefined;
  readonly phase: 'apply';
  readonly startTime: Timestamp;
  readonly copyEndTime?: undefined;
  readonly commit?: undefined;
  readonly canWrite: false;
  /** What the new destination lost to expiry between these two times is put back. */
  readonly putBack?: { readonly from: Timestamp; readonly until: Timestamp };
  readonly moved?: undefined;
}

/** The one record of a migration: all that is not per collection. Each state has its own fields and no others. */
export type MigrationRecord = CommonFields &
  (
    | ({ readonly state: 'RUNNING' | 'PAUSED' } & WorkingFields)
    | ({ readonly state: 'COMMITTING' } & CommittingFields)
    | ({ readonly state: 'COMMITTED' } & CommittedFields)
    | ({ readonly state: 'REVERSING' } & (CommittedFields | TurningFields))
  );

type FieldName =
  | 'state'
  | 'starting'
  | 'phase'
  | 'startTime'
  | 'copyEndTime'
  | 'commit'
  | 'canWrite'
  | 'putBack'
  | 'moved';

/** All fields that a record may have, whatever its state: what changes of it are made of. */
export type RecordFields = Omit<CommonFields, 'options'> & {
  readonly [Name in FieldName]: MigrationRecord[Name];
};

/** The safe point of the change stream: everything at or before it is on the destination. */
export interface CheckpointRecord {
  readonly position: Position;
  readonly eventsApplied: number;
}

/** One source collection and where it is on the destination. Options and indexes are raw BSON, exactly as recorded. */
export interface CollectionRecord {
  /** Hexadecimal source UUID. */
  readonly id: string;
  /** On the destination. */
  readonly db: string;
  readonly coll: string;
  /** On the source. */
  readonly sourceDb: string;
  readonly destinationUuid: Binary | undefined;
  readonly options: Buffer;
  /** The source's index specs; what the destination must have in the end. */
  readonly indexes: readonly Buffer[];
  /** Indexes of the destination that the migration does not build and leaves as they are. Absent: none. */
  readonly kept?: readonly Buffer[];
  /** How it is sharded on either side. Absent: it is not. */
  readonly shardKeys?: { readonly source?: StoredShardKey; readonly destination?: StoredShardKey };
  readonly dropped: boolean;
  /** The event that dropped it: forgotten once the checkpoint has passed it. */
  readonly droppedBy?: Position;
  readonly copy: CopyRecord;
}

/** A shard key's pattern as raw BSON, whose order is the key's. */
export interface StoredShardKey {
  readonly key: Buffer;
  readonly unique: boolean;
}

/** How far the copy of a collection is. `none`: it was created after T0, events carry all its documents. */
export interface CopyRecord {
  readonly status: 'none' | 'pending' | 'planned' | 'done';
  readonly estimatedDocuments: number;
  readonly estimatedBytes: number;
}

/** A view, known by its name alone: views have no UUID. */
export interface ViewRecord {
  /** On the destination. */
  readonly db: string;
  readonly coll: string;
  /** On the source. */
  readonly sourceDb: string;
  readonly options: Buffer;
}

/** A range of a collection's `_id`s, copied as one. */
export interface PartitionRecord {
  /** `<collection id>:<number>`. */
  readonly id: string;
  readonly collection: string;
  /** `{_id: …}` raw; undefined at the ends. Lower is inclusive, upper exclusive. */
  readonly lower: Buffer | undefined;
  readonly upper: Buffer | undefined;
  readonly natural: boolean;
  /** Natural order, taken up after an interruption where it stopped. */
  readonly resumable: boolean;
  /** Of a resumable one: where to go on, oldest first. */
  readonly marks: readonly NaturalMark[];
  /** Of one that is read in `_id` order: where to go on. Absent: at its lower bound. */
  readonly position?: RangeMark | undefined;
  readonly done: boolean;
  readonly documents: number;
  readonly bytes: number;
}

/** A point of a range in `_id` order: a majority of the destination has everything before it, and its own document. */
export interface RangeMark {
  /** `{_id: …}` raw. */
  readonly id: Buffer;
  /** What was written by then. */
  readonly documents: number;
  readonly bytes: number;
}

/** A point of a scan in natural order: a majority of the destination has everything before it. */
export interface NaturalMark {
  /** The server's own resume token, raw: it names a record id, which means something on one node only. */
  readonly resumeAfter: Buffer;
  /** The server process that gave it. */
  readonly process: string;
  readonly documents: number;
  readonly bytes: number;
}

/** The DDL event being carried out, if any, and the last one that was: DDL is exactly once (docs/04-apply.md). */
export interface DdlRecord {
  readonly done: Position | undefined;
  /** `event`: the raw change event, so that it can be completed before anything is replayed; absent when it is huge. */
  readonly intent: { readonly position: Position; readonly event: Buffer | undefined } | undefined;
}
