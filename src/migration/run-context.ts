import type { LaneApplier } from '../apply/lane-applier.js';
import type { Cluster } from '../cluster/cluster.js';
import type { Scope } from '../cluster/scope.js';
import type { BuildMode } from '../indexes/build-mode.js';
import type { Logger } from '../lib/logger.js';
import type { Deferred } from '../lib/tasks.js';
import type { CollectionMap } from '../metadata/collections.js';
import type { Lease } from '../metadata/lease.js';
import type { Load } from './load-level.js';
import type { StoredRecord } from './record.js';

/** What one run of the phases works with; made at start or recovery, kept over pauses. */
export interface RunContext {
  readonly source: Cluster;
  readonly destination: Cluster;
  readonly scope: Scope;
  readonly record: StoredRecord;
  readonly collections: CollectionMap;
  readonly lease: Lease;
  readonly load: Load;
  /** Threads that copy and apply; 0: the main thread does. */
  readonly workerThreads: number;
  readonly logger: Logger;
  readonly blocksDestination: boolean;
  /** Whether the commit blocks the source. */
  readonly blocksSource: boolean;
  /** How long it tries to, in milliseconds. */
  readonly blockLimitMs: number;
  readonly buildIndexes: BuildMode;
  /** Whether the data is verified. */
  readonly verifies: boolean;
  /** Resolves when the operator has called commit. */
  readonly commitCalled: Deferred<void>;
  readonly onWarning: (warning: string) => void;
  /** What holds up a block of the source, or undefined when nothing does any more. */
  readonly onHeldUp: (text: string | undefined) => void;
  /** Something that progress shows has changed. */
  readonly onChange: () => void;
  /** Wraps each lane's applier; the identity but in tests, which make it lose or repeat operations. */
  readonly wrapApplier: (applier: LaneApplier) => LaneApplier;
  /** Size in bytes above which collections are looked at for random `_id`s; tests have none that are so large. */
  readonly detectAboveBytes: number;
  /** Size in bytes of the pieces that collections are copied in; tests have none that are cut otherwise. */
  readonly partitionBytes: number;
}
