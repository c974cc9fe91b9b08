/** Computes how far the destination is behind the source. */
import { secondsOf } from '../bson/position.js';
import type { State } from '../metadata/state.js';
import type { Snapshot } from './control.js';
import type { ObservedMigration, ObservedRun } from './observed.js';

/** A commit is refused while the destination, or the verifier, is further behind. */
export const MAX_COMMIT_LAG_SECONDS = 30;

/** In seconds; undefined while nothing is known of the source's time, and while nothing is read. */
export function lagOf(state: State, run: ObservedRun, { source, record }: ObservedMigration): Snapshot['lag'] {
  const newest = source.now;
  if (state === 'PAUSED' || newest === undefined) return undefined;
  const { startTime, canWrite } = record.value;
  const applied = run.apply?.safeSeconds ?? (startTime === undefined ? undefined : secondsOf(startTime));
  const overall = applied === undefined ? undefined : Math.max(0, secondsOf(newest) - applied);
  const shown = canWrite ? 0 : overall;
  return {
    overallSeconds: shown,
    crudSeconds: shown,
    ddlSeconds: run.apply?.ddlSeconds === undefined ? undefined : shown,
  };
}
