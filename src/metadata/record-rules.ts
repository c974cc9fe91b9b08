/** Checks the fields of a migration's record against its state; what does not fit is neither stored nor believed. */
import type { CommitRecord, MigrationRecord, RecordedPhase } from './records.js';
import type { RecordedState } from './state.js';

/** A record as it was read or is about to be stored, not yet known to be one. */
type Unchecked = { readonly [name: string]: unknown };

interface StateRule {
  readonly phases: readonly RecordedPhase[];
  /** Why the other fields do not fit, or undefined. */
  readonly fault: (record: Checked) => string | undefined;
}

/** The fields that the rules look at. */
interface Checked {
  readonly phase: RecordedPhase;
  readonly startTime?: unknown;
  readonly copyEndTime?: unknown;
  readonly commit?: CommitRecord;
  readonly canWrite?: unknown;
  readonly starting?: unknown;
  readonly putBack?: unknown;
  readonly moved?: unknown;
}

const RULES: Readonly<Record<RecordedState, StateRule>> = {
  RUNNING: { phases: ['initialise', 'copy', 'apply'], fault: workingFault },
  PAUSED: { phases: ['initialise', 'copy', 'apply'], fault: workingFault },
  COMMITTING: { phases: ['apply'], fault: committingFault },
  COMMITTED: { phases: ['done'], fault: committedFault },
  REVERSING: {
    phases: ['done', 'apply'],
    fault: (record) => (record.phase === 'done' ? committedFault(record) : turningFault(record)),
  },
};

/** Why a record cannot be one of its state, as half a sentence; undefined when it can. */
export function faultOf(record: Unchecked): string | undefined {
  const state = String(record['state']);
  const rule = (RULES as Readonly<Record<string, StateRule>>)[state];
  if (rule === undefined) return `there is no state ${state}`;
  const checked = record as unknown as Checked;
  if (!rule.phases.includes(checked.phase)) return `there is no phase ${String(checked.phase)} in state ${state}`;
  const fault = rule.fault(checked);
  return fault === undefined ? undefined : `in ${state}, ${fault}`;
}

/** A record whose fields are known to fit its state. Errors: by `fail`, with what does not fit. */
export function checkedRecord(record: Unchecked, fail: (fault: string) => Error): MigrationRecord {
  const fault = faultOf(record);
  if (fault !== undefined) throw fail(fault);
  return record as unknown as MigrationRecord;
}

function workingFault({ phase, startTime, copyEndTime, ...record }: Checked): string | undefined {
  if (phase !== 'initialise' && startTime === undefined) return `the start time is missing in phase ${phase}`;
  if (phase === 'apply' && copyEndTime === undefined) return 'the end of the copy is missing in phase apply';
  if (record.starting === true && phase !== 'initialise') return 'a start that is not complete has begun to copy';
  if (record.canWrite === true) return 'the destination accepts writes';
  return superfluous(record, ['commit', 'putBack', 'moved']);
}

function committingFault({ startTime, copyEndTime, commit, canWrite, ...record }: Checked): string | undefined {
  if (startTime === undefined || copyEndTime === undefined) return 'the times of the copy are missing';
  if (commit === undefined) return 'the step of the commit is missing';
  if (canWrite === true && !isHandedOver(commit)) return 'the destination accepts writes before the handover';
  return superfluous(record, ['starting', 'putBack', 'moved']);
}

function committedFault({ commit, canWrite, ...record }: Checked): string | undefined {
  if (commit === undefined || !isHandedOver(commit)) return 'the times of the handover are missing';
  if (canWrite !== true) return 'the destination does not accept writes';
  return superfluous(record, ['starting', 'putBack']);
}

function turningFault({ startTime, canWrite, ...record }: Checked): string | undefined {
  if (startTime === undefined) return 'the start time is missing';
  if (canWrite === true) return 'the destination accepts writes';
  return superfluous(record, ['starting', 'commit', 'copyEndTime', 'moved']);
}

function isHandedOver({ step, time, reverseStart }: CommitRecord): boolean {
  return step === 'handover' && time !== undefined && reverseStart !== undefined;
}

function superfluous(record: Partial<Checked>, names: readonly (keyof Checked)[]): string | undefined {
  const found = names.find((name) => record[name] !== undefined && record[name] !== false);
  return found === undefined ? undefined : `the field ${found} is not permitted`;
}
