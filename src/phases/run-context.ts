/** Puts together what the phases of one run work with, from the stored options and the settings of the process. */
import type { LaneApplier } from '../apply/lane-applier.js';
import type { OrderedDoc, Timestamp } from '../bson/bson.js';
import { Scope } from '../catalog/scope.js';
import type { WritableCluster } from '../cluster/writable-cluster.js';
import { CopyProgress } from '../copy/copy-progress.js';
import { DETECT_ABOVE_BYTES } from '../copy/natural-order.js';
import { PARTITION_BYTES } from '../copy/planner.js';
import { DocumentFilter } from '../documents/document-filter.js';
import { StreamPace } from '../documents/stream-pace.js';
import { InvariantError } from '../errors.js';
import { isBuilt } from '../indexes/build-mode.js';
import { IndexBuilder } from '../indexes/builder.js';
import type { Crew } from '../instances/crew.js';
import { Layout } from '../layout/layout.js';
import type { Logger } from '../lib/logger.js';
import { type Deferred, deferred } from '../lib/tasks.js';
import { CollectionMap } from '../metadata/collections.js';
import type { BuildIndexes, MigrationOptions } from '../metadata/migration-options.js';
import type { StoredRecord } from '../metadata/stored-record.js';
import type { HeldMigration } from '../start/held-migration.js';
import { type Load, loadOf } from '../start/load-level.js';

/** What tests may put in the way of a run. */
export interface RunHooks {
  /** Wraps each lane's applier; tests make it lose or repeat operations. */
  readonly wrapApplier: (applier: LaneApplier) => LaneApplier;
  /** Size in bytes above which collections are looked at for random `_id`s; tests have none that are so large. */
  readonly detectAboveBytes: number;
  /** Size in bytes of the pieces that collections are copied in; tests have none that are cut otherwise. */
  readonly partitionBytes: number;
}

/** Who is told of what happens during a run. */
export interface RunListener {
  /** A warning that stays. */
  warn(warning: string): void;
  /** What holds up a block of the source, or undefined when nothing does any more. */
  heldUp(text: string | undefined): void;
  /** Something that progress shows has changed. */
  changed(): void;
}

/** What the process, rather than the migration's record, says about its runs. */
export interface RunSettings {
  readonly listener: RunListener;
  readonly logger: Logger;
  /** 1 to 4. */
  readonly loadLevel: number;
  /** Whether the operator left it open. */
  readonly loadLevelIsDefault: boolean;
  /** Threads that copy and apply; 0: the main thread does. */
  readonly workerThreads: number;
  readonly disableVerification: boolean;
  readonly hooks: Partial<RunHooks>;
  /** How long a commit tries to block the source, in milliseconds. */
  readonly blockLimitMs: number;
}

/** What the phases of one run share, all of it made when the run is. */
export interface RunContext extends RunHooks {
  readonly source: WritableCluster;
  readonly destination: WritableCluster;
  readonly held: HeldMigration;
  readonly scope: Scope;
  readonly options: MigrationOptions;
  readonly record: StoredRecord;
  readonly collections: CollectionMap;
  readonly load: Load;
  /** How many threads copy and apply; 0: the main thread does. */
  readonly workerThreads: number;
  readonly logger: Logger;
  readonly listener: RunListener;
  readonly blocksDestination: boolean;
  /** Whether the commit blocks the source. */
  readonly blocksSource: boolean;
  /** How long it tries to, in milliseconds. */
  readonly blockLimitMs: number;
  readonly buildIndexes: BuildIndexes;
  /** Whether the migration builds an index at all. */
  readonly isBuilt: (spec: OrderedDoc) => boolean;
  /** Whether the data is verified. */
  readonly verifies: boolean;
  /** Undefined: every document is migrated. */
  readonly filter: DocumentFilter | undefined;
  readonly copy: CopyProgress;
  readonly indexes: IndexBuilder;
  /** How collections are spread over the destination. */
  readonly layout: Layout;
  /** The instances that help. */
  readonly crew: Crew;
  /** Resolves when the operator has called commit. */
  readonly commitCalled: Deferred<void>;
  /** Of the run's change streams. */
  readonly pace: StreamPace;
}

/** With data of others on the destination a migration goes easier on it, unless the operator has set a level. */
export function loadLevelOf(
  { preExistingDestinationData }: MigrationOptions,
  settings: Pick<RunSettings, 'loadLevel' | 'loadLevelIsDefault'>,
): number {
  return preExistingDestinationData && settings.loadLevelIsDefault ? 2 : settings.loadLevel;
}

/** What a run that begins now works with. */
export function runContext(held: HeldMigration, settings: RunSettings, crew: Crew): RunContext {
  const { source, destination, record } = held;
  const { listener, logger, hooks } = settings;
  const { options } = record.value;
  const { writeBlocking, buildIndexes, verification, documentFilter } = options;
  const load = loadOf(loadLevelOf(options, settings));
  const collections = new CollectionMap(held.store);
  const wants = (spec: OrderedDoc): boolean => isBuilt(buildIndexes, spec);
  const indexes = new IndexBuilder({
    destination,
    collections,
    logger: logger.component('indexes'),
    wants,
    parallelBuilds: load.parallelBuilds,
    onWarning: (warning) => listener.warn(warning),
  });
  return {
    source,
    destination,
    held,
    scope: new Scope(source, options),
    options,
    record,
    collections,
    load,
    workerThreads: settings.workerThreads,
    logger,
    listener,
    blocksDestination: writeBlocking !== 'none',
    blocksSource: writeBlocking === 'sourceAndDestination',
    blockLimitMs: settings.blockLimitMs,
    buildIndexes,
    isBuilt: wants,
    verifies: verification && !settings.disableVerification,
    filter: documentFilter === null ? undefined : new DocumentFilter(documentFilter),
    copy: new CopyProgress(),
    indexes,
    layout: new Layout({
      ...{ source, destination, sharding: options.sharding, isBuilt: wants },
      onWarning: (warning) => listener.warn(warning),
    }),
    crew,
    commitCalled: deferred(),
    pace: new StreamPace(),
    wrapApplier: hooks.wrapApplier ?? ((applier) => applier),
    detectAboveBytes: hooks.detectAboveBytes ?? DETECT_ABOVE_BYTES,
    partitionBytes: hooks.partitionBytes ?? PARTITION_BYTES,
  };
}

/** Errors: Internal when nothing has been initialised yet. */
export function startTimeOf({ record }: Pick<RunContext, 'record'>): Timestamp {
  const { startTime } = record.value;
  if (startTime === undefined) throw new InvariantError('the start time is not stored');
  return startTime;
}
