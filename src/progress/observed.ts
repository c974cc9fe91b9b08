/** Declares what progress reads from the parts that do the work. */
import type { ApplyStatus } from '../apply/pipeline.js';
import type { Cluster } from '../cluster/cluster.js';
import type { CopyProgress } from '../copy/copy-progress.js';
import type { IndexBuilder } from '../indexes/builder.js';
import type { CollectionMap } from '../metadata/collections.js';
import type { BuildIndexes, MigrationOptions } from '../metadata/migration-options.js';
import type { FailureRecord, MigrationRecord } from '../metadata/records.js';
import type { State } from '../metadata/state.js';
import type { VerifierView } from '../verify/verifier-view.js';
import type { InstanceSnapshot } from './control.js';
import type { Health } from './monitor.js';
import type { Rates } from './rates.js';

/** A pass through the phases, under way or ended; read in memory, at any time. */
export interface ObservedRun {
  readonly copy: Pick<CopyProgress, 'totals' | 'namespaces'>;
  readonly indexes: Pick<IndexBuilder, 'progress' | 'countsOf' | 'isComplete'>;
  /** Undefined when the migration is not verified. */
  readonly verifier: VerifierView | undefined;
  /** Undefined while no change events are applied. */
  readonly apply: ApplyStatus | undefined;
  readonly eventsApplied: number;
  /** Whether what was written during the copy has been applied. */
  readonly drained: boolean;
}

/** The migration that it is a run of. */
export interface ObservedMigration {
  readonly source: Pick<Cluster, 'label' | 'now' | 'outage' | 'retries'>;
  readonly destination: Pick<Cluster, 'label' | 'outage' | 'retries'>;
  readonly record: { readonly value: MigrationRecord };
  readonly options: MigrationOptions;
  readonly buildIndexes: BuildIndexes;
  readonly collections: Pick<CollectionMap, 'live'>;
}

/** A migration that a process works on. */
export interface ObservedWork {
  /** The run that is under way, or the last one. */
  readonly run: ObservedRun | undefined;
  readonly migration: ObservedMigration;
  /** What has ended the last run and is waited for before the next. */
  readonly interruption: string | undefined;
  /** How long the destination's majority last took to confirm a renewal of the lease, in milliseconds. */
  readonly majorityDelayMs: number;
}

/** Everything a snapshot is made of. */
export interface SnapshotSources {
  readonly state: State;
  readonly failure: FailureRecord | undefined;
  readonly work: ObservedWork | undefined;
  readonly health: Health;
  readonly rates: Pick<Rates<'documents' | 'bytes' | 'events'>, 'perSecond'>;
  /** Lag in seconds, a while ago, for the time to catch up. */
  readonly earlierLag: { readonly seconds: number; readonly agoSeconds: number } | undefined;
  readonly warnings: readonly string[];
  readonly instanceId: string;
  /** All instances, where there is more than one. */
  readonly instances?: readonly InstanceSnapshot[];
}
