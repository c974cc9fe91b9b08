/** Builds the read model of progress: one snapshot of everything that a migration reports. */
import { secondsOf } from '../bson/position.js';
import { buildsBeforeCopy } from '../indexes/build-mode.js';
import type { State } from '../metadata/state.js';
import type { VerifierView } from '../verify/verifier-view.js';
import { commitObstacle } from './commit-obstacle.js';
import type { Snapshot, VerificationSnapshot } from './control.js';
import { lagOf, MAX_COMMIT_LAG_SECONDS } from './lag.js';
import type { ObservedMigration, ObservedRun, SnapshotSources } from './observed.js';
import { oplogRemainingText } from './oplog-remaining.js';

/** The snapshot as of now. Pure but for the clocks of `sources`. */
export function takeSnapshot(sources: SnapshotSources): Snapshot {
  const { state, work, rates } = sources;
  const common = {
    state,
    failure: sources.failure,
    instanceId: sources.instanceId,
    coordinatorId: sources.instanceId,
    instances: sources.instances ?? [],
    startedAt: work?.migration.record.value.startedAt,
    reversible: work?.migration.options.reversible === true,
    rates: {
      documentsPerSecond: rates.perSecond('documents'),
      bytesPerSecond: rates.perSecond('bytes'),
      eventsPerSecond: rates.perSecond('events'),
    },
  };
  if (work?.run === undefined) return { ...NOTHING, ...common, warnings: sources.warnings };
  return { ...common, ...snapshotOf(sources, work.run, work.migration) };
}

function snapshotOf(
  sources: SnapshotSources,
  run: ObservedRun,
  migration: ObservedMigration,
): Omit<
  Snapshot,
  'state' | 'failure' | 'instanceId' | 'coordinatorId' | 'instances' | 'startedAt' | 'reversible' | 'rates'
> {
  const { state, health } = sources;
  const { source, destination } = migration;
  const { phase, canWrite } = migration.record.value;
  const lag = lagOf(state, run, migration);
  const obstacle = commitObstacle(sources);
  const oplog = oplogSeconds(sources, run, migration);
  return {
    canCommit: obstacle === undefined,
    commitObstacle: state === 'RUNNING' ? obstacle : undefined,
    canWrite,
    info: infoOf(state, phase),
    ceaStage: stageOf(state, phase, run, lag?.overallSeconds),
    lag,
    totalEventsApplied: run.eventsApplied,
    ...copyOf(sources, run, migration),
    indexBuilding: showsIndexes(state, migration) ? run.indexes.progress : undefined,
    direction: { source: source.label, destination: destination.label },
    sourcePingMs: pingOf(health.sourcePingMs),
    destinationPingMs: pingOf(health.destinationPingMs),
    sourceUnavailable: source.outage !== undefined || health.sourcePingMs === -1,
    destinationUnavailable: destination.outage !== undefined || health.destinationPingMs === -1,
    oplogTimeRemaining: state === 'RUNNING' && !canWrite ? oplogRemainingText(oplog) : undefined,
    secondsToCatchup: catchupOf(sources, lag?.overallSeconds),
    verification: run.verifier && verificationOf(sources, run.verifier, canWrite),
    warnings: warningsOf(sources, run),
    queuedBytes: run.apply?.queuedBytes ?? 0,
    retries: source.retries + destination.retries,
  };
}

/** How much of the data is within a document filter is not known before it is read. */
function copyOf(
  { rates }: SnapshotSources,
  run: ObservedRun,
  { options, record }: ObservedMigration,
): Pick<Snapshot, 'copy' | 'copyRemainingSeconds'> {
  const { totals } = run.copy;
  const isKnown = options.documentFilter === null;
  return {
    copy: { totalBytes: isKnown ? totals.totalBytes : undefined, copiedBytes: totals.copiedBytes },
    copyRemainingSeconds: isKnown ? copyRemaining(rates.perSecond('bytes'), totals, record.value.phase) : undefined,
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
function verificationOf({ state }: SnapshotSources, verifier: VerifierView, hasEnded: boolean): VerificationSnapshot {
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

function warningsOf({ warnings, state }: SnapshotSources, run: ObservedRun): readonly string[] {
  const mismatches = run.verifier?.mismatches;
  if (mismatches === undefined || mismatches.total === 0 || state === 'COMMITTED') return warnings;
  return [
    ...warnings,
    `${mismatches.text}. "mongoferry mismatches" lists them, "mongoferry repair" copies them again; a commit would fail`,
  ];
}

/** mongosync tells of index builds after the copy only, where they are done then. */
function showsIndexes(state: State, { record, buildIndexes }: ObservedMigration): boolean {
  return (record.value.phase === 'apply' || state === 'COMMITTING') && !buildsBeforeCopy(buildIndexes);
}

function infoOf(state: State, phase: string): Snapshot['info'] {
  if (state === 'COMMITTED') return 'commit completed';
  if (state === 'COMMITTING') return 'waiting for commit to complete';
  if (state === 'REVERSING') return undefined;
  return phase === 'apply' ? 'change event application' : 'collection copy';
}

function stageOf(state: State, phase: string, run: ObservedRun, lag: number | undefined): Snapshot['ceaStage'] {
  if (state !== 'RUNNING' || phase !== 'apply') return undefined;
  return run.drained && (lag ?? 0) <= MAX_COMMIT_LAG_SECONDS ? 'steady state' : 'collection copy drain';
}

function pingOf(ms: number | undefined): number | undefined {
  if (ms === undefined || (ms >= 0 && ms < 1)) return undefined;
  return Math.round(ms);
}

function oplogSeconds(
  { health }: SnapshotSources,
  run: ObservedRun,
  { record }: ObservedMigration,
): number | undefined {
  const oldest = health.oldestOplogSeconds;
  const { startTime } = record.value;
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
