/** Judges a start where there is a migration already. */
import { AppError } from '../errors.js';
import type { MigrationOptions } from '../metadata/migration-options.js';
import type { MigrationRecord } from '../metadata/records.js';
import type { State } from '../metadata/state.js';
import { refuseOtherOptions } from '../start/starting.js';
import { nextState } from './machine.js';

/**
 * Runbooks call start after a restart, and on each instance: the same options are welcome while the migration goes on.
 * Errors: OptionsDiffer; InvalidStateTransition.
 */
export function refuseToStartAgain(wanted: MigrationOptions, record: MigrationRecord, state: State, db: string): void {
  if (state !== 'RUNNING' && state !== 'PAUSED' && state !== 'COMMITTING') {
    if (state === 'COMMITTED') {
      throw new AppError(
        'InvalidStateTransition',
        `the migration is COMMITTED; to begin another one, drop the database ${db} on the destination and restart mongoferry`,
        { metadata: { state } },
      );
    }
    nextState(state, 'start');
  }
  refuseOtherOptions(wanted, record, state);
}
