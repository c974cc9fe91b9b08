/** Decides whether a commit may be called now, and says what stands in its way. */
import { lagOf, MAX_COMMIT_LAG_SECONDS } from './lag.js';
import type { SnapshotSources } from './observed.js';

/** Why a commit would be refused now, as half a sentence, or undefined. Source: docs/cutover.md. */
export function commitObstacle({
  state,
  failure,
  work,
}: Pick<SnapshotSources, 'state' | 'failure' | 'work'>): string | undefined {
  const run = work?.run;
  if (run === undefined || work === undefined || state !== 'RUNNING') return `the state is ${state}`;
  if (failure !== undefined) return 'the migration has failed';
  if (work.interruption !== undefined) return work.interruption;
  const { source, destination, record } = work.migration;
  if (record.value.phase !== 'apply') return 'the collection copy is not complete';
  if (!run.drained) return 'the changes made during the collection copy are not applied yet';
  if (!run.indexes.isComplete) return 'indexes are being built';
  const unverified = run.verifier?.obstacle(MAX_COMMIT_LAG_SECONDS);
  if (unverified !== undefined) return unverified;
  const lag = lagOf(state, run, work.migration)?.overallSeconds;
  if (lag === undefined || lag > MAX_COMMIT_LAG_SECONDS)
    return `the destination is ${lag ?? 'an unknown number of'} seconds behind; a commit needs ${MAX_COMMIT_LAG_SECONDS} or less`;
  const outage = source.outage ?? destination.outage;
  return outage === undefined ? undefined : `a cluster does not answer: ${outage}`;
}
