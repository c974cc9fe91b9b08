import { nsText } from '../cluster/namespace.js';
import { secondsOf } from '../cluster/position.js';
import { buildsBeforeCopy } from '../indexes/build-mode.js';
import type { Verifier } from '../verify/verifier.js';
import type { FailureRecord, NamespaceSnapshot, Snapshot, VerificationSnapshot } from './control.js';
import type { Health } from './monitor.js';
import { oplogRemainingText } from './oplog-remaining.js';
import { storedOptions } from './options.js';
import type { Rates } from './rates.js';
import type { MigrationRun } from './run.js';
import type { RunContext } from './run-context.js';
import type { State } from './state.js';

/** Everything a snapshot is made of. */
export interface SnapshotSources {
  readonly state: State;
  readonly failure: FailureRecord | undefined;
  readonly run: MigrationRun | undefined;
  readonly context: RunContext | undefined;
  readonly health: Health;
  readonly rates: Rates<'documents' | 'bytes' | 'events'>;
  /** Lag in seconds, a while ago, for the time to catch up. */
  readonly earlierLag: { readonly seconds: number; readonly agoSeconds: number } | undefined;
  readonly warnings: readonly string[];
  /** What has ended the last run and is waited for before the next. */
  readonly interruption: string | undefined;
  readonly instanceId: string;
}

const MAX_COMMIT_LAG_SECONDS = 30;

/** The read model of progress, as of now. */
export function takeSnapshot(sources: SnapshotSources): Snapshot {
  const { state, run, context, health } = sources;
  const common = {
    state,
    failure: sources.failure,
    instanceId: sources.instanceId,
    coordinatorId: sources.instanceId,
    startedAt: context?.record.value.startedAt,
    reversible: context !== undefined && storedOptions(context.record.value).reversible,
    rates: {
      documentsPerSecond: sources.rates.perSecond('documents'),
      bytesPerSecond: sources.rates.perSecond('bytes'),
      eventsPerSecond: sources.rates.perSecond('events'),
    },
  };
  if (run === undefined || context === undefined) return { ...NOTHING, ...common, warnings: sources.warnings };
  const record = context.record.value;
  const lag = lagOf(sources, run, context);
  const copy = run.copy.totals;
  const obstacle = commitObstacle(sources);
  return {
    ...common,
    canCommit: obstacle === undefined,
    commitObstacle: state === 'RUNNING' ? obstacle : undefined,
    canWrite: record.canWrite,
    info: infoOf(state, record.phase),
    ceaStage: stageOf(sources, run, lag?.overallSeconds),
    lag,
    totalEventsApplied: run.eventsApplied,
    // How much of the data is within a document filter is not known before it is read.
    copy: {
      totalBytes: storedOptions(record).documentFilter === null ? copy.totalBytes : undefined,
      copiedBytes: copy.copiedBytes,
    },
    indexBuilding: showsIndexes(state, record.phase, context) ? run.indexes.progress : undefined,
    direction: { source: context.source.label, destination: context.destination.label },
    sourcePingMs: pingOf(health.sourcePingMs),
    destinationPingMs: pingOf(health.destinationPingMs),
    sourceUnavailable: context.source.outage !== undefined || health.sourcePingMs === -1,
    destinationUnavailable: context.destination.outage !== undefined || health.destinationPingMs === -1,
    oplogTimeRemaining:
      state === 'RUNNING' && !record.canWrite ? oplogRemainingText(oplogSeconds(sources, run, context)) : undefined,
    secondsToCatchup: catchupOf(sources, lag?.overallSeconds),
    verification: run.verifier && verificationOf(sources, run.verifier, record.canWrite),
    warnings: warningsOf(sources, run),
    copyRemainingSeconds:
      storedOptions(record).documentFilter === null
        ? copyRemaining(common.rates.bytesPerSecond, copy, record.phase)
        : undefined,
    queuedBytes: run.apply?.queuedBytes ?? 0,
    retries: context.source.retries + context.destination.retries,
  };
}

const NOTHING = {
  canCommit: false,
  commitObstacle: undefined,
  canWrite: false,
  info: undefined,
  ceaStage: undefined,
  lag: undefined,
  totalEventsApplied: undefined,
  copy: undefined,
  indexBuilding: undefined,
  direction: undefined,
  sourcePingMs: undefined,
  destinationPingMs: undefined,
  sourceUnavailable: false,
  destinationUnavailable: false,
  oplogTimeRemaining: undefined,
  secondsToCatchup: undefined,
  verification: undefined,
  copyRemainingSeconds: undefined,
  queuedBytes: 0,
  retries: 0,
} as const;

/** Nothing is read while paused, and nothing need be once the commit has proven both sides equal. */
function verificationOf({ state }: SnapshotSources, verifier: Verifier, hasEnded: boolean): VerificationSnapshot {
  const { source, destination } = verifier.progress;
  const lagOf = (seconds: number | undefined): number | undefined => {
    if (state === 'PAUSED' || seconds === undefined) return undefined;
    return hasEnded ? 0 : seconds;
  };
  return {
    source: { ...source, lagSeconds: lagOf(source.lagSeconds) },
    destination: { ...destination, lagSeconds: lagOf(destination.lagSeconds) },
    mismatches: verifier.mismatches.counts,
    mismatchCount: verifier.mismatches.total,
  };
}

function warningsOf({ warnings, state }: SnapshotSources, run: MigrationRun): readonly string[] {
  const mismatches = run.verifier?.mismatches;
  if (mismatches === undefined || mismatches.total === 0 || state === 'COMMITTED') return warnings;
  return [
    ...warnings,
    `${mismatches.text}. "mongoferry mismatches" lists them, "mongoferry repair" copies them again; a commit would fail`,
  ];
}

