/** Declares what an instance answers callers while it helps another one. */
import type { MigrationControl } from '../progress/control.js';

/** This instance has come to coordinate, or to help, while a call was under way: it is carried out in its new place. */
export class ChangedPlaces extends Error {
  override readonly name = 'ChangedPlaces';
}

/** The calls of an instance that helps. Errors of calls under way when it helps no more: ChangedPlaces. */
export interface HelpedMigration
  extends Pick<
    MigrationControl,
    'snapshot' | 'namespaces' | 'start' | 'pause' | 'resume' | 'commit' | 'reverse' | 'mismatches' | 'repair'
  > {
  /** This instance helps no more. */
  end(): void;
}
