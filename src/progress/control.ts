/** Declares the contract of the front doors: what a migration reports, and which calls it takes. */
import type { FieldViolation } from '../errors.js';
import type { FailureRecord } from '../metadata/records.js';
import type { State } from '../metadata/state.js';
import type { Finding } from '../preflight/finding.js';
import type { StartOptions } from '../start/options.js';
import type { VerifierSideProgress } from '../verify/verifier-view.js';

/** How far the copy and the index builds of one namespace are. Sizes in bytes. */
export interface NamespaceSnapshot {
  readonly namespace: string;
  readonly documentsCopied: number;
  readonly estimatedDocuments: number;
  readonly bytesCopied: number;
  readonly estimatedBytes: number;
  readonly partitionsDone: number;
  readonly partitionsTotal: number;
  readonly indexesBuilt: number;
  readonly indexesTotal: number;
  /** Documents that the verifier's initial hashing has read. */
  readonly documentsHashed: number;
  /** Documents known to differ. */
  readonly mismatchCount: number;
}

/** The verification of a migration: undefined where a snapshot holds none means that it is not verified. */
export interface VerificationSnapshot {
  readonly source: VerifierSideProgress;
  readonly destination: VerifierSideProgress;
  /** Documents known to differ, by namespace. */
  readonly mismatches: ReadonlyMap<string, number>;
  /** In all: also those beyond what is counted by namespace. */
  readonly mismatchCount: number;
}

/** One of several instances that share a migration. */
export interface InstanceSnapshot {
  readonly id: string;
  readonly state: 'coordinating' | 'helping' | 'paused' | 'gone';
  readonly alive: boolean;
  /** Since the present coordinator has been one. */
  readonly documentsCopied: number;
  readonly bytesCopied: number;
  readonly documentsCompared: number;
  /** Ranges that it copies or compares now. */
  readonly rangesInWork: number;
  /** Change events. */
  readonly eventsApplied: number;
}

/** Where the migration stands, read at one moment; `undefined` = not known or not meaningful in this state. */
export interface Snapshot {
  readonly state: State;
  readonly canCommit: boolean;
  /** Why not, in RUNNING. */
  readonly commitObstacle: string | undefined;
  readonly canWrite: boolean;
  readonly info:
    | 'collection copy'
    | 'change event application'
    | 'waiting for commit to complete'
    | 'commit completed'
    | undefined;
  readonly ceaStage: 'collection copy drain' | 'steady state' | undefined;
  readonly lag:
    | {
        readonly overallSeconds: number | undefined;
        readonly crudSeconds: number | undefined;
        readonly ddlSeconds: number | undefined;
      }
    | undefined;
  readonly totalEventsApplied: number | undefined;
  /** Bytes; `total` undefined when it cannot be estimated. */
  readonly copy: { readonly totalBytes: number | undefined; readonly copiedBytes: number } | undefined;
  readonly indexBuilding:
    | {
        readonly built: number;
        readonly total: number;
        readonly collectionsFinished: number;
        readonly collectionsTotal: number;
      }
    | undefined;
  /** "cluster0: host:port" of each role. */
  readonly direction: { readonly source: string; readonly destination: string } | undefined;
  /** Milliseconds; undefined under 1 ms or before the first ping, -1 when the last one failed. */
  readonly sourcePingMs: number | undefined;
  readonly destinationPingMs: number | undefined;
  /** Whether a cluster does not answer at the moment. */
  readonly sourceUnavailable: boolean;
  readonly destinationUnavailable: boolean;
  readonly oplogTimeRemaining: string | undefined;
  readonly secondsToCatchup: number | undefined;
  readonly instanceId: string;
  readonly coordinatorId: string;
  readonly verification: VerificationSnapshot | undefined;
  readonly warnings: readonly string[];
  readonly rates: {
    readonly documentsPerSecond: number;
    readonly bytesPerSecond: number;
    readonly eventsPerSecond: number;
  };
  readonly copyRemainingSeconds: number | undefined;
  readonly failure: FailureRecord | undefined;
  readonly reversible: boolean;
  /** When the migration was started; undefined without one, and for those of earlier versions. */
  readonly startedAt: Date | undefined;
  readonly queuedBytes: number;
  readonly retries: number;
  /** All instances, where there is more than one. */
  readonly instances?: readonly InstanceSnapshot[];
}

/** Of the `documentId`s in one answer; a larger one stands alone. Below what gRPC clients take by default. */
export const MISMATCH_PAGE_BYTES = 1024 * 1024;

/** A document that is not the same on both clusters. */
export interface Mismatch {
  readonly id: string;
  readonly namespace: string;
  /** Relaxed Extended JSON of its `_id`. */
  readonly documentId: string;
  readonly kind: string;
  /** The first top-level field that differs; '' when one side has none. */
  readonly field: string;
  readonly foundAt: Date;
}

/** How many documents a repair has copied again or deleted, and how many are known to differ after it. */
export interface RepairOutcome {
  readonly repaired: number;
  readonly remaining: number;
}

/**
 * What the front doors may do with a migration. Calls reject with an AppError whose name is a row of the error
 * table; a call that resolves has been recorded on the destination.
 *
 * `caller` aborts when nobody waits for the answer any more: calls that only read end then, with its reason. Those that
 * change the migration are not begun any more; once they have begun they go on, since half a start helps nobody.
 */
export interface MigrationControl {
  /** In memory and cheap: safe to call per message of every progress stream. */
  snapshot(): Snapshot;
  /** All namespaces, in the order of their names. */
  namespaces(): readonly NamespaceSnapshot[];
  /** Calls back after every change of state, phase or flags; returns the way to stop. */
  onChange(listener: () => void): () => void;
  /**
   * What the source has against the regular expressions of a start, so that it can be told with what else is wrong with
   * it; nothing while the source does not answer. Never rejects.
   */
  regexViolations(options: StartOptions, caller?: AbortSignal): Promise<readonly FieldViolation[]>;
  start(options: StartOptions, caller?: AbortSignal): Promise<void>;
  /**
   * Resolves once nothing reads or writes any more. Errors: OutcomeUnknown when that takes longer than ten seconds; the
   * pause goes on, and a repeated call waits for it.
   */
  pause(caller?: AbortSignal): Promise<void>;
  resume(caller?: AbortSignal): Promise<void>;
  commit(caller?: AbortSignal): Promise<void>;
  reverse(caller?: AbortSignal): Promise<void>;
  /**
   * Mismatches in the order of their ids, from after `after` ('' for the first); also of a failed migration. As many as
   * `limit`, or so many that they exceed MISMATCH_PAGE_BYTES.
   */
  mismatches(after: string, limit: number, caller?: AbortSignal): Promise<readonly Mismatch[]>;
  /** Copies mismatches again, all of them when `ids` is empty. */
  repair(ids: readonly string[], caller?: AbortSignal): Promise<RepairOutcome>;
  check(options: StartOptions, caller?: AbortSignal): Promise<readonly Finding[]>;
  /** Whether both clusters were reachable and the lease was held when last looked at; for /readyz and gRPC health. */
  readonly ready: boolean;
  /** Why it is not ready, where that is known and no failure. */
  readonly unreadiness?: string | undefined;
}