/** The copy, index builds and verification of every namespace, by name. */
export function namespaceSnapshots(run: MigrationRun, context: RunContext): NamespaceSnapshot[] {
  const copies = new Map(run.copy.namespaces.map((each) => [each.namespace, each]));
  const rows = context.collections.live().map((each) => {
    const namespace = nsText(each.sourceNs);
    const copy = copies.get(namespace);
    const indexes = run.indexes.countsOf(each);
    return {
      namespace,
      documentsCopied: copy?.documentsCopied ?? 0,
      estimatedDocuments: copy?.estimatedDocuments ?? 0,
      bytesCopied: copy?.bytesCopied ?? 0,
      estimatedBytes: Math.max(copy?.estimatedBytes ?? 0, copy?.bytesCopied ?? 0),
      partitionsDone: copy?.partitionsDone ?? 0,
      partitionsTotal: copy?.partitionsTotal ?? 0,
      indexesBuilt: indexes.built,
      indexesTotal: indexes.total,
      documentsHashed: run.verifier?.hashedOf(each.id) ?? 0,
      mismatchCount: run.verifier?.mismatches.counts.get(namespace) ?? 0,
    };
  });
  return rows.sort((a, b) => (a.namespace < b.namespace ? -1 : 1));
}

/** Why a commit would be refused now, or undefined. */
export function commitObstacle(sources: SnapshotSources): string | undefined {
  const { run, context, state } = sources;
  if (run === undefined || context === undefined || state !== 'RUNNING') return `the state is ${state}`;
  if (sources.failure !== undefined) return 'the migration has failed';
  if (sources.interruption !== undefined) return sources.interruption;
  if (context.record.value.phase !== 'apply') return 'the collection copy is not complete';
  if (!run.drained) return 'the changes made during the collection copy are not applied yet';
  if (!run.indexes.settled) return 'indexes are being built';
  const unverified = run.verifier?.obstacle(MAX_COMMIT_LAG_SECONDS);
  if (unverified !== undefined) return unverified;
  const lag = lagOf(sources, run, context)?.overallSeconds;
  if (lag === undefined || lag > MAX_COMMIT_LAG_SECONDS)
    return `the destination is ${lag ?? 'an unknown number of'} seconds behind, which may be ${MAX_COMMIT_LAG_SECONDS} at most`;
  const outage = context.source.outage ?? context.destination.outage;
  return outage === undefined ? undefined : `a cluster does not answer: ${outage}`;
}

function lagOf(sources: SnapshotSources, run: MigrationRun, context: RunContext): Snapshot['lag'] {
  if (sources.state === 'PAUSED') return undefined;
  const newest = context.source.now;
  if (newest === undefined) return undefined;
  const now = secondsOf(newest);
  const applied =
    run.apply?.safeSeconds ??
    (context.record.value.startTime === undefined ? undefined : secondsOf(context.record.value.startTime));
  const overall = applied === undefined ? undefined : Math.max(0, now - applied);
  const ended = context.record.value.canWrite ? 0 : overall;
  return {
    overallSeconds: ended,
    crudSeconds: ended,
    ddlSeconds: run.apply?.ddlSeconds === undefined ? undefined : ended,
  };
}

/** mongosync tells of index builds after the copy only, where they are done then. */
function showsIndexes(state: State, phase: string, context: RunContext): boolean {
  return (phase === 'apply' || state === 'COMMITTING') && !buildsBeforeCopy(context.buildIndexes);
}

function infoOf(state: State, phase: string): Snapshot['info'] {
  if (state === 'COMMITTED') return 'commit completed';
  if (state === 'COMMITTING') return 'waiting for commit to complete';
  if (state === 'REVERSING') return undefined;
  return phase === 'apply' ? 'change event application' : 'collection copy';
}

function stageOf(sources: SnapshotSources, run: MigrationRun, lag: number | undefined): Snapshot['ceaStage'] {
  if (sources.state !== 'RUNNING' || sources.context?.record.value.phase !== 'apply') return undefined;
  return run.drained && (lag ?? 0) <= MAX_COMMIT_LAG_SECONDS ? 'steady state' : 'collection copy drain';
}

function pingOf(ms: number | undefined): number | undefined {
  if (ms === undefined || (ms >= 0 && ms < 1)) return undefined;
  return Math.round(ms);
}

function oplogSeconds(sources: SnapshotSources, run: MigrationRun, context: RunContext): number | undefined {
  const oldest = sources.health.oldestOplogSeconds;
  const { startTime } = context.record.value;
  const needed = run.apply?.safeSeconds ?? (startTime === undefined ? undefined : secondsOf(startTime));
  return oldest === undefined || needed === undefined ? undefined : Math.max(0, needed - oldest);
}

function catchupOf(sources: SnapshotSources, lag: number | undefined): number | undefined {
  const { earlierLag } = sources;
  if (earlierLag === undefined || lag === undefined || lag >= earlierLag.seconds || earlierLag.agoSeconds <= 0)
    return undefined;
  return Math.ceil((lag * earlierLag.agoSeconds) / (earlierLag.seconds - lag));
}

function copyRemaining(
  bytesPerSecond: number,
  copy: { totalBytes: number; copiedBytes: number },
  phase: string,
): number | undefined {
  if (phase !== 'copy' || bytesPerSecond <= 0) return undefined;
  return Math.ceil((copy.totalBytes - copy.copiedBytes) / bytesPerSecond);
}
