import { Scope } from '../cluster/scope.js';
import { DETECT_ABOVE_BYTES } from '../copy/natural-order.js';
import { PARTITION_BYTES } from '../copy/planner.js';
import type { Logger } from '../lib/logger.js';
import { deferred } from '../lib/tasks.js';
import { CollectionMap } from '../metadata/collections.js';
import { loadOf } from './load-level.js';
import { type MigrationOptions, storedOptions } from './options.js';
import type { Place } from './place.js';
import type { Reporter } from './reporter.js';
import type { RunContext } from './run-context.js';

/** What the process, rather than the migration's record, says about its runs. */
export interface RunSettings {
  readonly reporter: Reporter;
  readonly logger: Logger;
  /** 1 to 4. */
  readonly loadLevel: number;
  /** Whether the operator left it open. */
  readonly loadLevelIsDefault: boolean;
  /** Threads that copy and apply; 0: the main thread does. */
  readonly workerThreads: number;
  readonly disableVerification: boolean;
  /** What tests put in the way. */
  readonly hooks: Partial<Pick<RunContext, 'wrapApplier' | 'detectAboveBytes' | 'partitionBytes'>>;
  /** How long a commit tries to block the source, in milliseconds. */
  readonly blockLimitMs: number;
}

/** With data of others on the destination a migration goes easier on it, unless the operator has set a level. */
export function loadLevelOf({ preExistingDestinationData }: MigrationOptions, settings: RunSettings): number {
  return preExistingDestinationData && settings.loadLevelIsDefault ? 2 : settings.loadLevel;
}

/** What the runs at a place work with: by the stored options and the process's settings. */
export function runContext(place: Place, settings: RunSettings): RunContext {
  const { source, destination, record, lease } = place;
  const { reporter, logger } = settings;
  const options = storedOptions(record.value);
  const { writeBlocking, buildIndexes, verification } = options;
  return {
    source,
    destination,
    scope: new Scope(source, options),
    record,
    collections: new CollectionMap(place.store),
    lease,
    load: loadOf(loadLevelOf(options, settings)),
    workerThreads: settings.workerThreads,
    logger,
    blocksDestination: writeBlocking !== 'none',
    blocksSource: writeBlocking === 'sourceAndDestination',
    blockLimitMs: settings.blockLimitMs,
    buildIndexes,
    verifies: verification && !settings.disableVerification,
    commitCalled: deferred(),
    onWarning: (warning) => reporter.warn(warning),
    onHeldUp: (text) => reporter.heldUp(text),
    onChange: () => reporter.changed(),
    wrapApplier: settings.hooks.wrapApplier ?? ((applier) => applier),
    detectAboveBytes: settings.hooks.detectAboveBytes ?? DETECT_ABOVE_BYTES,
    partitionBytes: settings.hooks.partitionBytes ?? PARTITION_BYTES,
  };
}
